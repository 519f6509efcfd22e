"""Speech for small corpora in the published layouts, spoken by espeak-ng, in the format that the file's name
asks for.
"""

from pathlib import Path

import numpy as np
import soundfile

from speechlm.data.audio import resample
from speechlm.data.espeak import Voice, speak

LANGUAGES = {"en": "en-us", "es": "es", "zh": "cmn", "pl": "pl", "de": "de"}
VOICES = [Voice("low", 80, 110, 100), Voice("high", 170, 230, 115)]
FORMATS = {".wav": {}, ".flac": {}, ".mp3": {"format": "MP3"}, ".opus": {"format": "OGG", "subtype": "OPUS"}}


def say(text: str, lang: str, speaker: int = 0, rate_hz: int = 16000) -> np.ndarray:
    return speak(text, LANGUAGES[lang], VOICES[speaker % len(VOICES)], rate_hz)


def save(path: Path, wav_T: np.ndarray, rate_hz: int, channels: int = 1) -> None:
    """Write `wav_T` (at 16 kHz) at another rate, the same on every channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav_T = resample(wav_T, 16000, rate_hz)
    soundfile.write(path, np.stack([wav_T] * channels, axis=1), rate_hz, **FORMATS[path.suffix])
