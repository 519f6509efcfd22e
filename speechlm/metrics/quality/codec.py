"""How much of the original a codec keeps: PESQ, STOI, log-mel and multi-scale STFT distance. Both have the same samples in time."""

from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F

from speechlm.codecs.losses import MelLoss
from speechlm.metrics.quality.base import need

STFT_SIZES = (2048, 1024, 512, 256, 128)
STFT_FLOOR = 1e-5


def same_length(made_T: np.ndarray, other_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the longer one, as VERSA does: codecs end on a whole frame."""
    length = min(len(made_T), len(other_T))
    return made_T[:length], other_T[:length]


class PESQ:
    """Wide-band PESQ (ITU-T P.862.2), a listening score from 1.04 to 4.64."""

    names = ("pesq",)
    against, rate_hz, lowest = "original", 16000, 1.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.package = need("pesq", "PESQ")
        self.signature = f"pesq:wb-{version('pesq')}"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        made_T, other_T = same_length(made_T, other_T)
        try:
            return {"pesq": self.package.pesq(rate_hz, other_T, made_T, "wb")}
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
        made_T, other_T = same_length(made_T, other_T)
        return {"stoi": self.stoi(other_T, made_T, rate_hz)}


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
    """Multi-scale STFT distance (spectral convergence + log magnitude, Yamamoto et al. 2020), mean over five windows; 0 is the same."""

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
    made, other = (torch.stft(x, size, size // 4, window=window, return_complex=True).abs() for x in (made_BN, other_BN))
    convergence = torch.linalg.norm(other - made) / torch.linalg.norm(other).clamp_min(STFT_FLOOR)
    return float(convergence + F.l1_loss(made.clamp_min(STFT_FLOOR).log(), other.clamp_min(STFT_FLOOR).log()))


def _long_enough(made_T: np.ndarray, other_T: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both as [1, N] of the same length, padded to the longest window."""
    pair = [torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))[None] for x in same_length(made_T, other_T)]
    return tuple(F.pad(x_BN, (0, max(0, STFT_SIZES[0] - x_BN.shape[1]))) for x_BN in pair)
