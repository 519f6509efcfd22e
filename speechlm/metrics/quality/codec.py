"""How much of the original a codec keeps: PESQ, STOI, log-mel and multi-scale STFT distance. Compared over the length
of the original.
"""

from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F

from speechlm.codecs.losses import MelLoss
from speechlm.metrics.quality.base import need

STFT_SIZES = (2048, 1024, 512, 256, 128)
STFT_FLOOR = 1e-5


def to_length(made_T: np.ndarray, length: int) -> np.ndarray:
    """Cut what a codec adds to fill its last frame; fill what is missing with zeros, so that a cut-off output is
    penalised.
    """
    return np.pad(made_T[:length], (0, max(0, length - len(made_T))))


class PESQ:
    """Wide-band PESQ (ITU-T P.862.2), a listening score from 1.04 to 4.64."""

    names = ("pesq",)
    against, rate_hz, lowest = "original", 16000, 1.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.package = need("pesq", "PESQ")
        self.signature = f"pesq:wb-{version('pesq')}"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        try:
            return {"pesq": self.package.pesq(rate_hz, other_T, to_length(made_T, len(other_T)), "wb")}
        except (self.package.NoUtterancesError, self.package.BufferTooShortError):  # it finds no speech
            return {"pesq": self.lowest}


class STOI:
    """Short-time objective intelligibility, 0 to 1."""

    names = ("stoi",)
    against, rate_hz, lowest = "original", 16000, 0.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.stoi = need("pystoi", "STOI").stoi
        self.signature = f"stoi:pystoi-{version('pystoi')}"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        return {"stoi": self.stoi(other_T, to_length(made_T, len(other_T)), rate_hz)}


class MelDistance:
    """Log-mel distance in nats, as `speechlm.codecs.quality` reports it; 0 is the same."""

    names = ("mel_distance",)
    against, rate_hz, lowest = "original", 0, None
    signature = "mel:l1-log-v1"

    def __init__(self, model: str = "", device: str = "cpu"):
        pass

    @torch.inference_mode()
    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        made_BN, other_BN = _long_enough(made_T, other_T)
        return {"mel_distance": float(MelLoss(rate_hz)(made_BN, other_BN))}


class STFTDistance:
    """Multi-scale STFT distance (spectral convergence + log magnitude, Yamamoto et al. 2020), mean over five windows; 0
    is the same.
    """

    names = ("mstft_distance",)
    against, rate_hz, lowest = "original", 0, None
    signature = f"mstft:sc+log-{'/'.join(map(str, STFT_SIZES))}-v1"

    def __init__(self, model: str = "", device: str = "cpu"):
        pass

    @torch.inference_mode()
    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        made_BN, other_BN = _long_enough(made_T, other_T)
        return {"mstft_distance": float(np.mean([_one_scale(made_BN, other_BN, size) for size in STFT_SIZES]))}


def _one_scale(made_BN: torch.Tensor, other_BN: torch.Tensor, size: int) -> float:
    window = torch.hann_window(size)
    made, other = (
        torch.stft(x, size, size // 4, window=window, return_complex=True).abs() for x in (made_BN, other_BN)
    )
    convergence = torch.linalg.norm(other - made) / torch.linalg.norm(other).clamp_min(STFT_FLOOR)
    return float(convergence + F.l1_loss(made.clamp_min(STFT_FLOOR).log(), other.clamp_min(STFT_FLOOR).log()))


def _long_enough(made_T: np.ndarray, other_T: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both as [1, N], as long as the original and at least the longest window."""
    length = max(len(other_T), STFT_SIZES[0])
    return tuple(
        torch.from_numpy(to_length(x_T, length).astype(np.float32))[None]
        for x_T in (to_length(made_T, len(other_T)), other_T)
    )
