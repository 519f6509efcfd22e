"""Audio in chunks while the codes are made; joined, the chunks equal what the codec makes of all codes, within
rounding.

Letters in shapes: T frames, K codebooks, N samples.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from torch import nn

from speechlm.codecs.base import Codec

PROBE_FRAMES, FURTHEST = 48, 32  # of the codes on which a codec is tried, and how many neighbours a frame may have
TOLERANCE = 1e-5  # of the loudest sample
GROWTH = 1.5  # each chunk is so many times as long as the one before: what is decoded again stays a share of the whole


def stream_audio(codec: Codec, chunks: Iterable[np.ndarray], first_frames: int = 2) -> Iterator[np.ndarray]:
    """Yield wav_N of codes_TK that arrive in chunks, as soon as the codes after it can no longer change it.

    The first chunk is `first_frames` long, later ones longer. The codes are decoded from their beginning each time, or
    from as far back as the codec's memory reaches, and a chunk is cut out.
    """
    ahead, back = look_ahead(codec), look_back(codec)
    codes_TK, sent, wanted = None, 0, float(first_frames)
    for chunk_TK in chunks:
        codes_TK = chunk_TK if codes_TK is None else np.concatenate([codes_TK, chunk_TK])
        ready = len(codes_TK) - ahead
        if ready - sent >= wanted:
            yield _cut(codec, codes_TK, sent, ready, back)
            sent, wanted = ready, wanted * GROWTH if back is None else min(wanted * GROWTH, codec.frame_rate_hz)
    if codes_TK is not None and sent < len(codes_TK):
        yield _cut(codec, codes_TK, sent, None, back)


@lru_cache(maxsize=8)
def look_ahead(codec: Codec) -> int:
    """Return how many frames after a frame its samples depend on: 0 of a codec that is causal from its first sample
    on.
    """
    codes_TK, half = _probe(codec), PROBE_FRAMES // 2
    whole_N, frames = codec.decode(codes_TK), 0
    for end in (1, half):  # at the beginning too, where padding may mirror what comes next
        while not _alike(codec.decode(codes_TK[: end + frames]), whole_N, slice(end * _hop(codec))):
            frames += 1
            if frames > half:
                raise ValueError(
                    f"codec {codec.name}: a frame depends on more than {half} frames after it. Expected fewer: "
                    "this codec cannot be streamed, decode its codes as a whole."
                )
    return frames


@lru_cache(maxsize=8)
def look_back(codec: Codec) -> int | None:
    """Return how many frames before a frame its samples depend on, rounded up generously; None if they depend on all of
    them, or on the frame's position.
    """
    if any(isinstance(part, nn.RNNBase) for part in getattr(codec, "model", nn.Identity()).modules()):
        return None
    codes_TK, hop = _probe(codec), _hop(codec)
    whole_N, frames = codec.decode(codes_TK), 1
    while frames <= FURTHEST:
        start = PROBE_FRAMES - 8 - frames
        part_N = codec.decode(codes_TK[start:])
        if _alike(part_N[frames * hop :], whole_N[(start + frames) * hop :], slice(None)):
            return 2 * frames
        frames *= 2
    return None


def _cut(codec: Codec, codes_TK: np.ndarray, start: int, end: int | None, back: int | None) -> np.ndarray:
    """Return the samples of frames `start` to `end` (None: to the last sample)."""
    first, hop = 0 if back is None else max(0, start - back), _hop(codec)
    return codec.decode(codes_TK[first:])[(start - first) * hop : None if end is None else (end - first) * hop]


def _hop(codec: Codec) -> int:
    return round(codec.sample_rate_hz / codec.frame_rate_hz)


def _probe(codec: Codec) -> np.ndarray:
    return np.random.default_rng(0).integers(0, codec.codebook_size, (PROBE_FRAMES, codec.num_codebooks))


def _alike(one_N: np.ndarray, other_N: np.ndarray, where: slice) -> bool:
    """Are the samples equal within rounding?"""
    one_N, other_N = one_N[where], other_N[where]
    return len(one_N) == len(other_N) and np.abs(one_N - other_N).max() <= TOLERANCE * np.abs(other_N).max()
