"""The model card: README.md of a saved folder, as the hub shows it. Figures come from results.json, with their
signatures.
"""

import json
from typing import TYPE_CHECKING

from speechlm.api.sources import RESULTS
from speechlm.metrics.rows import read_rows
from speechlm.metrics.table import markdown_table

if TYPE_CHECKING:
    from speechlm.api import SpeechLM

PIPELINES = {
    "asr": "automatic-speech-recognition",
    "tts": "text-to-speech",
    "s2st": "audio-to-audio",
    "s2tt": "automatic-speech-recognition",
}
CALLS = {  # task -> a line that shows it
    "asr": 'print(lm.transcribe("a.wav", lang="{src}"))',
    "s2tt": 'print(lm.translate("a.wav", src="{src}", tgt="{tgt}"))',
    "s2st": 'lm.translate("a.wav", src="{src}", tgt="{tgt}", to="speech").save("b.wav")',
    "tts": 'lm.synthesise("good morning", lang="{src}").save("c.wav")',
}


def model_card(lm: "SpeechLM") -> str:
    """Return the card: what the model does, how it is used, what it scored."""
    parts = [_metadata(lm), "# Speech LLM", _tasks(lm), _usage(lm), _scores(lm)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(lm: "SpeechLM") -> str:
    langs = sorted({lang for pairs in lm.tasks.values() for pair in pairs for lang in pair})
    pipeline = next((PIPELINES[task] for task in lm.tasks if task in PIPELINES), "text-generation")
    return (
        f"---\nlibrary_name: speechlm\npipeline_tag: {pipeline}\nlanguage: {json.dumps(langs)}\ntags: [speech, codec,"
        " speechlm]\n---"
    )


def _tasks(lm: "SpeechLM") -> str:
    tasks = (
        f"* {task}: {', '.join(' to '.join(dict.fromkeys(pair)) for pair in pairs)}" for task, pairs in lm.tasks.items()
    )
    voices = ", ".join(f"`{name}`" for name in lm.voices) or "none: give a recording"
    return "\n".join(
        [
            "A textual LLM continued on neural codec tokens (arXiv 2502.16897), fine-tuned for",
            "",
            *tasks,
            "",
            f"Voices: {voices}.",
        ]
    )


def _usage(lm: "SpeechLM") -> str:
    lines = [CALLS[task].format(src=pairs[0][0], tgt=pairs[0][1]) for task, pairs in lm.tasks.items() if task in CALLS]
    return "\n".join(
        ["```python", "from speechlm import SpeechLM", 'lm = SpeechLM.from_pretrained("OWNER/NAME")', *lines, "```"]
    )


def _scores(lm: "SpeechLM") -> str:
    path = lm.source.folder / RESULTS
    return f"## Scores\n\n{markdown_table(read_rows(path))}" if path.is_file() else ""
