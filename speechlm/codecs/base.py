"""What every codec offers: waveforms to integer codes and back.

Shapes: T frames, K codebooks, C codes of a codebook, E latent dimension, N samples. A new codec is one file that
satisfies `Codec`, and a line in `LOADERS`, `HUB` or `load_folder` of `speechlm.codecs`, depending on how it is found.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

BATCH_FRAMES = 2000  # decoded at once: bounds the memory
BATCH_SEC, GPU_BATCH_SEC = 60.0, 120.0  # of audio that is coded at once
WAITING_SEC = 600.0  # of audio that waits for more of the same length


@dataclass(frozen=True)
class Shape:
    """The numbers of a codec. A frame is `hop_samples` long."""

    sample_rate_hz: int
    hop_samples: int
    num_codebooks: int
    codebook_size: int

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples


class Codec(Protocol):
    """A deterministic neural codec of one channel.

    `fingerprint` is the sha256 (hex) of the settings and weights: codes may be mixed only between equal ones.
    """

    name: str
    sample_rate_hz: int
    frame_rate_hz: float
    num_codebooks: int
    codebook_size: int
    fingerprint: str
    batch_sec: float  # of audio that is best coded at once

    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """Return int32 codes_TK of one waveform (float32 in [-1, 1], at `sample_rate_hz`).

        The codes depend on this waveform alone. Raises ValueError if it is not one finite channel of at
        least one frame.
        """
        ...

    def coded_samples(self, samples: int) -> int:
        """Return the length to which the codec itself pads a waveform of this many samples with silence."""
        ...

    def encode_batch(self, wavs: list[np.ndarray]) -> np.ndarray:
        """Return int32 codes_BTK of several waveforms of equal `coded_samples`; each bit for bit what `encode`
        gives.
        """
        ...

    def to(self, device: str) -> "Codec":
        """Compute on a torch device from now on; inputs and outputs stay numpy arrays. Return the codec itself."""
        ...

    def codebooks(self) -> np.ndarray:
        """Return float32 vectors_KCE: what each code adds to a frame's latent (the sum over K is the quantised
        latent).
        """
        ...

    def decode(self, codes_TK: np.ndarray) -> np.ndarray:
        """Return float32 wav_N of codes; the first k <= K codebooks alone give a coarser waveform.

        Raises ValueError if the codes are not integers of shape [T >= 1, 1..K] inside the codebooks.
        """
        ...

    def decode_batch(self, codes_BTK: np.ndarray) -> np.ndarray:
        """Return float32 wav_BN of several of equal length; each is what `decode` gives, within rounding."""
        ...


def decode_all(codec: Codec, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return {key: wav_N} of {key: codes_TK}, decoded in batches of equal length."""
    by_length: dict[int, list[str]] = {}
    for key, codes_TK in codes.items():
        by_length.setdefault(len(codes_TK), []).append(key)
    wavs = {}
    for frames, keys in by_length.items():
        size = max(1, BATCH_FRAMES // frames)
        for some in (keys[i : i + size] for i in range(0, len(keys), size)):
            wavs |= zip(some, codec.decode_batch(np.stack([codes[key] for key in some])))
    return wavs


def in_batches(codec: Codec, wavs: Iterable[tuple[Any, np.ndarray]]) -> Iterator[dict[Any, np.ndarray]]:
    """Yield {key: wav_N} of equal `coded_samples`, to be coded together, of pairs in any order.

    At most `WAITING_SEC` of audio wait for others of their length.
    """
    waiting: dict[int, dict[Any, np.ndarray]] = {}
    full, most, held = (round(sec * codec.sample_rate_hz) for sec in (codec.batch_sec, WAITING_SEC, 0))
    for key, wav_N in wavs:
        length = codec.coded_samples(len(wav_N))
        waiting.setdefault(length, {})[key] = wav_N
        held += length
        while waiting and (held > most or len(waiting.get(length, ())) * length >= full):
            length = length if held <= most else max(waiting, key=lambda length: length * len(waiting[length]))
            held -= length * len(waiting[length])
            yield waiting.pop(length)
    yield from waiting.values()


def encode_all(codec: Codec, wavs: Iterable[tuple[Any, np.ndarray]]) -> Iterator[tuple[Any, np.ndarray | ValueError]]:
    """Yield (key, codes_TK) of pairs (key, wav_N), coded in batches; for a waveform that can't be coded, its ValueError
    takes the place of the codes.
    """
    for batch in in_batches(codec, wavs):
        try:
            yield from zip(batch, codec.encode_batch(list(batch.values())))
        except ValueError:
            yield from ((key, _encode_or_error(codec, wav_N)) for key, wav_N in batch.items())


def _encode_or_error(codec: Codec, wav_N: np.ndarray) -> np.ndarray | ValueError:
    try:
        return codec.encode(wav_N)
    except ValueError as error:
        return error


def check_wav(wav_N: np.ndarray, min_samples: int) -> np.ndarray:
    """Return `wav_N` as float32 numpy, or raise ValueError saying what is wrong with it."""
    wav_N = np.asarray(wav_N, dtype=np.float32)
    if wav_N.ndim != 1:
        raise ValueError(
            f"expected one channel of shape [N], found shape {list(wav_N.shape)}; average the channels first"
        )
    if len(wav_N) == 0:
        raise ValueError("the waveform is empty")
    if not np.isfinite(wav_N).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(wav_N))} of {len(wav_N)} samples are NaN or infinite")
    if len(wav_N) < min_samples:
        raise ValueError(f"{len(wav_N)} samples are shorter than one frame of {min_samples} samples")
    return wav_N


def check_codes(codes_TK: np.ndarray, num_codebooks: int, codebook_size: int) -> np.ndarray:
    """Return `codes_TK` as int64 numpy, or raise ValueError saying what is wrong with them."""
    codes_TK = np.asarray(codes_TK)
    if codes_TK.ndim != 2 or codes_TK.shape[0] < 1 or not 1 <= codes_TK.shape[1] <= num_codebooks:
        raise ValueError(f"expected codes of shape [T >= 1, 1..{num_codebooks}], found {list(codes_TK.shape)}")
    if not np.issubdtype(codes_TK.dtype, np.integer):
        raise ValueError(f"expected integer codes, found {codes_TK.dtype}")
    low, high = int(codes_TK.min()), int(codes_TK.max())
    if low < 0 or high >= codebook_size:
        raise ValueError(f"expected codes in 0..{codebook_size - 1}, found {low}..{high}")
    return codes_TK.astype(np.int64)


def fingerprint(settings: dict, weights: dict[str, np.ndarray]) -> str:
    """Return the sha256 (hex) of settings and weights, whatever the order of their keys."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key in sorted(weights):
        array = np.ascontiguousarray(weights[key])
        digest.update(f"{key} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
