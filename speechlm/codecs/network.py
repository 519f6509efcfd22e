"""What the codecs that are a torch module have in common: checks, one waveform at a time, the fingerprint.

Shapes: K codebooks, T frames, N samples; a 1 is the batch, of one waveform, so that no padding can change the codes.
"""

import numpy as np
import torch
from torch import Tensor, nn

from speechlm.codecs.base import Shape, check_codes, check_wav, fingerprint


class NetworkCodec:
    """A module behind the `Codec` protocol. A codec defines `codes`, `wavs` and `codebooks`.

    `settings` are what decides the codes besides the weights.
    """

    def __init__(self, name: str, model: nn.Module, shape: Shape, settings: dict):
        self.name, self.model = name, model.eval()
        self.sample_rate_hz, self.hop_samples = shape.sample_rate_hz, shape.hop_samples
        self.frame_rate_hz = shape.frame_rate_hz
        self.num_codebooks, self.codebook_size = shape.num_codebooks, shape.codebook_size
        self.fingerprint = fingerprint(settings, {key: value.numpy() for key, value in model.state_dict().items()})

    @torch.inference_mode()
    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """See `Codec.encode`; T = ceil(N / hop_samples)."""
        wav_N = check_wav(wav_N, self.hop_samples)
        return self.codes(torch.from_numpy(wav_N)[None, None]).T.to(torch.int32).numpy()

    @torch.inference_mode()
    def decode(self, codes_TK: np.ndarray) -> np.ndarray:
        """See `Codec.decode`; N = T * hop_samples, or less by a part of a frame."""
        return self.decode_batch(np.asarray(codes_TK)[None])[0]

    @torch.inference_mode()
    def decode_batch(self, codes_BTK: np.ndarray) -> np.ndarray:
        """See `Codec.decode_batch`."""
        checked = [check_codes(codes_TK, self.num_codebooks, self.codebook_size) for codes_TK in codes_BTK]
        return self.wavs(torch.from_numpy(np.stack(checked)).transpose(1, 2)).numpy()

    def codes(self, wav_11N: Tensor) -> Tensor:
        """Return codes_KT."""
        raise NotImplementedError

    def wavs(self, codes_BKT: Tensor) -> Tensor:
        """Return wav_BN."""
        raise NotImplementedError


class ResidualCodec(NetworkCodec):
    """A network with the quantiser of the `encodec` package, which ESPnet's codecs have too. A codec defines `wavs`."""

    def codes(self, wav_11N: Tensor) -> Tensor:
        return self.model.quantizer.vq.encode(self.model.encoder(wav_11N), n_q=self.num_codebooks)[:, 0]

    @torch.inference_mode()
    def codebooks(self) -> np.ndarray:
        """Return the residual quantiser's vectors_KCE, float32."""
        layers = self.model.quantizer.vq.layers[: self.num_codebooks]
        return torch.stack([layer.project_out(layer.codebook) for layer in layers]).numpy()


def choose_streams(option: str, available: int, default: int, spec: str) -> int:
    """Return how many codebooks an option asks for ("": the default); ValueError if the model has not so many."""
    if not option:
        return min(default, available)
    if not option.isdecimal() or not 1 <= int(option) <= available:
        raise ValueError(
            f"codec {spec}: {option!r} streams; expected a number from 1 to {available}, for example {spec}:{min(8, available)}"
        )
    return int(option)
