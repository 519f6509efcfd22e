"""EnCodec, by the `encodec` package: the pretrained 24 kHz model, or our own small one from a folder.

A folder holds `config.json` (`EncodecConfig`, or `SpectralConfig` if its "kind" says so) and `model.safetensors` (the
state of the `encodec.EncodecModel`). Shapes: B batch, D latent dimension, T frames, K codebooks, N samples.
"""

import json
import os
import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from encodec import EncodecModel
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from safetensors.torch import load_file, save_file

from speechlm.codecs.base import check_codes, check_wav, fingerprint
from speechlm.codecs.spectral import SpectralConfig, build_spectral
from speechlm.data.files import atomic_write, storage_errors
from speechlm.data.settings import fill, read_json

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
PRETRAINED_BITS_PER_CODE = 10
PRETRAINED_KBPS = (1.5, 3.0, 6.0, 12.0, 24.0)
ACTIVATIONS = {"ELU": {"alpha": 1.0}, "LeakyReLU": {"negative_slope": 0.1}}


@dataclass(frozen=True)
class EncodecConfig:
    """The architecture of a small EnCodec; `ratios` are in the decoder's order, their product is the hop."""

    kind: str = "encodec"
    sample_rate_hz: int = 16000
    ratios: tuple[int, ...] = (8, 5, 4, 8)
    dimension: int = 64
    encoder_filters: int = 8
    decoder_filters: int = 16
    lstm_layers: int = 0
    causal: bool = False
    norm: str = "weight_norm"
    activation: str = "LeakyReLU"
    num_codebooks: int = 8
    codebook_size: int = 256

    def __post_init__(self):
        object.__setattr__(self, "ratios", tuple(self.ratios))
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {sorted(ACTIVATIONS)}, found {self.activation!r}")
        if self.norm not in ("weight_norm", "time_group_norm"):
            raise ValueError(f"norm: expected weight_norm or time_group_norm, found {self.norm!r}")

    @property
    def hop_samples(self) -> int:
        return int(np.prod(self.ratios))


def build_model(config: EncodecConfig) -> EncodecModel:
    """Return an untrained EncodecModel; its codebooks are zero until the training fills them."""
    shared = {
        "dimension": config.dimension,
        "ratios": list(config.ratios),
        "activation": config.activation,
        "activation_params": ACTIVATIONS[config.activation],
        "norm": config.norm,
        "causal": config.causal,
        "lstm": config.lstm_layers,
        "true_skip": True,
    }
    encoder = SEANetEncoder(n_filters=config.encoder_filters, last_kernel_size=3, **shared)
    decoder = SEANetDecoder(n_filters=config.decoder_filters, kernel_size=3, **shared)
    quantizer = ResidualVectorQuantizer(config.dimension, config.num_codebooks, config.codebook_size)
    model = EncodecModel(encoder, decoder, quantizer, [], config.sample_rate_hz, channels=1)
    return model.eval()


class EncodecCodec:
    """An EncodecModel behind the `Codec` protocol. One waveform at a time, so no batch can change the codes."""

    def __init__(self, name: str, model: EncodecModel, num_codebooks: int, settings: dict):
        self.name = name
        self.sample_rate_hz = model.sample_rate
        self.hop_samples = int(model.encoder.hop_length)
        self.frame_rate_hz = model.sample_rate / self.hop_samples
        self.num_codebooks = num_codebooks
        self.codebook_size = model.quantizer.bins
        weights = {key: value.numpy() for key, value in model.state_dict().items()}
        self.fingerprint = fingerprint(settings, weights)
        self.model = model.eval()

    @torch.inference_mode()
    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """See `Codec.encode`; T = ceil(N / hop_samples)."""
        wav_N = check_wav(wav_N, self.hop_samples)
        latents_BDT = self.model.encoder(torch.from_numpy(wav_N)[None, None])
        codes_KBT = self.model.quantizer.vq.encode(latents_BDT, n_q=self.num_codebooks)
        return codes_KBT[:, 0].T.to(torch.int32).numpy()

    def codebooks(self) -> np.ndarray:
        """Return the residual quantiser's vectors_KCE, float32."""
        layers = self.model.quantizer.vq.layers[: self.num_codebooks]
        return torch.stack([layer.project_out(layer.codebook) for layer in layers]).detach().numpy()

    @torch.inference_mode()
    def decode(self, codes_TK: np.ndarray) -> np.ndarray:
        """See `Codec.decode`; N = T * hop_samples."""
        codes_TK = check_codes(codes_TK, self.num_codebooks, self.codebook_size)
        codes_KBT = torch.from_numpy(codes_TK.T.copy())[:, None]
        wav_BCN = self.model.decoder(self.model.quantizer.decode(codes_KBT))
        return wav_BCN[0, 0].numpy()


