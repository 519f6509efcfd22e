"""Weights of codecs, recognisers and measuring networks: a folder, or a name on the Hugging Face hub with a
revision.
"""

import hashlib
import os
from pathlib import Path

from speechlm.data.files import file_digest, walk
from speechlm.data.settings import read_yaml

SKIPPED = [
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.ot",
    "*.tflite",
    "*fp32*",
    "*.md",
    "*.png",
]  # formats that nothing here reads


def find_weights(spec: str, option: str) -> tuple[Path, str]:
    """Return (folder, name for the signature) of MODEL[@REVISION], fetched if it is missing and there is network
    access.

    `option` is what stands before it on the command line ("whisper:", "--codec "). The name holds the hub's commit, or
    a digest of the folder's files. Raises a ValueError that says how to fetch it elsewhere.
    """
    if Path(spec).is_dir():
        return Path(spec), f"{Path(spec).resolve().name}@{folder_digest(Path(spec))[:12]}"
    from huggingface_hub import snapshot_download

    model, _, revision = spec.partition("@")
    revision = revision or "main"
    try:
        try:
            found = snapshot_download(model, revision=revision, local_files_only=True)
        except Exception:  # not there, or only in part: several kinds
            found = snapshot_download(model, revision=revision, ignore_patterns=SKIPPED)
    except Exception as error:  # no network, no such name, no access, not a name at all: each its own exception
        raise ValueError(
            f"{option}{spec}: no such folder, and it cannot be fetched from the hub ({_first_line(error)}). On a"
            f" machine with network access: hf download {model} --revision {revision} --local-dir FOLDER; copy"
            " FOLDER here"
            f" and write {option}FOLDER"
        ) from None
    return Path(found), f"{model}@{Path(found).name[:12]}"


def find_espnet_files(folder: Path, config_key: str, weights_key: str) -> tuple[Path, Path]:
    """Return (configuration, weights) of an ESPnet model, relative to its folder; raise ValueError if it is not clear
    which files they are.

    A hub model's meta.yaml names them by these keys; the folder of a training has config.yaml and one .pth.
    """
    if (folder / "meta.yaml").is_file():
        meta = read_yaml(folder / "meta.yaml")
        found = (meta.get("yaml_files") or {}).get(config_key), (meta.get("files") or {}).get(weights_key)
    else:
        weights = sorted(path.name for path in folder.glob("*.pth"))
        found = "config.yaml", weights[0] if len(weights) == 1 else None
    if not all(found) or not all((folder / name).is_file() for name in found):
        raise ValueError(
            f"{folder}: not an ESPnet model; expected a meta.yaml that names {config_key} and {weights_key}, "
            "or config.yaml with exactly one .pth. Copy the files of your training there"
        )
    return Path(found[0]), Path(found[1])


def folder_digest(folder: Path) -> str:
    """Return the sha256 (hex) of the names and contents of a folder's files, but hidden ones."""
    digest = hashlib.sha256()
    for path in sorted(p for p in walk(folder) if not p.relative_to(folder).as_posix().startswith(".")):
        digest.update(f"{path.relative_to(folder).as_posix()}{os.linesep}{file_digest(path)}".encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150] if str(error).strip() else 'no message'}"
