"""A spectral codec in the frame of `encodec.EncodecModel`: same quantiser and interface, but encoder and decoder work
on log-mel patches, fitted in closed form in half a minute on a CPU; a waveform network needs a day there.

    waveform -> log-mel every 10 ms -> patches of P frames (80 ms) -> principal components -> residual VQ
    codes -> latents -> log-mel -> magnitude spectrogram (pseudo-inverse) -> Griffin-Lim -> waveform

Every frame is coded from its own 80 ms (and 15 ms around them): no statistics of the utterance, so the same sound
gives the same codes everywhere. Shapes: B batch, N samples, F spectrogram frames, S frequency bins, M mel bands,
P = F / T frames in a patch, D latent dimension, T codec frames.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchaudio
from encodec import EncodecModel
from encodec.quantization import ResidualVectorQuantizer
from torch import nn

from speechlm.data.settings import Above0, Count, Positive


@dataclass(frozen=True)
class SpectralConfig:
    """The sizes. `floor` is the amplitude (of a sine) below which everything is silence."""

    kind: str = "spectral"
    sample_rate_hz: Positive = 16000
    fft_samples: Positive = 640
    step_samples: Positive = 160
    patch_frames: Positive = 8
    mel_bands: Positive = 80
    floor: Above0 = 1e-4
    dimension: Positive = 64
    phase_iterations: Count = 16
    num_codebooks: Positive = 8
    codebook_size: Positive = 256
    letter_codebooks: ClassVar[int] = 0  # none of them codes letters

    @property
    def hop_samples(self) -> int:
        return self.step_samples * self.patch_frames

    @property
    def bins(self) -> int:
        return self.fft_samples // 2 + 1


class Spectrogram(nn.Module):
    """Frames centred in their step: N samples, a multiple of the step, give exactly N / step frames, and back."""

    def __init__(self, config: SpectralConfig):
        super().__init__()
        self.fft, self.step = config.fft_samples, config.step_samples
        self.margin = (self.fft - self.step) // 2
        self.register_buffer("window", torch.hann_window(self.fft), persistent=False)

    def forward(self, wav_BN: torch.Tensor) -> torch.Tensor:
        """Return the complex spectrogram_BFS, scaled so that a sine's peak is its amplitude."""
        return self._analyse(wav_BN, self.window) * (4.0 / self.fft)

    def invert(self, spectrogram_BFS: torch.Tensor, weight_1N: torch.Tensor | None = None) -> torch.Tensor:
        """Return wav_BN by weighted overlap-add; `weight` is made if it isn't given."""
        frames_BFW = torch.fft.irfft(spectrogram_BFS, n=self.fft) * (self.window * (self.fft / 4.0))
        return self._overlap_add(frames_BFW) * (self.weight(frames_BFW.shape[1]) if weight_1N is None else weight_1N)

    def weight(self, frames: int) -> torch.Tensor:
        """Return weight_1N: one over what the windows of so many frames add up to."""
        return 1 / self._overlap_add(self.window.square().expand(1, frames, -1)).clamp_min(1e-3)

    def rebuild(self, spectrogram_BFS: torch.Tensor, weight_1N: torch.Tensor) -> torch.Tensor:
        """Return the spectrogram_BFS of the waveform that is nearest to one: `forward` of `invert`, within rounding."""
        return self._analyse(self.invert(spectrogram_BFS, weight_1N), self.window * (4.0 / self.fft))

    def _analyse(self, wav_BN: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(F.pad(wav_BN, (self.margin, self.margin)).unfold(-1, self.fft, self.step) * window)

    def _overlap_add(self, frames_BFW: torch.Tensor) -> torch.Tensor:
        """Add up frames that start a step apart, piece by piece of a step; return them without the margins."""
        B, F_, _ = frames_BFW.shape
        pieces_BFPS = F.pad(frames_BFW, (0, -self.fft % self.step)).view(B, F_, -1, self.step)
        wav_BFS = frames_BFW.new_zeros(B, F_ + pieces_BFPS.shape[2] - 1, self.step)
        for place, piece_BFS in enumerate(pieces_BFPS.unbind(2)):
            wav_BFS[:, place : place + F_] += piece_BFS
        return wav_BFS.flatten(1)[:, self.margin : self.margin + F_ * self.step]


class SpectralEncoder(nn.Module):
    """Log-mel patches on their principal components; `fit` sets the components."""

    def __init__(self, config: SpectralConfig):
        super().__init__()
        self.config = config
        self.ratios, self.hop_length = [config.hop_samples], config.hop_samples  # what EncodecModel asks for
        self.spectrogram = Spectrogram(config)
        bank_SM = torchaudio.functional.melscale_fbanks(
            config.bins, 0.0, config.sample_rate_hz / 2, config.mel_bands, config.sample_rate_hz
        )
        self.register_buffer("bank_SM", bank_SM / bank_SM.sum(0).clamp_min(1e-3), persistent=False)
        size = config.patch_frames * config.mel_bands
        self.register_buffer("mean_P", torch.zeros(size))
        self.register_buffer("components_PD", torch.zeros(size, config.dimension))

    def patches(self, wav_BN: torch.Tensor) -> torch.Tensor:
        """Return log-mel patches_BTP; the last incomplete frame is filled with silence."""
        wav_BN = F.pad(wav_BN, (0, -wav_BN.shape[-1] % self.hop_length))
        mel_BFM = torch.log(self.spectrogram(wav_BN).abs() @ self.bank_SM + self.config.floor)
        return mel_BFM.unflatten(1, (-1, self.config.patch_frames)).flatten(2)

    def forward(self, wav_B1N: torch.Tensor) -> torch.Tensor:
        """Return latents_BDT."""
        return ((self.patches(wav_B1N[:, 0]) - self.mean_P) @ self.components_PD).transpose(1, 2)

    def fit(self, patches_NP: torch.Tensor) -> None:
        """Take the mean and the principal components of these patches."""
        self.mean_P.copy_(patches_NP.mean(0))
        centred_NP = patches_NP - self.mean_P
        _, vectors_PP = torch.linalg.eigh(centred_NP.T @ centred_NP)
        self.components_PD.copy_(vectors_PP.flip(1)[:, : self.config.dimension])


class SpectralDecoder(nn.Module):
    """The encoder backwards, in closed form: principal components to log-mel, to magnitudes, and Griffin-Lim for the
    phases.
    """

    def __init__(self, config: SpectralConfig, encoder: SpectralEncoder):
        super().__init__()
        self.config, self.spectrogram = config, Spectrogram(config)
        self.register_buffer("inverse_MS", torch.linalg.pinv(encoder.bank_SM), persistent=False)
        self.register_buffer("mean_P", torch.zeros_like(encoder.mean_P))
        self.register_buffer("components_PD", torch.zeros_like(encoder.components_PD))

    @property
    def closed(self) -> "SpectralDecoder":
        """The part in closed form: all of it."""
        return self

    def fit(self, encoder: SpectralEncoder) -> None:
        """Take the encoder's components."""
        self.mean_P.copy_(encoder.mean_P)
        self.components_PD.copy_(encoder.components_PD)

    def mel(self, latents_BDT: torch.Tensor) -> torch.Tensor:
        """Return the log-mel_BFM that the latents stand for."""
        patches_BTP = latents_BDT.transpose(1, 2) @ self.components_PD.T + self.mean_P
        return patches_BTP.unflatten(2, (-1, self.config.mel_bands)).flatten(1, 2)

    def magnitudes(self, mel_BFM: torch.Tensor) -> torch.Tensor:
        """Return magnitudes_BFS with about this log-mel."""
        return ((mel_BFM.exp() - self.config.floor).clamp_min(0.0) @ self.inverse_MS).clamp_min(0.0)

    def forward(self, latents_BDT: torch.Tensor) -> torch.Tensor:
        """Return wav_B1N."""
        return find_phases(self.spectrogram, self.magnitudes(self.mel(latents_BDT)), self.config.phase_iterations)[
            :, None
        ]


def find_phases(
    spectrogram: Spectrogram, magnitudes_BFS: torch.Tensor, iterations: int, momentum: float = 0.99
) -> torch.Tensor:
    """Return wav_BN whose spectrogram is near these magnitudes (fast Griffin-Lim, always from the same start, whatever
    the batch).
    """
    random = torch.Generator().manual_seed(0)
    angles_FS = (torch.rand(magnitudes_BFS.shape[1:], generator=random) * (2 * math.pi)).to(magnitudes_BFS.device)
    guess_BFS, before = torch.polar(magnitudes_BFS, angles_FS.expand_as(magnitudes_BFS)), (0.0, 0.0)
    weight_1N = spectrogram.weight(magnitudes_BFS.shape[1])
    for _ in range(iterations):
        rebuilt_BFS = spectrogram.rebuild(guess_BFS, weight_1N)
        rebuilt = rebuilt_BFS.real, rebuilt_BFS.imag  # apart they are several times as quick
        real_BFS, imaginary_BFS = (now * (1 + momentum) - momentum * then for now, then in zip(rebuilt, before))
        scale_BFS = magnitudes_BFS * (real_BFS.square() + imaginary_BFS.square()).clamp_min(1e-18).rsqrt()
        guess_BFS, before = torch.complex(real_BFS * scale_BFS, imaginary_BFS * scale_BFS), rebuilt
    return spectrogram.invert(guess_BFS, weight_1N)


def build_spectral(config: SpectralConfig) -> EncodecModel:
    """Return an unfitted model."""
    quantizer = ResidualVectorQuantizer(config.dimension, config.num_codebooks, config.codebook_size)
    encoder = SpectralEncoder(config)
    return EncodecModel(
        encoder, SpectralDecoder(config, encoder), quantizer, [], config.sample_rate_hz, channels=1
    ).eval()
