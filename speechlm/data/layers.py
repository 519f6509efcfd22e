"""The settings of a training are layers of YAML files: those of a later folder go over those of an earlier one; in each
folder train.yaml, then sft.yaml (of fine-tunings), then the training's own.
"""

from collections.abc import Iterable
from pathlib import Path


def layers_in(name: str, folders: Iterable[Path]) -> list[Path]:
    """Return the files that the training `name` (llm, cpt, sft_<task>) has in these folders, those that count most
    last.
    """
    kinds = ("train", "sft", name) if name.startswith("sft_") else ("train", name)
    return [path for folder in folders for kind in kinds if (path := folder / f"{kind}.yaml").is_file()]


def find_layers(name: str, folders: list[Path], or_else: str = "") -> list[Path]:
    """Return these files; raise ValueError if none of them is the training's own. `or_else`: what helps besides
    writing it.
    """
    found = layers_in(name, folders)
    if not any(path.stem == name for path in found):
        raise ValueError(f"no {name}.yaml in {', '.join(map(str, folders))}. Write one{or_else}")
    return found
