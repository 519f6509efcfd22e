"""Mimi (Defossez et al. 2024, arXiv 2410.00037) through transformers: 24 kHz, 12.5 frames a second, up to 32 codebooks
of 2,048.

The first codebook is the semantic one; Moshi speaks with eight, which is our default.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import MimiModel

from speechlm.codecs.base import Shape
from speechlm.codecs.network import NetworkCodec, choose_streams
from speechlm.codecs.transformer import load_pretrained, settings_of

DEFAULT_STREAMS = 8


class MimiCodec(NetworkCodec):
    """A MimiModel behind the `Codec` protocol."""

    def codes(self, wav_B1N: Tensor) -> Tensor:
        return self.model.encode(wav_B1N, num_quantizers=self.num_codebooks).audio_codes

    def wavs(self, codes_BKT: Tensor) -> Tensor:
        return self.model.decode(codes_BKT).audio_values[:, 0]

    @torch.inference_mode()
    def codebooks(self):
        """Return vectors_KCE, float32, after the projection of each quantiser to the latent."""
        quantizer = self.model.quantizer
        parts = quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer
        vectors = [project(part, layer.codebook.embed) for part in parts for layer in part.layers]
        return torch.stack(vectors[: self.num_codebooks]).cpu().numpy()


def project(part: torch.nn.Module, codebook_CQ: Tensor) -> Tensor:
    """Return vectors_CE of a quantiser's codebook."""
    return codebook_CQ if part.output_proj is None else part.output_proj(codebook_CQ.T[None])[0].T


def load_mimi(folder: Path, option: str, name: str = "") -> MimiCodec:
    """Load a folder as transformers saves it; `option` is the number of streams."""
    model = load_pretrained(MimiModel, folder)
    config = model.config
    streams = choose_streams(option, config.num_quantizers, DEFAULT_STREAMS, str(folder))
    shape = Shape(config.sampling_rate, round(config.sampling_rate / config.frame_rate), streams, config.codebook_size)
    return MimiCodec(f"{name or folder.name}:{streams}", model, shape, settings_of(folder, streams))
