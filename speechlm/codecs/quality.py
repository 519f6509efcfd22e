"""What a codec keeps of speech, and what a language model will find in its codes.

Shapes: N samples, T frames, K codebooks.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from speechlm.codecs.base import Codec
from speechlm.codecs.losses import MelLoss

SHIFT_SEC = 0.01


@dataclass
class Report:
    """mel_error[k]: mean log-mel distance (nats) with the first k codebooks; the lists have one entry a codebook.

    perplexity: of the codebook's use, at most `codebook_size`.
    next_perplexity: of a code when the code of the frame before is known (add-0.1 smoothed, held-out half).
    consistency: share of codes that stay when the recording starts 10 ms later.
    """

    utterances: int
    audio_sec: float
    mel_error: dict[int, float]
    perplexity: list[float]
    next_perplexity: list[float]
    consistency: list[float]
    encode_speed: float
    decode_speed: float

    def to_markdown(self) -> str:
        rows = [f"| mel error, first {k} codebooks | {value:.3f} |" for k, value in self.mel_error.items()]
        rows += [
            f"| perplexity of each codebook | {_join(self.perplexity, 0)} |",
            f"| perplexity given the frame before | {_join(self.next_perplexity, 0)} |",
            f"| same code when 10 ms later | {_join(self.consistency, 2)} |",
            f"| encoding, one thread | {self.encode_speed:.0f} s of audio a second |",
            f"| decoding, one thread | {self.decode_speed:.0f} s of audio a second |",
        ]
        head = f"{self.utterances} utterances, {self.audio_sec:.0f} s\n\n| measure | value |\n|---|---|\n"
        return head + "\n".join(rows) + "\n"


def _join(values: list[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


def measure(codec: Codec, wavs: list[np.ndarray]) -> Report:
    """Code and decode recordings (at the codec's rate); raise ValueError if there are none."""
    if not wavs:
        raise ValueError("no recordings to measure the codec on")
    start = time.monotonic()
    codes = [codec.encode(wav_N) for wav_N in wavs]
    encode_sec = time.monotonic() - start
    start = time.monotonic()
    made = [codec.decode(codes_TK) for codes_TK in codes]
    decode_sec = time.monotonic() - start
    audio_sec = sum(map(len, wavs)) / codec.sample_rate_hz
    mel_error = {
        k: mel_distance(codec, wavs, [codec.decode(c[:, :k]) for c in codes]) for k in depths(codec.num_codebooks)
    }
    mel_error[codec.num_codebooks] = mel_distance(codec, wavs, made)
    columns = range(codec.num_codebooks)
    return Report(
        utterances=len(wavs),
        audio_sec=audio_sec,
        mel_error=mel_error,
        perplexity=[perplexity(np.concatenate([c[:, k] for c in codes]), codec.codebook_size) for k in columns],
        next_perplexity=[next_perplexity([c[:, k] for c in codes], codec.codebook_size) for k in columns],
        consistency=consistency(codec, wavs, codes),
        encode_speed=audio_sec / encode_sec,
        decode_speed=audio_sec / decode_sec,
    )


def depths(num_codebooks: int) -> list[int]:
    """Return 1, 2, 4, ... below `num_codebooks`."""
    return [2**i for i in range(num_codebooks.bit_length()) if 2**i < num_codebooks]


@torch.inference_mode()
def mel_distance(codec: Codec, wavs: list[np.ndarray], made: list[np.ndarray]) -> float:
    """Return the mean over recordings of the log-mel distance that the training minimises."""
    mel = MelLoss(codec.sample_rate_hz)
    pairs = [(torch.from_numpy(m[: len(w)])[None], torch.from_numpy(w[: len(m)])[None]) for m, w in zip(made, wavs)]
    return float(np.mean([float(mel(m, w)) for m, w in pairs]))


def perplexity(codes_T: np.ndarray, codebook_size: int) -> float:
    """Perplexity of how often each code is used; at most `codebook_size`."""
    shares = np.bincount(codes_T, minlength=codebook_size) / len(codes_T)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def next_perplexity(sequences: list[np.ndarray], codebook_size: int) -> float:
    """Perplexity of a bigram model counted on the even recordings, on the odd ones."""
    counts = np.full((codebook_size, codebook_size), 0.1)
    for codes_T in sequences[::2]:
        np.add.at(counts, (codes_T[:-1], codes_T[1:]), 1)
    log_shares = np.log(counts / counts.sum(axis=1, keepdims=True))
    scores = [log_shares[codes_T[:-1], codes_T[1:]] for codes_T in sequences[1::2]]
    return float(np.exp(-np.concatenate(scores).mean())) if scores else float("nan")


def consistency(codec: Codec, wavs: list[np.ndarray], codes: list[np.ndarray]) -> list[float]:
    """Share of equal codes, per codebook, when each recording starts `SHIFT_SEC` later."""
    shift = round(SHIFT_SEC * codec.sample_rate_hz)
    same = []
    for wav_N, codes_TK in zip(wavs, codes):
        later_TK = codec.encode(np.concatenate([np.zeros(shift, np.float32), wav_N]))
        same.append(later_TK[: len(codes_TK)] == codes_TK)
    return np.concatenate(same).mean(axis=0).tolist()
