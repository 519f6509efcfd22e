"""What scoring needs of a recogniser."""

from pathlib import Path
from typing import Protocol

import numpy as np

from speechlm.data.audio import AudioError, Span, load_wav, resample
from speechlm.data.audio import duration_sec as span_sec


class Recogniser(Protocol):
    """`signature` is what makes the transcripts of two runs comparable; `languages` is () for one that
    understands any.
    """

    signature: str
    languages: tuple[str, ...]

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        """Return what is heard in each file, in order; a file without samples is heard as "".

        The transcript of a file does not depend on which others are in the list.
        """


def require_greedy(kind: str, beam: int) -> None:
    """Raise ValueError if a beam is asked of a recogniser that only decodes greedily."""
    if beam != 1:
        raise ValueError(f"recogniser {kind}: beam is {beam}; it decodes greedily only. Write beam: 1 in the protocol.")


def hear(path: str | Path, rate_hz: int) -> np.ndarray:
    """Return wav_T (float32 mono at rate_hz); a file without samples gives an empty array.

    Raises ValueError naming a file that is missing or not audio.
    """
    if has_no_samples(path):
        return np.zeros(0, np.float32)
    wav_T, from_hz = load_wav(path)
    return resample(wav_T, from_hz, rate_hz)


def has_no_samples(path: str | Path) -> bool:
    """Tell whether a file is audio of length zero."""
    try:
        span_sec(Span(str(path)))
        return False
    except AudioError as error:
        return error.kind == "no samples"


def duration_sec(path: str | Path) -> float:
    """Return how long a file says that it is; 0 if it cannot be read (who transcribes it says why)."""
    try:
        return span_sec(Span(str(path)))
    except AudioError:
        return 0.0
