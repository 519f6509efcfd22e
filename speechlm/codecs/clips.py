"""Training clips for a codec: fixed-length stretches of Kaldi directories, the same for the same step and seed.

A folder's recordings are read once and kept end to end as 16-bit samples, on the training's device (115 MB an hour at
16 kHz); a clip is a window of them. Shapes: B batch, N samples.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from speechlm.data.audio import KEEPABLE, Span, load_span
from speechlm.data.kaldi import list_sides, read_audio, side_path

READ_AHEAD = 64  # recordings


@dataclass(frozen=True)
class ClipSettings:
    """Length and loudness of the clips."""

    sample_rate_hz: int
    clip_samples: int
    gain_db: float


def read_spans(data_dir: str) -> list[Span]:
    """Return all the recordings of a Kaldi directory, in all its languages; raise ValueError if there are none."""
    sides = [side for side in list_sides(data_dir, "en") if side_path(data_dir, "wav.scp", side).is_file()]
    spans = [span for side in sides for span in read_audio(data_dir, side).values()]
    if not spans:
        raise ValueError(f"{data_dir}: no recordings. Give a data directory with wav.scp")
    return spans


class Clips:
    """Draws clips from folders. A clip comes from one folder; all folders are equally likely, twice if named twice."""

    def __init__(self, data_dirs: list[str], settings: ClipSettings, device: str = "cpu"):
        self.settings = settings
        kept = {folder: _join(read_spans(folder), settings, device) for folder in dict.fromkeys(data_dirs)}
        self.folders = [kept[folder] for folder in data_dirs]

    def draw(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """Return clips_BN, float32."""
        length = self.settings.clip_samples
        chosen = [self.folders[rng.integers(len(self.folders))] for _ in range(count)]
        starts = [int(rng.integers(len(wav_N) - length + 1)) for wav_N in chosen]
        clips_BN = torch.stack([wav_N[start : start + length] for wav_N, start in zip(chosen, starts)]).float() / 32768
        gain_B = 10 ** (rng.uniform(-self.settings.gain_db, self.settings.gain_db, count) / 20)
        clips_BN = clips_BN * torch.tensor(gain_B, dtype=torch.float32, device=clips_BN.device)[:, None]
        return clips_BN / clips_BN.abs().amax(1, keepdim=True).clamp_min(1.0)


def _join(spans: list[Span], settings: ClipSettings, device: str) -> torch.Tensor:
    """Return all recordings end to end, int16; repeated until a clip fits."""
    pieces = [_to_int16(wav_N) for wav_N in _read(spans, settings)]
    wav_N = np.concatenate(pieces)
    return torch.from_numpy(np.tile(wav_N, -(-settings.clip_samples // len(wav_N)))).to(device)


def _read(spans: list[Span], settings: ClipSettings) -> Iterator[np.ndarray]:
    """Yield every recording, in order; read by threads."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(spans), READ_AHEAD):
            yield from pool.map(
                lambda span: load_span(span, settings.sample_rate_hz, keep=KEEPABLE), spans[start : start + READ_AHEAD]
            )


def _to_int16(wav_N: np.ndarray) -> np.ndarray:
    return np.round(wav_N.clip(-1, 1) * 32767).astype(np.int16)
