"""EnCodec, by the `encodec` package: the pretrained 24 kHz model, or our own small one from a folder.

A folder holds `config.json` (`EncodecConfig`, or `SpectralConfig` or `VocosConfig` if its "kind" says so),
`model.safetensors` (the state of the `encodec.EncodecModel`) and perhaps `decoder_<N>.safetensors`, what takes the
place of a part of that state when only the first N codebooks are used. Shapes: B batch, D latent dimension, T frames, K
codebooks, N samples.
"""

import json
import os
import reprlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from encodec import EncodecModel
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from safetensors.torch import load_file, save_file

from speechlm.codecs.base import Shape
from speechlm.codecs.network import ResidualCodec, choose_streams
from speechlm.codecs.spectral import SpectralConfig, SpectralEncoder, build_spectral
from speechlm.codecs.vocos import VocosConfig, build_vocos
from speechlm.data.files import atomic_write, share, storage_errors
from speechlm.data.settings import Choice, Count, Positive, fill, read_json

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
DECODER_NAME = "decoder_{}.safetensors"  # weights in place of those of the model, when so many codebooks are used
OF_TRAINING = (".embed_avg", ".cluster_size", ".inited")  # what only the training of codebooks needs
PRETRAINED_BITS_PER_CODE = 10
PRETRAINED_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"
PRETRAINED_KBPS = (1.5, 3.0, 6.0, 12.0, 24.0)
ACTIVATIONS = {"ELU": {"alpha": 1.0}, "LeakyReLU": {"negative_slope": 0.1}}


@dataclass(frozen=True)
class EncodecConfig:
    """The architecture of a small EnCodec; `ratios` are in the decoder's order, their product is the hop."""

    kind: str = "encodec"
    sample_rate_hz: Positive = 16000
    ratios: tuple[Positive, ...] = (8, 5, 4, 8)
    dimension: Positive = 64
    encoder_filters: Positive = 8
    decoder_filters: Positive = 16
    lstm_layers: Count = 0
    causal: bool = False
    norm: Choice("weight_norm", "time_group_norm") = "weight_norm"
    activation: Choice("ELU", "LeakyReLU") = "LeakyReLU"
    num_codebooks: Positive = 8
    codebook_size: Positive = 256

    def __post_init__(self):
        object.__setattr__(self, "ratios", tuple(self.ratios))

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


class EncodecCodec(ResidualCodec):
    """An EncodecModel behind the `Codec` protocol."""

    def __init__(self, name: str, model: EncodecModel, num_codebooks: int, settings: dict):
        hop_samples = int(model.encoder.hop_length)
        super().__init__(
            name, model, Shape(model.sample_rate, hop_samples, num_codebooks, model.quantizer.bins), settings
        )

    def coded_samples(self, samples: int) -> int:
        """See `Codec.coded_samples`. A spectral encoder looks at whole frames, a network of convolutions at each
        sample.
        """
        return samples + (-samples % self.hop_samples if isinstance(self.model.encoder, SpectralEncoder) else 0)

    def wavs(self, codes_BKT: torch.Tensor) -> torch.Tensor:
        return self.model.decoder(self.model.quantizer.decode(codes_BKT.transpose(0, 1)))[:, 0]


KINDS = {
    "encodec": (EncodecConfig, build_model),
    "spectral": (SpectralConfig, build_spectral),
    "vocos": (VocosConfig, build_vocos),
}


def config_from_dict(values: dict, source: str) -> EncodecConfig | SpectralConfig:
    """Return the config of a codec's "kind", or raise ValueError naming the unknown kind, keys or values of
    `source`.
    """
    kind = values.get("kind", "encodec") if isinstance(values, dict) else "encodec"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{source}: kind {reprlib.repr(kind)}; expected one of {sorted(KINDS)}")
    return fill(KINDS[kind][0], values, source)


def save_folder(folder: Path, model: EncodecModel, config: EncodecConfig | SpectralConfig) -> None:
    """Write `config.json` and `model.safetensors` (numbers of 16 bits); each is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / WEIGHTS_NAME, model.state_dict())
    with atomic_write(folder / CONFIG_NAME) as stream:
        stream.write(json.dumps(asdict(config), indent=1) + "\n")


def save_decoder(folder: Path, model: EncodecModel, source: Path, streams: int) -> None:
    """Write the codec of `source`, and beside it what `model` has differently: a decoder for its first codebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        with storage_errors(folder / name):
            shutil.copyfile(source / name, folder / f".{name}.tmp")
            os.replace(folder / f".{name}.tmp", folder / name)
    before = load_folder(source).model.state_dict()
    changed = {key: value for key, value in model.state_dict().items() if not torch.equal(value.cpu(), before[key])}
    _save(folder / DECODER_NAME.format(streams), changed)


