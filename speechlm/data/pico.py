"""Speech from text with SVOX Pico (wheel `py-nanotts`, Linux on x86-64): natural voices in English, Spanish, German,
French and Italian.

A speaker is Pico's voice of a language, moved to the speaker's pitch, size of vocal tract and speed. Pico itself
changes pitch and speed; the formants move when its output is resampled, which is compensated in what Pico is asked for:
no vocoder is in the way. In a process of its own the same text has the same samples whatever was spoken before; in one
that does much else, not to the last bit.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import soxr

from speechlm.data import espeak
from speechlm.data.espeak import Voice, trim_silence
from speechlm.data.settings import Choice, Range

RATE_HZ = 16000
ACCENTS_HZ = {  # Pico's voices and the median pitch of each in Hz, by pyworld's dio on a few sentences
    "en-US": 168.0,
    "en-GB": 173.0,
    "es-ES": 202.0,
    "de-DE": 164.0,
    "fr-FR": 188.0,
    "it-IT": 176.0,
}
VOLUME = 0.5  # at 1, a hundredth of the samples is clipped
QUIETEST = 0.02  # no word is softer
_TAGS = str.maketrans("<>&", "   ")  # Pico reads tags
_M_MMAP_THRESHOLD = -3  # malloc.h


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker of several languages: median pitch, formants in percent of Pico's own, speed (1: Pico's own),
    an English accent.
    """

    name: str
    pitch_hz: Annotated[float, Range(50, 400)] = 190.0
    formant_percent: Annotated[float, Range(70, 140)] = 100.0
    speed: Annotated[float, Range(0.5, 2)] = 1.0
    english: Choice("en-US", "en-GB") = "en-US"

    def __post_init__(self) -> None:
        espeak.check_name(self.name)

    @property
    def by(self) -> str:
        """Return what speaks on this machine."""
        return "pico" if is_installed() else Voice.by

    def accent(self, lang: str) -> str | None:
        """Return Pico's voice of a language; None if it has none."""
        return (
            self.english
            if lang == "en"
            else next((accent for accent in ACCENTS_HZ if accent.startswith(f"{lang}-")), None)
        )

    def speak(self, text: str, lang: str, sample_rate_hz: int) -> np.ndarray:
        """Return float32 samples in [-1, 1], silence trimmed to 40 ms at both ends; by espeak-ng where Pico cannot."""
        accent = self.accent(lang)
        if accent is None or not is_installed():
            return self.as_espeak().speak(text, lang, sample_rate_hz)
        size = self.formant_percent / 100
        wav_T = speak(text, accent, self.pitch_hz / ACCENTS_HZ[accent] / size, self.speed / size)
        # In float32, soxr's last bits depend on where in memory the samples lie.
        wav_T = soxr.resample(wav_T.astype(np.float64), RATE_HZ * size, sample_rate_hz).astype(np.float32)
        return trim_silence(wav_T, keep=sample_rate_hz // 25)

    def as_espeak(self) -> Voice:
        """Return the voice of espeak-ng that is most like this one; formants there are in percent of a man's."""
        low, high = round(0.84 * self.pitch_hz), round(1.2 * self.pitch_hz)
        return Voice(self.name, low, high, round(1.12 * self.formant_percent), round(175 * self.speed))


@dataclass(frozen=True)
class Cast(espeak.Cast):
    """As espeak-ng's, of speakers."""

    train: list[Speaker]
    unheard: list[Speaker]


@cache
def is_installed() -> bool:
    """Tell whether this machine has the package; it comes as a wheel for some systems only."""
    try:
        import py_nanotts  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def _engine():
    """Return Pico, with clean memory for every text: without it, its samples depend on what the process did before.

    Pico works in a block of 2.5 MB that it does not clear. Blocks above the threshold come from the system, filled with
    zeros.
    """
    from py_nanotts import NanoTTS

    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)
    return NanoTTS()


def speak(text: str, accent: str, pitch: float, speed: float) -> np.ndarray:
    """Speak `text` by one of Pico's voices; return float32 samples at `RATE_HZ`. `pitch` and `speed` are relative to
    Pico's own.

    ValueError for values out of range (Pico would clip them), and for a text without sound.
    """
    if not (0.5 <= pitch <= 2 and 0.2 <= speed <= 5):
        raise ValueError(
            f"Pico's pitch {pitch:.2f}, speed {speed:.2f}: expected 0.5 to 2, 0.2 to 5. Change the speaker's pitch or"
            " formants"
        )
    plain = " ".join(text.translate(_TAGS).split())
    pcm = _engine().speak(plain, voice=accent, pitch=pitch, speed=speed, volume=VOLUME)
    wav_T = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    if not (np.abs(wav_T) > QUIETEST).any():
        raise ValueError(f"Pico said nothing for {text!r} ({accent}). Expected a text with letters")
    return wav_T
