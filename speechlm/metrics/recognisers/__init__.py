"""Recognisers that write down what speech says, so that it can be scored: one file each, named KIND:MODEL[@REVISION].

A model is a name on the Hugging Face hub (fetched once, or put there before) or a folder.
"""

from importlib import import_module

from speechlm.metrics.recognisers.base import Recogniser

KINDS = {  # kind -> (module, class)
    "judge": ("judge", "JudgeRecogniser"),
    "ctc": ("ctc", "CTCRecogniser"),
    "whisper": ("whisper", "WhisperRecogniser"),
    "faster-whisper": ("faster_whisper", "FasterWhisperRecogniser"),
    "espnet": ("espnet", "ESPnetRecogniser"),
}


def load_recogniser(spec: str, beam: int = 1, device: str = "cpu") -> Recogniser:
    """Return a recogniser; a name without a kind is a judge. Its network is loaded when it first transcribes.

    Raises ValueError if the kind is unknown, or the model can't be found.
    """
    kind, _, model = spec.rpartition(":") if spec.split(":")[0] not in KINDS else spec.partition(":")
    if (kind or "judge") not in KINDS or not model:
        raise ValueError(f"recogniser {spec!r}: expected KIND:MODEL[@REVISION], with KIND one of {', '.join(KINDS)}")
    module, name = KINDS[kind or "judge"]
    return getattr(import_module(f"{__name__}.{module}"), name)(model, beam, device)


__all__ = ["Recogniser", "load_recogniser"]
