"""Which training a config file means: `model.kind` chooses from `TRAINERS`."""

from dataclasses import fields
from pathlib import Path

import yaml

from speechlm.codecs.encodec import config_from_dict
from speechlm.codecs.train import TrainConfig, train_encodec
from speechlm.codecs.train_spectral import SpectralTrainConfig, train_spectral

TRAINERS = {"encodec": (TrainConfig, train_encodec), "spectral": (SpectralTrainConfig, train_spectral)}


def read_config(path: Path) -> TrainConfig | SpectralTrainConfig:
    """Read a YAML file; an unknown kind or key is refused with ValueError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {error}") from None
    model = config_from_dict(values.pop("model", {}), f"{path}, model")
    config_class, _ = TRAINERS[model.kind]
    known = {field.name for field in fields(config_class)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path}: unknown keys {unknown}; expected some of {sorted(known)}")
    return config_class(model=model, **values)


def train_codec(config_path: Path, data_dirs: list[str], dev_dirs: list[str], out_dir: Path) -> None:
    """Train the codec of a config file on Kaldi directories; leave a folder for `load_codec`."""
    config = read_config(config_path)
    _, train = TRAINERS[config.model.kind]
    train(config, data_dirs, dev_dirs, out_dir)
