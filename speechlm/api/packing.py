"""A model as one file, in the format of ESPnet's packed models: a zip with a meta.yaml that names what is in it.

meta.yaml            files: {speechlm: speechlm.json, <model>_model_file: ...}, yaml_files: {}, versions
speechlm.json ...    what `save_pretrained` writes

`espnet_model_zoo` fetches and unpacks such a file; the folder of what it then calls `speechlm` is a saved folder.
"""

import os
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from time import time
from typing import TYPE_CHECKING

import yaml

from speechlm.api.sources import SAFE_NAME, SAVED
from speechlm.data import archives
from speechlm.data.files import share, storage_errors

if TYPE_CHECKING:
    from speechlm.api import SpeechLM

META, WEIGHTS = "meta.yaml", "model.safetensors"
KEY = "speechlm"  # of the file that says what the model does
PACKAGES = ("torch", "espnet")  # whose versions are noted
EXPECTED = "Expected what `speechlm pack` wrote"


def pack(lm: "SpeechLM", path: Path) -> Path:
    """Write a model to a zip file, whole or not at all; return its path.

    ValueError if it has another ending, or something else is there.
    """
    if path.suffix != ".zip":
        raise ValueError(f"{path}: expected a name that ends in .zip, by which ESPnet knows the format.")
    if path.exists():
        _folder_in(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage_errors(path), tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as made:
        _write(lm.save_pretrained(Path(made) / "saved"), Path(made) / path.name)
        share(Path(made) / path.name)
        os.replace(Path(made) / path.name, path)
    return path


def _write(folder: Path, path: Path) -> None:
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [file.relative_to(folder).as_posix() for file in found]
    with zipfile.ZipFile(path, "w", strict_timestamps=False) as archive:
        archive.writestr(META, yaml.safe_dump(_meta(names)))
        for file, name in zip(found, names):
            archive.write(file, name)


def _meta(names: list[str]) -> dict:
    """Return what meta.yaml says. Nothing is in `yaml_files`: in those ESPnet changes words that are names of files."""
    weights = {f"{name.split('/')[0]}_model_file": name for name in names if name.endswith(f"/{WEIGHTS}")}
    own = {key: name for key, name in weights.items() if name.count("/") == 1 and not name.startswith("codec/")}
    versions = {name: version(name) for name in PACKAGES}
    return {"files": {KEY: SAVED} | own, "yaml_files": {}, "timestamp": time(), "python": sys.version, **versions}


def unpack(path: Path, into: Path) -> Path:
    """Unpack a zip file into a folder; return the saved folder in it. ValueError if it is not one, or has names that
    lead elsewhere.
    """
    folder = _folder_in(path)
    return archives.unpack(path, into / "packed") / folder


def _folder_in(path: Path) -> PurePosixPath:
    """Return the saved folder in a zip file, as its meta.yaml says."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            found = next(name for name in names if PurePosixPath(name).name == META)
            saved = PurePosixPath(yaml.safe_load(archive.read(found))["files"][KEY])
    except (OSError, zipfile.BadZipFile, yaml.YAMLError, StopIteration, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"{path}: no packed model ({reason}). {EXPECTED}.") from None
    outside = [name for name in names if not all(SAFE_NAME.fullmatch(part) for part in PurePosixPath(name).parts)]
    if outside or saved.as_posix() not in names:
        raise ValueError(
            f"{path}: holds {(outside or names)[0][:80]!r}; expected {SAVED}, and names inside. {EXPECTED}."
        )
    return saved.parent
