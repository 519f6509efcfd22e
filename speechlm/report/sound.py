"""Recordings for a page: small mp3 files and pictures of their spectrograms, named by what they were made from."""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
import torch
import torchaudio
from PIL import Image

from speechlm.data.audio import KEEPABLE, Span, load_wav
from speechlm.data.files import atomic_write, file_digest, settings_digest
from speechlm.data.recording import split_place

MP3 = {
    "format": "MP3",
    "subtype": "MPEG_LAYER_III",
    "bitrate_mode": "VARIABLE",
    "compression_level": 0.8,
}  # about 40 kbit/s of speech
RATE_HZ = 16000
BANDS, HOP, MOST_FRAMES = (
    64,
    160,
    640,
)  # of the picture, in mel bands and samples: 100 columns a second, fewer for long recordings
RANGE_DB = 70.0
SETTINGS = {**MP3, "rate_hz": RATE_HZ, "picture": [BANDS, HOP, MOST_FRAMES, RANGE_DB]}


@dataclass(frozen=True)
class Clip:
    """A recording in the report's folder: `<name>.mp3` and `<name>.webp`."""

    name: str
    sec: float
    size: int  # bytes of both files


def make_clip(span: Span, folder: Path) -> Clip:
    """Write a recording's mp3 and spectrogram, unless they are there; raise AudioError if it can't be read."""
    file, offset = split_place(span.path)
    of = file_digest(file) if offset is None else [file_digest(file), offset]
    name = settings_digest({"of": of, "from": [span.start_sec, span.end_sec], "as": SETTINGS})
    wav_T, _ = load_wav(span.path, RATE_HZ, span.start_sec, span.end_sec, KEEPABLE)
    files = {folder / f"{name}.mp3": encode, folder / f"{name}.webp": picture}
    for path, make in files.items():
        if not path.exists():
            with atomic_write(path, "wb") as stream:
                stream.write(make(wav_T))
    return Clip(name, round(len(wav_T) / RATE_HZ, 2), sum(path.stat().st_size for path in files))


def encode(wav_T: np.ndarray) -> bytes:
    """Return wav_T (16 kHz) as mp3."""
    content = io.BytesIO()
    soundfile.write(content, np.clip(wav_T, -1.0, 1.0), RATE_HZ, **MP3)
    return content.getvalue()


def picture(wav_T: np.ndarray) -> bytes:
    """Return the log-mel spectrogram of wav_T (16 kHz) as a webp picture, low frequencies at the bottom, 70 dB below
    the loudest.
    """
    hop = max(HOP, -(-len(wav_T) // MOST_FRAMES))
    mel = torchaudio.transforms.MelSpectrogram(
        RATE_HZ, n_fft=512, win_length=400, hop_length=hop, n_mels=BANDS, power=2
    )
    energy_BT = mel(torch.from_numpy(np.pad(wav_T, (0, max(0, 512 - len(wav_T)))))).numpy()
    level_BT = 10 * np.log10(energy_BT + 1e-10)
    shade_BT = np.clip(1 + (level_BT - level_BT.max()) / RANGE_DB, 0, 1)[::-1]
    if energy_BT.max() < 1e-8:  # silence has no loudest part
        shade_BT = np.zeros_like(shade_BT)
    rgb = (matplotlib.colormaps["magma"](shade_BT)[..., :3] * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "WEBP", quality=60, method=4)
    return content.getvalue()