KINDS = {"encodec": (EncodecConfig, build_model), "spectral": (SpectralConfig, build_spectral)}


def config_from_dict(values: dict, source: str) -> EncodecConfig | SpectralConfig:
    """Return the config of a codec's "kind", or raise ValueError naming the unknown kind, keys or values of `source`."""
    kind = values.get("kind", "encodec") if isinstance(values, dict) else "encodec"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{source}: kind {reprlib.repr(kind)}; expected one of {sorted(KINDS)}")
    return fill(KINDS[kind][0], values, source)


def save_folder(folder: Path, model: EncodecModel, config: EncodecConfig | SpectralConfig) -> None:
    """Write `config.json` and `model.safetensors`; each is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS_NAME}.tmp"
    with storage_errors(folder / WEIGHTS_NAME):
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary)
        os.replace(temporary, folder / WEIGHTS_NAME)
    with atomic_write(folder / CONFIG_NAME) as stream:
        stream.write(json.dumps(asdict(config), indent=1) + "\n")


def load_folder(folder: Path, name: str | None = None) -> EncodecCodec:
    """Load our own EnCodec; raise ValueError if a file is missing or does not fit."""
    folder = Path(folder)
    missing = [file for file in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / file).is_file()]
    if missing:
        raise ValueError(f"{folder}: {' and '.join(missing)} not found. Train a codec: python -m speechlm.bin.train_codec --out {folder}")
    config = config_from_dict(read_json(folder / CONFIG_NAME), str(folder / CONFIG_NAME))
    try:
        model = KINDS[config.kind][1](config)
        model.load_state_dict(load_file(folder / WEIGHTS_NAME))
    except Exception as error:  # safetensors and torch raise different types for a broken or a foreign file, or senseless sizes
        raise ValueError(f"{folder / WEIGHTS_NAME}: does not fit {CONFIG_NAME}: {error}") from None
    return EncodecCodec(name or folder.name, model, config.num_codebooks, asdict(config))


def load_pretrained_24khz(kbps: float = 6.0, path: Path | None = None) -> EncodecCodec:
    """Load the published 24 kHz EnCodec at 75 frames a second, 0.75 kbit/s for each codebook.

    `path` is the downloaded `encodec_24khz-d7cc33bc.th`; without it torch.hub downloads (or reuses) it.
    """
    if kbps not in PRETRAINED_KBPS:
        raise ValueError(f"encodec_24khz: bandwidth {kbps:g}; expected one of {', '.join(map('{:g}'.format, PRETRAINED_KBPS))} kbit/s")
    if path is not None and not path.is_file():
        raise ValueError(f"{path}: not found; expected the file encodec_24khz-d7cc33bc.th")
    try:
        model = EncodecModel.encodec_model_24khz(pretrained=path is None)
    except OSError as error:
        raise ValueError(
            f"encodec_24khz could not be downloaded ({error}). Fetch encodec_24khz-d7cc33bc.th where there is a network "
            "and give its path (--codec_path FILE)"
        ) from None
    if path is not None:
        _load_checkpoint(model, path)
    model.set_target_bandwidth(kbps)
    num_codebooks = int(kbps * 1000 / (model.frame_rate * PRETRAINED_BITS_PER_CODE))
    return EncodecCodec(f"encodec_24khz:{kbps:g}", model, num_codebooks, {"kbps": kbps})


def _load_checkpoint(model: EncodecModel, path: Path) -> None:
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(f"{path}: is not the checkpoint of encodec_24khz: {error}") from None
