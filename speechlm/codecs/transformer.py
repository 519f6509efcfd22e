"""Codec folders of the library transformers: config.json and model.safetensors (no pickles)."""

from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from speechlm.data.settings import read_json

NEUTRAL = (
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
)  # of config.json: don't change the codes


def load_pretrained(kind: type[PreTrainedModel], folder: Path) -> PreTrainedModel:
    """Load a model in float32; ValueError if a file is missing or damaged, or does not hold all the weights."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would say of missing weights is an error here
    try:
        model, found = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # of transformers, safetensors and torch, each its own
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{folder}: no {kind.__name__} ({reason}). Expected config.json and model.safetensors of one model: fetch"
            " the folder again"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    if found["missing_keys"] or found["mismatched_keys"]:
        wrong = sorted(found["missing_keys"])[:3] or found["mismatched_keys"][:3]
        raise ValueError(
            f"{folder}/model.safetensors: lacks weights that config.json asks for ({wrong}, ...). Fetch the folder"
            " again"
        )
    return model


def settings_of(folder: Path, streams: int) -> dict:
    """Return what decides the codes besides the weights."""
    config = {key: value for key, value in read_json(folder / "config.json").items() if key not in NEUTRAL}
    return {"config": config, "streams": streams}
