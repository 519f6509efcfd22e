"""Codecs that ESPnet trained (its task gan_codec: SoundStream, EnCodec, DAC), from the folder of a training or a model
on the hub.

ESPnet's own `AudioCoding` would do the same, but reads the weights as a pickle that may run code.
"""

from pathlib import Path

import torch
from torch import Tensor

from speechlm.codecs.base import Shape
from speechlm.codecs.network import ResidualCodec, choose_streams
from speechlm.data.settings import read_yaml
from speechlm.espnet_start import quick_imports

ARCHITECTURES = ("soundstream", "encodec", "dac")


class ESPnetCodec(ResidualCodec):
    """The generator of an ESPnet codec behind the `Codec` protocol."""

    def wavs(self, codes_BKT: Tensor) -> Tensor:
        return self.model.decode(codes_BKT.transpose(0, 1))[:, 0]


def load_espnet(config_path: Path, weights: Path, option: str, name: str = "") -> ESPnetCodec:
    """Load the two files of a training; `option` is the number of streams (all)."""
    config = read_yaml(config_path) if config_path.is_file() else None
    kind = config.get("codec") if isinstance(config, dict) else None
    if kind not in ARCHITECTURES:
        raise ValueError(
            f"{config_path}: codec is {kind!r}; expected the config.yaml of an ESPnet codec training:"
            f" {', '.join(ARCHITECTURES)}"
        )
    codec = build(config_path, weights)
    meta = codec.meta_info()
    streams = choose_streams(option, meta["num_streams"], meta["num_streams"], str(weights))
    shape = Shape(meta["fs"], meta["frame_shift"], streams, meta["code_size_per_stream"][0])
    settings = {"codec": kind, "codec_conf": config.get("codec_conf"), "streams": streams}
    return ESPnetCodec(f"{name or weights.parent.name}:{streams}", codec.generator, shape, settings)


def build(config_path: Path, weights: Path) -> torch.nn.Module:
    """Return ESPnet's codec with these weights; ValueError if they don't belong together."""
    with quick_imports():
        from espnet2.tasks.gan_codec import GANCodecTask

    try:
        model, _ = GANCodecTask.build_model_from_file(str(config_path), None)
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # of ESPnet (settings), pickle and torch, each its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{weights}: does not fit {config_path} ({reason}). Expected the two files of one ESPnet codec training"
        ) from None
    return model.codec
