"""A neural codec in the frame of `encodec.EncodecModel`, small enough for a CPU: learned patches of log-mel, and a
decoder after Vocos (Siuzdak 2023, arXiv 2306.00814).

    waveform -> log-mel every 10 ms -> patches of 80 ms -> principal components + ConvNeXt blocks -> residual VQ
    codes -> latents -> principal components + ConvNeXt blocks -> log-mel -> ConvNeXt blocks every 10 ms
          -> magnitudes and phases -> inverse STFT -> waveform

Both networks of the patches are a correction of the principal components, at first none, so that training starts from
the best linear codec; and the last network's magnitudes are a correction of the log-mel's. The waveform decoder can be
trained further, or anew, while the codes stay valid.

The first `letter_codebooks` code a latent of their own, which says what is spoken (`speechlm.codecs.letters`), as the
semantic codebook of Mimi does (Defossez et al. 2024, arXiv 2410.00037, section 3.3.3); the others code the sound. Both
latents are parts of one vector, and each codebook is 0 on the part that is not its own: so it is a residual quantiser
like any other. Shapes: as in `speechlm.codecs.spectral`; C channels, L = D + letter_dimension numbers of a latent.
"""

from dataclasses import dataclass

import torch
from encodec import EncodecModel
from encodec.quantization import ResidualVectorQuantizer
from torch import nn

from speechlm.codecs.rvq import RARE
from speechlm.codecs.spectral import SpectralConfig, SpectralDecoder, SpectralEncoder
from speechlm.data.settings import Count, Positive

LOG_MEL_MEAN, LOG_MEL_SCALE = -6.0, 2.5  # of speech, in nats
LATENT_SCALE = 4.0  # of a principal component of patches
LOUDEST = 1.5  # log magnitude; a sine of full scale has 0


@dataclass(frozen=True)
class VocosConfig(SpectralConfig):
    """The sizes: of the networks of the patches (`patch_*`), and of the one that makes the waveform."""

    kind: str = "vocos"
    letter_codebooks: Count = 0
    letter_dimension: Positive = 32
    patch_channels: Positive = 256
    patch_hidden: Positive = 768
    patch_layers: Positive = 4
    patch_kernel: Positive = 5
    channels: Positive = 192
    hidden_channels: Positive = 576
    layers: Positive = 8
    kernel_frames: Positive = 7

    def __post_init__(self):
        if self.letter_codebooks >= self.num_codebooks:
            raise ValueError(
                f"letter_codebooks {self.letter_codebooks}: expected fewer than num_codebooks"
                f" {self.num_codebooks}, since the others code the sound"
            )

    @property
    def latent_dimension(self) -> int:
        return self.dimension + (self.letter_dimension if self.letter_codebooks else 0)


class ConvNeXtBlock(nn.Module):
    """A convolution over time of each channel, a network over the channels of each step, and around them."""

    def __init__(self, channels: int, hidden: int, kernel: int, layers: int):
        super().__init__()
        self.time = nn.Conv1d(channels, channels, kernel, padding="same", groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, hidden)
        self.narrow = nn.Linear(hidden, channels)
        self.scale_C = nn.Parameter(torch.full((channels,), 1.0 / layers))

    def forward(self, hidden_BTC: torch.Tensor) -> torch.Tensor:
        new_BTC = self.time(hidden_BTC.transpose(1, 2)).transpose(1, 2)
        return hidden_BTC + self.scale_C * self.narrow(nn.functional.gelu(self.wide(self.norm(new_BTC))))


class PatchNetwork(nn.Module):
    """Blocks between two sizes; the first `zero` numbers of its output are 0 until it is trained."""

    def __init__(self, config: VocosConfig, size_in: int, size_out: int, zero: int | None = None):
        super().__init__()
        sizes = config.patch_channels, config.patch_hidden, config.patch_kernel, config.patch_layers
        self.inlet = nn.Linear(size_in, config.patch_channels)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(*sizes) for _ in range(config.patch_layers)))
        self.norm = nn.LayerNorm(config.patch_channels)
        self.outlet = nn.Linear(config.patch_channels, size_out)
        nn.init.zeros_(self.outlet.weight[:zero])
        nn.init.zeros_(self.outlet.bias[:zero])

    def forward(self, input_BTX: torch.Tensor) -> torch.Tensor:
        return self.outlet(self.norm(self.blocks(self.inlet(input_BTX))))


