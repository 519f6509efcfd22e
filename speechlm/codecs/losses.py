"""What a codec is trained for: multi-scale log-mel distance, and optionally a discriminator's opinion.

Shapes: B batch, N samples.
"""

import torch
import torch.nn.functional as F
import torchaudio
from torch import nn

MEL_SCALES = ((2048, 80), (1024, 64), (512, 40), (256, 20))  # (n_fft, mel bands)
STFT_SIZES = (2048, 1024, 512, 256)
MEL_FLOOR = 2e-5  # of a sine's amplitude; quieter is silence


class MelLoss(nn.Module):
    """Mean |difference| of log-mel magnitudes (nats), averaged over window lengths of 128 to 16 ms (at 16 kHz)."""

    def __init__(self, sample_rate_hz: int):
        super().__init__()
        self.mels = nn.ModuleList(
            torchaudio.transforms.MelSpectrogram(sample_rate_hz, n_fft=n, hop_length=n // 4, n_mels=bands, power=1)
            for n, bands in MEL_SCALES
        )

    def forward(self, made_BN: torch.Tensor, target_BN: torch.Tensor) -> torch.Tensor:
        assert made_BN.shape == target_BN.shape
        return sum(F.l1_loss(_log(mel, made_BN), _log(mel, target_BN)) for mel in self.mels) / len(self.mels)


def _log(mel: torchaudio.transforms.MelSpectrogram, wav_BN: torch.Tensor) -> torch.Tensor:
    return torch.log(mel(wav_BN) * (2.0 / mel.n_fft) + MEL_FLOOR)


class STFTLoss(nn.Module):
    """Spectral convergence (the distance of magnitudes, relative to the target's) plus mean |difference| of their logs
    (nats).
    """

    def __init__(self, sizes: tuple[int, ...] = STFT_SIZES):
        super().__init__()
        self.sizes = sizes
        for size in sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, made_BN: torch.Tensor, target_BN: torch.Tensor) -> torch.Tensor:
        losses = []
        for size in self.sizes:
            made, target = (self._magnitudes(wav_BN, size) for wav_BN in (made_BN, target_BN))
            losses.append(
                (made - target).norm() / target.norm().clamp_min(MEL_FLOOR) + F.l1_loss(made.log(), target.log())
            )
        return sum(losses) / len(losses)

    def _magnitudes(self, wav_BN: torch.Tensor, size: int) -> torch.Tensor:
        window = getattr(self, f"window_{size}")
        spectrogram = torch.stft(wav_BN, size, size // 4, window=window, return_complex=True) * (4.0 / size)
        return (spectrogram.real.square() + spectrogram.imag.square() + MEL_FLOOR**2).sqrt()


def discriminator_loss(discriminator: nn.Module, made_BN: torch.Tensor, target_BN: torch.Tensor) -> torch.Tensor:
    """Hinge loss of the discriminator: real above 1, made below -1."""
    real, _ = discriminator(target_BN[:, None])
    fake, _ = discriminator(made_BN[:, None].detach())
    return sum(F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake)) / len(real)


def generator_loss(discriminator: nn.Module, made_BN: torch.Tensor, target_BN: torch.Tensor) -> torch.Tensor:
    """Hinge loss of the codec plus the relative distance of the discriminator's feature maps."""
    with torch.no_grad():
        _, real_maps = discriminator(target_BN[:, None])
    fake, fake_maps = discriminator(made_BN[:, None])
    hinge = sum(F.relu(1 - f).mean() for f in fake) / len(fake)
    pairs = [(r, f) for real, made in zip(real_maps, fake_maps) for r, f in zip(real, made)]
    matching = sum(F.l1_loss(f, r) / (r.abs().mean() + 1e-5) for r, f in pairs) / len(pairs)
    return hinge + matching
