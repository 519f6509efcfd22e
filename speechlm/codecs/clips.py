"""Training clips for a codec: fixed-length stretches of Kaldi directories, the same for the same step and seed.

A folder's recordings are read once and kept end to end as 16-bit samples, on the training's device (115 MB an hour at
16 kHz); a clip is a window of them, or as many whole recordings, with what they say, as fit into it. Shapes: B batch,
N samples.
"""

import bisect
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from speechlm.data.audio import KEEPABLE, Span, load_span
from speechlm.data.kaldi import list_sides, read_audio, read_text, side_path

READ_AHEAD = 64  # recordings
LEAD_SEC = 0.16  # silence before the first recording of a clip, at most


@dataclass(frozen=True)
class ClipSettings:
    """Length and loudness of the clips."""

    sample_rate_hz: int
    clip_samples: int
    gain_db: float


class Recording(NamedTuple):
    """Where its audio is, and what it says: "" if that is not known."""

    span: Span
    text: str


class Joined(NamedTuple):
    """A folder's recordings end to end: int16 samples, where each begins (and the last ends), what each says."""

    wav_N: torch.Tensor
    starts: list[int]
    texts: list[str]


def read_recordings(data_dir: str) -> list[Recording]:
    """Return all the recordings of a Kaldi directory, in all its languages; raise ValueError if there are none."""
    recordings = []
    for side in list_sides(data_dir, "en"):
        if side_path(data_dir, "wav.scp", side).is_file():
            texts = read_text(data_dir, side) if side_path(data_dir, "text", side).is_file() else {}
            recordings += [Recording(span, texts.get(key, "")) for key, span in read_audio(data_dir, side).items()]
    if not recordings:
        raise ValueError(f"{data_dir}: no recordings. Give a data directory with wav.scp")
    return recordings


class Clips:
    """Draws clips from folders. A clip comes from one folder; all folders are equally likely, twice if named twice."""

    def __init__(self, data_dirs: list[str], settings: ClipSettings, device: str = "cpu"):
        self.settings = settings
        kept = {folder: _join(read_recordings(folder), settings, device) for folder in dict.fromkeys(data_dirs)}
        self.folders = [kept[folder] for folder in data_dirs]

    def draw(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """Return clips_BN, float32."""
        length = self.settings.clip_samples
        chosen = [self.folders[rng.integers(len(self.folders))].wav_N for _ in range(count)]
        starts = [int(rng.integers(len(wav_N) - length + 1)) for wav_N in chosen]
        return self._amplify(torch.stack([wav_N[start : start + length] for wav_N, start in zip(chosen, starts)]), rng)

    def draw_spoken(self, count: int, seconds: float, rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        """Return clips_BN of so many seconds, each with as many whole recordings as fit and silence around them, and
        what each says: "" where one is longer than the clip (then it is its beginning), or its text is not known.
        """
        length, clips, texts = round(seconds * self.settings.sample_rate_hz), [], []
        for _ in range(count):
            folder = self.folders[rng.integers(len(self.folders))]
            lead = int(rng.integers(min(length, round(LEAD_SEC * self.settings.sample_rate_hz))))
            stretch, text = _whole(folder, int(rng.integers(len(folder.texts))), length - lead)
            clips.append(F.pad(folder.wav_N[stretch], (lead, length - lead - (stretch.stop - stretch.start))))
            texts.append(text)
        return self._amplify(torch.stack(clips), rng), texts

    def _amplify(self, clips_BN: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return them as float32, each as loud as chance says."""
        gain_B = 10 ** (rng.uniform(-self.settings.gain_db, self.settings.gain_db, len(clips_BN)) / 20) / 32768
        clips_BN = clips_BN * torch.tensor(gain_B, dtype=torch.float32, device=clips_BN.device)[:, None]
        return clips_BN / clips_BN.abs().amax(1, keepdim=True).clamp_min(1.0)


def _whole(folder: Joined, first: int, room: int) -> tuple[slice, str]:
    """Return the samples of the recordings from `first` on that fit into `room`, and their texts joined."""
    start = folder.starts[first]
    last = bisect.bisect_right(folder.starts, start + room) - 1  # the first that does not fit
    if last <= first:
        return slice(start, min(start + room, folder.starts[-1])), ""
    texts = folder.texts[first:last]
    return slice(start, folder.starts[last]), " ".join(texts) if all(texts) else ""


def _join(recordings: list[Recording], settings: ClipSettings, device: str) -> Joined:
    """Return all recordings end to end; repeated until a clip fits."""
    pieces = [_to_int16(wav_N) for wav_N in _read([recording.span for recording in recordings], settings)]
    texts = [recording.text for recording in recordings]
    times = -(-settings.clip_samples // sum(map(len, pieces)))
    starts = list(itertools.accumulate(map(len, pieces * times), initial=0))
    return Joined(torch.from_numpy(np.concatenate(pieces * times)).to(device), starts, texts * times)


def _read(spans: list[Span], settings: ClipSettings) -> Iterator[np.ndarray]:
    """Yield every recording, in order; read by threads."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(spans), READ_AHEAD):
            yield from pool.map(
                lambda span: load_span(span, settings.sample_rate_hz, keep=KEEPABLE), spans[start : start + READ_AHEAD]
            )


def _to_int16(wav_N: np.ndarray) -> np.ndarray:
    return np.round(wav_N.clip(-1, 1) * 32767).astype(np.int16)