class VocosEncoder(SpectralEncoder):
    """Log-mel patches to latents."""

    def __init__(self, config: VocosConfig):
        super().__init__(config)
        self.network = PatchNetwork(config, len(self.mean_P), config.latent_dimension, zero=config.dimension)

    def forward(self, wav_B1N: torch.Tensor) -> torch.Tensor:
        """Return latents_BLT."""
        return self.latents(self.patches(wav_B1N[:, 0])).transpose(1, 2)

    def latents(self, patches_BTP: torch.Tensor) -> torch.Tensor:
        """Return latents_BTL of log-mel patches: of the sound, and then of the letters (of a fixed size)."""
        centred_BTP = patches_BTP - self.mean_P
        made_BTL = self.network(centred_BTP / LOG_MEL_SCALE)
        sound_BTD, letters_BTX = made_BTL.split([self.config.dimension, made_BTL.shape[2] - self.config.dimension], 2)
        if letters_BTX.shape[2]:
            letters_BTX = nn.functional.layer_norm(letters_BTX, letters_BTX.shape[2:])
        return torch.cat([centred_BTP @ self.components_PD + LATENT_SCALE * sound_BTD, LATENT_SCALE * letters_BTX], 2)


class VocosDecoder(nn.Module):
    """Latents to log-mel to a waveform; `closed.fit` sets the principal components."""

    def __init__(self, config: VocosConfig, encoder: SpectralEncoder):
        super().__init__()
        self.floor, self.dimension = config.floor, config.dimension
        self.closed = SpectralDecoder(config, encoder)
        self.network = PatchNetwork(config, config.latent_dimension, len(encoder.mean_P))
        self.waveform = WaveformNetwork(config)

    def forward(self, latents_BLT: torch.Tensor) -> torch.Tensor:
        """Return wav_B1N."""
        return self.speak(self.mel(latents_BLT))[:, None]

    def mel(self, latents_BLT: torch.Tensor) -> torch.Tensor:
        """Return the log-mel_BFM that the latents stand for."""
        correction_BTP = self.network(latents_BLT.transpose(1, 2) / LATENT_SCALE)
        mel_BFM = self.closed.mel(latents_BLT[:, : self.dimension])
        return mel_BFM + correction_BTP.reshape(mel_BFM.shape)

    def speak(self, mel_BFM: torch.Tensor) -> torch.Tensor:
        """Return wav_BN with about this log-mel."""
        closed_BFS = (self.closed.magnitudes(mel_BFM) + self.floor).log()
        return self.closed.spectrogram.invert(self.waveform(mel_BFM, closed_BFS))


class WaveformNetwork(nn.Module):
    """Finds the phases of a spectrogram, and smooths what the quantiser broke: it sees the neighbouring frames."""

    def __init__(self, config: VocosConfig):
        super().__init__()
        sizes = config.channels, config.hidden_channels, config.kernel_frames, config.layers
        self.inlet = nn.Conv1d(config.mel_bands, config.channels, config.kernel_frames, padding="same")
        self.blocks = nn.Sequential(*(ConvNeXtBlock(*sizes) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.channels)
        self.magnitude = nn.Linear(config.channels, config.bins)
        self.phase = nn.Linear(config.channels, config.bins)
        nn.init.zeros_(self.magnitude.weight)
        nn.init.zeros_(self.magnitude.bias)
        sign_S = 1.0 - 2.0 * (torch.arange(config.bins) % 2)  # phases count from the middle of a frame
        self.register_buffer("sign_S", sign_S, persistent=False)

    def forward(self, mel_BFM: torch.Tensor, log_magnitudes_BFS: torch.Tensor) -> torch.Tensor:
        """Return the complex spectrogram_BFS."""
        inputs_BMF = ((mel_BFM - LOG_MEL_MEAN) / LOG_MEL_SCALE).transpose(1, 2)
        hidden_BFC = self.norm(self.blocks(self.inlet(inputs_BMF).transpose(1, 2)))
        magnitudes_BFS = (log_magnitudes_BFS + self.magnitude(hidden_BFC)).clamp_max(LOUDEST).exp()
        return torch.polar(magnitudes_BFS, self.phase(hidden_BFC)) * self.sign_S


def build_vocos(config: VocosConfig) -> EncodecModel:
    """Return an unfitted, untrained model."""
    quantizer = ResidualVectorQuantizer(
        config.latent_dimension, config.num_codebooks, config.codebook_size, threshold_ema_dead_code=RARE
    )
    encoder = VocosEncoder(config)
    return EncodecModel(encoder, VocosDecoder(config, encoder), quantizer, [], config.sample_rate_hz, channels=1).eval()
