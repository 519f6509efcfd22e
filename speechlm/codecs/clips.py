"""Training clips for a codec: fixed-length stretches drawn from Kaldi directories, the same for the same step."""

from dataclasses import dataclass

import numpy as np

from speechlm.data.audio import KEEPABLE, Span, duration_sec, load_wav
from speechlm.data.kaldi import list_sides, read_audio, side_path


@dataclass(frozen=True)
class ClipSettings:
    """Length and loudness of the clips. A clip is filled with further utterances if one is too short."""

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


def draw_clips(folders: list[list[Span]], settings: ClipSettings, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return clips_BN (float32). Each clip comes from one folder; all folders are equally likely."""
    return np.stack([_draw_clip(folders[rng.integers(len(folders))], settings, rng) for _ in range(count)])


def _draw_clip(spans: list[Span], settings: ClipSettings, rng: np.random.Generator) -> np.ndarray:
    pieces, missing = [], settings.clip_samples
    while missing > 0:
        piece = _draw_piece(spans[rng.integers(len(spans))], missing, settings.sample_rate_hz, rng)
        pieces.append(piece)
        missing -= len(piece)
    gain = 10 ** (rng.uniform(-settings.gain_db, settings.gain_db) / 20)
    clip_N = np.concatenate(pieces)[: settings.clip_samples] * gain
    return (clip_N / max(1.0, np.abs(clip_N).max())).astype(np.float32)


def _draw_piece(span: Span, samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random stretch of at most `samples` samples; reads no more of the file than that."""
    there_sec, length_sec = duration_sec(span), samples / rate_hz
    start_sec = span.start_sec + rng.uniform(0, max(0.0, there_sec - length_sec))
    wav_N, _ = load_wav(
        span.path, rate_hz, start_sec, min(span.start_sec + there_sec, start_sec + length_sec), KEEPABLE
    )
    return wav_N[:samples]
