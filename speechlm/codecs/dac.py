"""DAC (Kumar et al. 2023, arXiv 2306.06546) through transformers: 16, 24 or 44.1 kHz; 50, 75 or 86 frames a second;
codebooks of 1,024.
"""

import math
from pathlib import Path

import torch
from torch import Tensor
from transformers import DacModel

from speechlm.codecs.base import Shape
from speechlm.codecs.network import NetworkCodec, choose_streams
from speechlm.codecs.transformer import load_pretrained, settings_of


class DacCodec(NetworkCodec):
    """A DacModel behind the `Codec` protocol. The last frame is filled with zeros, as the model's feature extractor
    does.
    """

    def coded_samples(self, samples: int) -> int:
        return samples + -samples % self.hop_samples

    def codes(self, wav_B1N: Tensor) -> Tensor:
        return self.model.encode(wav_B1N, n_quantizers=self.num_codebooks).audio_codes

    def wavs(self, codes_BKT: Tensor) -> Tensor:
        return self.model.decode(audio_codes=codes_BKT).audio_values

    @torch.inference_mode()
    def codebooks(self):
        """Return vectors_KCE, float32, after each codebook's own projection to the latent."""
        layers = self.model.quantizer.quantizers[: self.num_codebooks]
        return torch.stack([layer.out_proj(layer.codebook.weight.T[None])[0].T for layer in layers]).cpu().numpy()


def load_dac(folder: Path, option: str, name: str = "") -> DacCodec:
    """Load a folder as transformers saves it; `option` is the number of streams (all)."""
    model = load_pretrained(DacModel, folder)
    config = model.config
    streams = choose_streams(option, config.n_codebooks, config.n_codebooks, str(folder))
    hop_samples = math.prod(
        config.downsampling_ratios
    )  # the published 24 kHz model's config.json states another hop_length (512)
    shape = Shape(config.sampling_rate, hop_samples, streams, config.codebook_size)
    return DacCodec(f"{name or folder.name}:{streams}", model, shape, settings_of(folder, streams))
