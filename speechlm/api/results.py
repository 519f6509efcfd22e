"""What the API returns: texts and speech."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speechlm.data.audio import save_wav
from speechlm.data.files import atomic_write

FORMATS = {  # file name's end -> how libsndfile is to write it
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}


@dataclass(frozen=True)
class Segment:
    """A stretch of a sound, in seconds, and its text."""

    start_sec: float
    end_sec: float
    text: str


@dataclass(frozen=True)
class Text:
    """A transcript or a translation, in the language `lang`. `str()` gives the text alone.

    `segments` are the pieces of a long sound, or all of it.
    """

    text: str
    lang: str
    segments: tuple[Segment, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Speech:
    """Speech in the language `lang`: `wav` is float32 [samples] in [-1, 1] at `rate_hz`, `codes` int32 [frames,
    codebooks].

    Of a long sound, the pauses between its pieces are in `wav`, not in `codes`.
    """

    wav: np.ndarray
    rate_hz: int
    codes: np.ndarray
    lang: str

    @property
    def sec(self) -> float:
        """The length in seconds."""
        return len(self.wav) / self.rate_hz

    def save(self, path: str | Path) -> Path:
        """Write a sound file, whole or not at all; its name ends in .wav (16 bits), .flac, .mp3, .opus or .ogg. Return
        its path.

        Raises ValueError for another ending.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind == "wav":
            save_wav(path, self.wav, self.rate_hz)
            return path
        content = self.encode(kind)
        with atomic_write(path, "wb") as stream:
            stream.write(content)
        return path

    def encode(self, kind: str = "wav") -> bytes:
        """Return a sound file's content; `kind` is one of wav, flac, mp3, opus, ogg. ValueError for another one."""
        if kind not in FORMATS:
            raise ValueError(f"sound format {kind!r} is unknown. Expected one of {', '.join(FORMATS)}.")
        content = io.BytesIO()
        soundfile.write(content, np.clip(self.wav, -1.0, 1.0), self.rate_hz, **FORMATS[kind])
        return content.getvalue()


class SpeechStream:
    """Speech while it is made: iterating gives its samples in chunks, float32 [samples] in [-1, 1] at `rate_hz`; `join`
    the whole.
    """

    def __init__(self, chunks: Iterator[np.ndarray], codes: list[np.ndarray], rate_hz: int, lang: str):
        self.rate_hz, self.lang = rate_hz, lang
        self._chunks, self._codes, self._wav = chunks, codes, []

    def __iter__(self) -> Iterator[np.ndarray]:
        for wav_N in self._chunks:
            self._wav.append(wav_N)
            yield wav_N

    def join(self) -> Speech:
        """Return all of the speech, waiting for the rest."""
        for _ in self:
            pass
        wav_N = np.concatenate(self._wav) if self._wav else np.zeros(0, np.float32)
        return Speech(
            wav_N, self.rate_hz, np.concatenate(self._codes) if self._codes else np.zeros((0, 0), np.int32), self.lang
        )
