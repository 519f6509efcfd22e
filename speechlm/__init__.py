"""Speech language models on neural codec tokens. `from speechlm import SpeechLM` is the API (README.md here); what is
heavy is imported on use.
"""

PUBLIC = ("SpeechLM", "Speech", "Text")


def __getattr__(name: str):
    if name in PUBLIC:
        from speechlm import api

        return getattr(api, name)
    raise AttributeError(f"module 'speechlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*PUBLIC, *globals()]