def _save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path):
        kept = {key: value for key, value in weights.items() if not key.endswith(OF_TRAINING)}
        save_file({key: value.half().contiguous().cpu() for key, value in kept.items()}, temporary)
        share(temporary)
        os.replace(temporary, path)


def load_folder(folder: Path, name: str = "", option: str = "") -> EncodecCodec:
    """Load our own EnCodec, or its first `option` codebooks; raise ValueError if a file is missing or does not fit."""
    name = name or folder.name
    missing = [file for file in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"{folder}: {' and '.join(missing)} not found. Train a codec: python -m speechlm.bin.train_codec --out"
            f" {folder}"
        )
    config = config_from_dict(read_json(folder / CONFIG_NAME), str(folder / CONFIG_NAME))
    streams, settings = choose_streams(option, config.num_codebooks, config.num_codebooks, name), asdict(config)
    model = _load(config, folder / WEIGHTS_NAME, folder / DECODER_NAME.format(streams))
    if streams == config.num_codebooks:
        return EncodecCodec(name, model, streams, settings)
    return EncodecCodec(f"{name}:{streams}", model, streams, settings | {"streams": streams})


def _load(config: EncodecConfig | SpectralConfig, weights: Path, decoder: Path) -> EncodecModel:
    """Return a folder's model, with the decoder for so few codebooks if there is one."""
    path = weights
    try:
        model = KINDS[config.kind][1](config)
        missing, unknown = model.load_state_dict(load_file(weights), strict=False)
        missing = [key for key in missing if not key.endswith(OF_TRAINING)]
        if decoder.is_file():
            path = decoder
            unknown += model.load_state_dict(load_file(decoder), strict=False).unexpected_keys
        if missing or unknown:
            raise ValueError(f"missing or unknown: {', '.join([*unknown, *missing][:5])}")
    except (
        Exception
    ) as error:  # safetensors and torch raise different types for a broken or a foreign file, or senseless sizes
        raise ValueError(f"{path}: does not fit {CONFIG_NAME}: {error}") from None
    return model


def load_pretrained_24khz(option: str = "", path: Path | None = None) -> EncodecCodec:
    """Load the published 24 kHz EnCodec at 75 frames a second, at `option` kbit/s (6), 0.75 for each codebook.

    `path` is the downloaded checkpoint; without it torch.hub downloads (or reuses) it.
    """
    try:
        kbps = float(option or 6.0)
    except ValueError:
        kbps = 0.0
    if kbps not in PRETRAINED_KBPS:
        expected = ", ".join(map("{:g}".format, PRETRAINED_KBPS))
        raise ValueError(
            f"encodec_24khz: expected a bandwidth of {expected} kbit/s, found {option!r}; for example encodec_24khz:6"
        )
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    source = path or _download(kbps)
    try:
        model.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
    except Exception as error:  # of pickle, zip and torch: no checkpoint, or of another model
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{source}: is not the checkpoint of encodec_24khz ({reason}). Expected the file of {PRETRAINED_URL}"
        ) from None
    model.set_target_bandwidth(kbps)
    num_codebooks = int(kbps * 1000 / (model.frame_rate * PRETRAINED_BITS_PER_CODE))
    return EncodecCodec(f"encodec_24khz:{kbps:g}", model, num_codebooks, {"kbps": kbps})


def _download(kbps: float) -> Path:
    """Return the published checkpoint in torch.hub's folder, downloaded if it isn't there; ValueError says how to fetch
    it elsewhere.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / PRETRAINED_URL.rpartition("/")[2]
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(PRETRAINED_URL, str(path), path.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: another checksum
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"encodec_24khz: not on this machine, and cannot be downloaded ({reason}). On a machine with network"
            " access: wget"
            f" {PRETRAINED_URL}; copy the file here and write --codec FILE:{kbps:g}, or put it into {path.parent}"
        ) from None
    return path
