"""Which training a config file means: `model.kind` chooses from `TRAINERS`."""

from pathlib import Path

from speechlm.codecs.encodec import config_from_dict
from speechlm.codecs.train import TrainConfig, train_vocos
from speechlm.codecs.train_spectral import SpectralTrainConfig, train_spectral
from speechlm.data.settings import fill, read_mapping

TRAINERS = {"vocos": (TrainConfig, train_vocos), "spectral": (SpectralTrainConfig, train_spectral)}


def read_config(path: Path) -> TrainConfig | SpectralTrainConfig:
    """Read a YAML file; an unknown kind or key is refused with ValueError."""
    values = read_mapping(path)
    model = config_from_dict(values.get("model", {}), f"{path}, model")
    if model.kind not in TRAINERS:
        raise ValueError(
            f"{path}, model: kind {model.kind}; a codec of this kind is not trained here. Expected one of"
            f" {', '.join(TRAINERS)}"
        )
    return fill(TRAINERS[model.kind][0], values | {"model": model}, str(path))


def train_codec(
    config_path: Path, data_dirs: list[str], dev_dirs: list[str], out_dir: Path, device: str = "cpu"
) -> None:
    """Train the codec of a config file on Kaldi directories; leave a folder for `load_codec`."""
    config = read_config(config_path)
    _, train = TRAINERS[config.model.kind]
    train(config, data_dirs, dev_dirs, out_dir, device)
