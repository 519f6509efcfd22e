"""Settings are layers of YAML files: those of a later folder override those of an earlier one.

A training's layers are, in each folder, train.yaml, then sft.yaml (for fine-tunings), then the training's own file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speechlm.data.settings import read_mapping


def layers_in(name: str, folders: Iterable[Path]) -> list[Path]:
    """Return the files that the training `name` (llm, cpt, sft_<task>) has in these folders, in order: later ones
    override earlier ones.
    """
    kinds = ("train", "sft", name) if name.startswith("sft_") else ("train", name)
    return [path for folder in folders for kind in kinds if (path := folder / f"{kind}.yaml").is_file()]


def find_layers(name: str, folders: list[Path], or_else: str = "") -> list[Path]:
    """Return these files; raise ValueError if none of them is the training's own. `or_else`: the alternative to writing
    one.
    """
    found = layers_in(name, folders)
    if not any(path.stem == name for path in found):
        raise ValueError(f"no {name}.yaml in {', '.join(map(str, folders))}. Write one{or_else}")
    return found


def read_layers(paths: Iterable[str | Path]) -> tuple[dict[str, Any], str]:
    """Return the values of these files, later ones over earlier ones (also within a value that has names and values),
    and what to call them in a message.
    """
    found: dict[str, Any] = {}
    for path in paths:
        found = _over(found, read_mapping(path))
    return found, source_of(paths)


def source_of(paths: Iterable[str | Path]) -> str:
    """Return what to call these files in a message."""
    return " + ".join(map(str, paths))


def _over(below: dict, above: dict) -> dict:
    merged = below | above
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            merged[name] = _over(below[name], value)
    return merged
