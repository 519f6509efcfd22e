"""Speech from text with espeak-ng, called in-process through the library in the `espeakng-loader` wheel.

One synthesiser per process: the library keeps global state. Our own voice variants switch off espeak-ng's random
flutter, but the sign of its harmonics still passes from one utterance to the next (about 5 % of the amplitude).
To get the same samples whatever the number of jobs, speak a fixed list of utterances in a fresh process.
Sources: espeak-ng's C interface (speak_lib.h) and its description of voice variant files.
"""

import ctypes
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import soxr

from speechlm.data.settings import Range

_SYNCHRONOUS, _RATE, _VOLUME, _UTF8 = 2, 1, 2, 1  # constants of speak_lib.h
_VOLUME_PERCENT = 70  # head room: louder voices clip
LANGUAGES = {"en": "en-us", "zh": "cmn"}  # our name of a language -> espeak-ng's, where they differ
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: a vocal tract (formants, in percent of a man's), a pitch range and a speed."""

    name: str
    pitch_low_hz: Annotated[int, Range(20, 1000)] = 80
    pitch_high_hz: Annotated[int, Range(20, 1000)] = 118
    formant_percent: Annotated[int, Range(10, 500)] = 100
    rate_wpm: Annotated[int, Range(80, 450)] = 175  # what espeak-ng can do

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.pitch_low_hz > self.pitch_high_hz:
            raise ValueError(f"pitch_low_hz is {self.pitch_low_hz}, above pitch_high_hz, {self.pitch_high_hz}")

    by = "espeak-ng"

    def speak(self, text: str, lang: str, sample_rate_hz: int) -> np.ndarray:
        """Speak a text of a language (en, es, zh, ...); see `speak`."""
        return speak(text, LANGUAGES.get(lang, lang), self, sample_rate_hz)

    def variant(self) -> str:
        """Return the voice variant file's text."""
        formants = "".join(f"formant {i} {self.formant_percent} 100 100\n" for i in range(9))
        return (
            f"language variant\nname {self.name}\npitch {self.pitch_low_hz} {self.pitch_high_hz}\nflutter 0\n{formants}"
        )


def check_name(name: str) -> None:
    """Raise ValueError for a name of a voice that cannot name a file."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"name is {name!r}; expected letters, numbers, _ and -: files are called so")


@dataclass(frozen=True)
class Cast:
    """What a voices.yaml holds: the speakers of the training sets, and those never heard in training."""

    train: list[Voice]
    unheard: list[Voice]

    def __post_init__(self) -> None:
        names = [voice.name for voice in (*self.train, *self.unheard)]
        if not self.train or not self.unheard or len(set(names)) < len(names):
            raise ValueError(f"found the voices {names}; expected some for train and some for unheard, each name once")


@cache
def _data_dir() -> Path:
    """Return a temporary copy (by links) of espeak-ng's data folder, to which voice variants can be added."""
    import espeakng_loader

    source = Path(espeakng_loader.get_data_path())
    folder = tempfile.TemporaryDirectory(prefix="espeak-ng-data-")
    _data_dir.keep_alive = folder
    for entry in source.iterdir():
        if entry.name != "voices":
            (Path(folder.name) / entry.name).symlink_to(entry)
    (Path(folder.name) / "voices" / "!v").mkdir(parents=True)
    return Path(folder.name)


@cache
def _library() -> tuple[ctypes.CDLL, int, list]:
    """Return (library, its sample rate in Hz, the list to which its callback appends samples)."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(_data_dir()).encode(), 0)
    if rate_hz <= 0:
        raise RuntimeError(f"espeak-ng did not start (code {rate_hz}). Reinstall with tools/install.sh.")
    chunks: list[np.ndarray] = []

    def collect(samples, count, _events):
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    library.keep_alive = _CALLBACK(collect)
    library.espeak_SetSynthCallback(library.keep_alive)
    return library, rate_hz, chunks


@cache
def _set_up_voice(voice: Voice) -> None:
    (_data_dir() / "voices" / "!v" / voice.name).write_text(voice.variant(), encoding="utf-8")


def speak(text: str, language: str, voice: Voice, sample_rate_hz: int) -> np.ndarray:
    """Speak `text`; return float32 samples in [-1, 1], silence trimmed to 40 ms at both ends.

    `language` is an espeak-ng voice name (en-us, es, cmn). ValueError if espeak-ng lacks it or says nothing.
    """
    library, native_hz, chunks = _library()
    _set_up_voice(voice)
    if library.espeak_SetVoiceByName(f"{language}+{voice.name}".encode()) != 0:
        raise ValueError(
            f"espeak-ng has no language {language!r}. Expected one of its voice names, e.g. en-us, es, cmn."
        )
    library.espeak_SetParameter(_RATE, voice.rate_wpm, 0)
    library.espeak_SetParameter(_VOLUME, _VOLUME_PERCENT, 0)
    chunks.clear()
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
    if not chunks:
        raise ValueError(f"espeak-ng said nothing for {text!r} ({language}). Expected a text with letters.")
    wav_T = np.concatenate(chunks).astype(np.float32) / 32768
    return trim_silence(soxr.resample(wav_T, native_hz, sample_rate_hz), keep=sample_rate_hz // 25)


def trim_silence(wav_T: np.ndarray, keep: int, threshold: float = 0.003) -> np.ndarray:
    """Cut leading and trailing samples below `threshold`, but for `keep` samples on each side."""
    loud = np.flatnonzero(np.abs(wav_T) > threshold)
    return wav_T[max(0, loud[0] - keep) : loud[-1] + 1 + keep] if len(loud) else wav_T
