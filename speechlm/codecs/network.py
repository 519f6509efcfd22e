"""What the codecs that are a torch module have in common: checks, batches of equal length, the fingerprint.

Shapes: B batch, of waveforms of one length, so that no padding can change the codes; K codebooks, T frames, N samples.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechlm.codecs.base import BATCH_SEC, GPU_BATCH_SEC, Shape, check_codes, check_wav, fingerprint


class NetworkCodec:
    """A module behind the `Codec` protocol. A codec defines `codes`, `wavs` and `codebooks`.

    `settings` are what decides the codes besides the weights.
    """

    def __init__(self, name: str, model: nn.Module, shape: Shape, settings: dict):
        self.name, self.model, self.device = name, model.eval(), "cpu"
        self._exact: dict[tuple[int, ...], bool] = {}  # shape of a batch -> does each row have the codes it has alone?
        self.sample_rate_hz, self.hop_samples = shape.sample_rate_hz, shape.hop_samples
        self.frame_rate_hz = shape.frame_rate_hz
        self.num_codebooks, self.codebook_size = shape.num_codebooks, shape.codebook_size
        self.fingerprint = fingerprint(settings, {key: value.numpy() for key, value in model.state_dict().items()})

    def to(self, device: str) -> "NetworkCodec":
        """See `Codec.to`."""
        self.model.to(device)
        self.device, self._exact = device, {}
        return self

    @property
    def batch_sec(self) -> float:
        """See `Codec.batch_sec`."""
        return BATCH_SEC if self.device == "cpu" else GPU_BATCH_SEC

    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """See `Codec.encode`; T = ceil(N / hop_samples)."""
        return self.encode_batch([wav_N])[0]

    def coded_samples(self, samples: int) -> int:
        """See `Codec.coded_samples`: no more than there are, unless the codec says otherwise."""
        return samples

    @torch.inference_mode()
    def encode_batch(self, wavs: list[np.ndarray]) -> np.ndarray:
        """See `Codec.encode_batch`."""
        wavs = [check_wav(wav_N, self.hop_samples) for wav_N in wavs]
        length = self.coded_samples(len(wavs[0]))
        wav_BN = torch.from_numpy(np.stack([np.pad(wav_N, (0, length - len(wav_N))) for wav_N in wavs]))
        wav_B1N = wav_BN[:, None].to(self.device)
        codes_BKT = self._codes_of_batch(wav_B1N).to(torch.int32).contiguous()  # archives hold each codebook in a row
        return codes_BKT.transpose(1, 2).cpu().numpy()

    def _codes_of_batch(self, wav_B1N: Tensor) -> Tensor:
        """Return codes_BKT, each bit for bit what it is alone.

        Which kernel runs, and so how it rounds, depends on the shape. On a GPU all batches of a length have one: of
        `batch_sec`, filled with silence where there are fewer. On a CPU, one at a time has a shape of its own, and a
        batch is coded as such where it makes no difference. Each shape is tried once.
        """
        rows = len(wav_B1N)
        if self.device != "cpu":
            rows = max(1, math.ceil(self.batch_sec * self.sample_rate_hz / wav_B1N.shape[2]))
        return torch.cat([self._codes_of_rows(part_B1N, rows) for part_B1N in wav_B1N.split(rows)])

    def _codes_of_rows(self, wav_B1N: Tensor, rows: int) -> Tensor:
        """Return codes_BKT of a batch that is filled up to so many rows: all at once or, if that changes codes, one by
        one.
        """
        filled_R1N, count = F.pad(wav_B1N, (0, 0, 0, 0, 0, rows - len(wav_B1N))), len(wav_B1N)
        shape = tuple(filled_R1N.shape)
        if rows == 1 or self._exact.get(shape):
            return self.codes(filled_R1N)[:count]
        if shape not in self._exact:
            found = self._traced(filled_R1N)
            self._exact[shape] = self._is_exact(filled_R1N, found)
            if self._exact[shape]:
                return found[0][:count]
        return torch.cat([self.codes(wav_11N) for wav_11N in wav_B1N.split(1)])

    def _is_exact(self, wav_R1N: Tensor, found: tuple[Tensor, Tensor]) -> bool:
        """Are the codes and latents found the same as those of a row alone (CPU), or beside other neighbours (GPU)?"""
        if self.device == "cpu":
            return all(torch.equal(many[-1:], one) for many, one in zip(found, self._traced(wav_R1N[-1:])))
        return all(torch.equal(many, back.flip(0)) for many, back in zip(found, self._traced(wav_R1N.flip(0))))

    def _traced(self, wav_B1N: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes_BKT, and latents_BET that the encoder gave."""
        latents: list[Tensor] = []
        hook = self.model.encoder.register_forward_hook(lambda module, given, output: latents.append(output))
        try:
            return self.codes(wav_B1N), latents[0]
        finally:
            hook.remove()

    @torch.inference_mode()
    def decode(self, codes_TK: np.ndarray) -> np.ndarray:
        """See `Codec.decode`; N = T * hop_samples, or less by a part of a frame."""
        return self.decode_batch(np.asarray(codes_TK)[None])[0]

    @torch.inference_mode()
    def decode_batch(self, codes_BTK: np.ndarray) -> np.ndarray:
        """See `Codec.decode_batch`."""
        checked = [check_codes(codes_TK, self.num_codebooks, self.codebook_size) for codes_TK in codes_BTK]
        return self.wavs(torch.from_numpy(np.stack(checked)).transpose(1, 2).to(self.device)).cpu().numpy()

    def codes(self, wav_B1N: Tensor) -> Tensor:
        """Return codes_BKT."""
        raise NotImplementedError

    def wavs(self, codes_BKT: Tensor) -> Tensor:
        """Return wav_BN."""
        raise NotImplementedError


class ResidualCodec(NetworkCodec):
    """A network with the quantiser of the `encodec` package, which ESPnet's codecs have too. A codec defines `wavs`."""

    def codes(self, wav_B1N: Tensor) -> Tensor:
        return self.model.quantizer.vq.encode(self.model.encoder(wav_B1N), n_q=self.num_codebooks).transpose(0, 1)

    @torch.inference_mode()
    def codebooks(self) -> np.ndarray:
        """Return the residual quantiser's vectors_KCE, float32."""
        layers = self.model.quantizer.vq.layers[: self.num_codebooks]
        return torch.stack([layer.project_out(layer.codebook) for layer in layers]).cpu().numpy()


def choose_streams(option: str, available: int, default: int, spec: str) -> int:
    """Return how many codebooks an option asks for ("": the default); ValueError if the model has fewer."""
    if not option:
        return min(default, available)
    if not option.isdecimal() or not 1 <= int(option) <= available:
        raise ValueError(
            f"codec {spec}: {option!r} streams; expected a number from 1 to {available}, for example"
            f" {spec}:{min(8, available)}"
        )
    return int(option)
