"""What the API is given, checked: a sound is a path, or an array with its rate; a text is one utterance."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechlm.data.audio import MAX_SEC, RATES_HZ, SILENCE_LEVEL, AudioError, Span, load_span, resample

Sound: TypeAlias = str | Path | tuple[np.ndarray, int]  # a file, or (samples, rate in Hz)

MOST_CHARACTERS = 5_000  # of a text: minutes of speech
MOST_CHANNELS = 32  # more is an array that lies on its side


def is_many(given: Any) -> bool:
    """Is this a list of inputs, and not one? A pair (array, rate) is one."""
    return (
        isinstance(given, Iterable)
        and not isinstance(given, (str, bytes, Path, dict, np.ndarray))
        and not _is_pair(given)
    )


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], (str, Path, tuple))


def is_there(path: str | Path) -> bool:
    """Is there such a file or folder? A name that no file can have is not an error."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def read_sound(sound: Sound, rate_hz: int, max_sec: float = MAX_SEC) -> np.ndarray:
    """Return wav_N (float32 mono at `rate_hz`). Raises ValueError (AudioError) for what is not a sound, is silent, or
    is longer than `max_sec`.
    """
    if isinstance(sound, (str, Path)):
        return load_span(Span(str(sound)), rate_hz, max_sec)
    if not _is_pair(sound):
        raise AudioError(
            "not audio", f"a sound is {type(sound).__name__}; expected a path, or a pair (array of samples, rate in Hz)"
        )
    samples, found_hz = sound
    return _check_samples(samples, found_hz, rate_hz, max_sec)


def _check_samples(samples: Any, found_hz: Any, rate_hz: int, max_sec: float) -> np.ndarray:
    if (
        isinstance(found_hz, bool)
        or not isinstance(found_hz, (int, np.integer))
        or not RATES_HZ[0] <= found_hz <= RATES_HZ[1]
    ):
        raise AudioError(
            "not audio",
            f"the rate of an array is {found_hz!r}; expected {RATES_HZ[0]} to {RATES_HZ[1]} (Hz, a whole number)",
        )
    wav_N = _to_mono(np.asarray(samples))
    if not wav_N.size:
        raise AudioError("no samples", "the array has no samples; expected a sound")
    if wav_N.size / found_hz > max_sec:
        raise AudioError("too long", f"the array: {wav_N.size / found_hz:.0f} s; expected at most {max_sec:g} s")
    if not np.isfinite(wav_N).all():
        raise AudioError(
            "NaN or infinite", f"the array: {np.count_nonzero(~np.isfinite(wav_N))} NaN or infinite samples"
        )
    if np.ptp(wav_N) < 2 * SILENCE_LEVEL:
        raise AudioError(
            "silence", f"the array: no sample differs from another by {2 * SILENCE_LEVEL}; expected speech"
        )
    return resample(wav_N, int(found_hz), rate_hz)


def _to_mono(samples: np.ndarray) -> np.ndarray:
    """Return float32 [N] of samples [N] or [N, channels]: floats as they are, integers divided by their full scale."""
    if samples.dtype.kind not in "fi":
        raise AudioError(
            "not audio", f"the array holds {samples.dtype}; expected floats in [-1, 1], or signed integers"
        )
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS):
        raise AudioError(
            "not audio", f"the array has the shape {list(samples.shape)}; expected [samples] or [samples, channels]"
        )
    scale = 1.0 if samples.dtype.kind == "f" else 1.0 / (np.iinfo(samples.dtype).max + 1)
    wav = samples.astype(np.float32) * np.float32(scale)
    return wav if wav.ndim == 1 else wav.mean(axis=1)


def check_text(text: Any) -> str:
    """Return a text with single spaces. ValueError if it isn't one, is empty, or longer than `MOST_CHARACTERS`."""
    if not isinstance(text, str):
        raise ValueError(f"the text is {type(text).__name__}; expected a str (or a list of them)")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"the text has {len(text):,} characters; expected at most {MOST_CHARACTERS:,}. Give a list of sentences."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds half a character (a lone surrogate); expected Unicode text") from None
    words = " ".join(text.split())
    if not any(character.isalnum() for character in words):
        raise ValueError(f"the text is {'empty' if not words else repr(words[:40])}; expected words to say")
    return words
