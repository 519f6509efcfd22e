"""A codec with the closed-form spectral encoder and a neural decoder after Vocos (Siuzdak 2023, arXiv 2306.00814).

    codes -> latents -> log-mel (closed form) -> ConvNeXt blocks, 10 ms a step -> magnitudes and phases -> inverse STFT
    -> waveform

The network sees the neighbouring frames, so it smooths what the quantiser broke, and it finds the phases. Its
magnitudes are a correction of the closed form's, at first none. The encoder and the codebooks do not change when the
decoder is trained further: codes stay valid. Shapes: as in `speechlm.codecs.spectral`; C channels.
"""

from dataclasses import dataclass

import torch
from encodec import EncodecModel
from encodec.quantization import ResidualVectorQuantizer
from torch import nn

from speechlm.codecs.spectral import SpectralConfig, SpectralDecoder, SpectralEncoder
from speechlm.data.settings import Positive

LOG_MEL_MEAN, LOG_MEL_SCALE = -6.0, 2.5  # of speech, in nats
LOUDEST = 1.5  # log magnitude; a sine of full scale has 0


@dataclass(frozen=True)
class VocosConfig(SpectralConfig):
    """The sizes of the spectral encoder and of the network."""

    kind: str = "vocos"
    channels: Positive = 160
    hidden_channels: Positive = 480
    layers: Positive = 6
    kernel_frames: Positive = 7


class ConvNeXtBlock(nn.Module):
    """A convolution over time of each channel, a network over the channels of each step, and around them."""

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.time = nn.Conv1d(
            config.channels, config.channels, config.kernel_frames, padding="same", groups=config.channels
        )
        self.norm = nn.LayerNorm(config.channels)
        self.wide = nn.Linear(config.channels, config.hidden_channels)
        self.narrow = nn.Linear(config.hidden_channels, config.channels)
        self.scale_C = nn.Parameter(torch.full((config.channels,), 1.0 / config.layers))

    def forward(self, hidden_BFC: torch.Tensor) -> torch.Tensor:
        new_BFC = self.time(hidden_BFC.transpose(1, 2)).transpose(1, 2)
        return hidden_BFC + self.scale_C * self.narrow(nn.functional.gelu(self.wide(self.norm(new_BFC))))


class VocosDecoder(nn.Module):
    """The closed form's log-mel to a waveform, by a network; `closed.fit` sets the closed form."""

    def __init__(self, config: VocosConfig, encoder: SpectralEncoder):
        super().__init__()
        self.floor = config.floor
        self.closed = SpectralDecoder(config, encoder)
        self.inlet = nn.Conv1d(config.mel_bands, config.channels, config.kernel_frames, padding="same")
        self.blocks = nn.Sequential(*(ConvNeXtBlock(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.channels)
        self.magnitude = nn.Linear(config.channels, config.bins)
        self.phase = nn.Linear(config.channels, config.bins)
        nn.init.zeros_(self.magnitude.weight)
        nn.init.zeros_(self.magnitude.bias)
        sign_S = 1.0 - 2.0 * (torch.arange(config.bins) % 2)  # phases count from the middle of a frame
        self.register_buffer("sign_S", sign_S, persistent=False)

    def forward(self, latents_BDT: torch.Tensor) -> torch.Tensor:
        """Return wav_B1N."""
        mel_BFM = self.closed.mel(latents_BDT)
        inputs_BFM = (mel_BFM - LOG_MEL_MEAN) / LOG_MEL_SCALE
        hidden_BFC = self.norm(self.blocks(self.inlet(inputs_BFM.transpose(1, 2)).transpose(1, 2)))
        closed_BFS = (self.closed.magnitudes(mel_BFM) + self.floor).log()
        magnitudes_BFS = (closed_BFS + self.magnitude(hidden_BFC)).clamp_max(LOUDEST).exp()
        return self.closed.spectrogram.invert(torch.polar(magnitudes_BFS, self.phase(hidden_BFC)) * self.sign_S)[
            :, None
        ]


def build_vocos(config: VocosConfig) -> EncodecModel:
    """Return an unfitted, untrained model."""
    quantizer = ResidualVectorQuantizer(config.dimension, config.num_codebooks, config.codebook_size)
    encoder = SpectralEncoder(config)
    return EncodecModel(encoder, VocosDecoder(config, encoder), quantizer, [], config.sample_rate_hz, channels=1).eval()
