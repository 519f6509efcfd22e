"""Code matrices to a Kaldi archive: `codes.ark` and `codes.scp`; and which codec made them: `codec.json`."""

import json
from pathlib import Path

import kaldiio
import numpy as np

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json


def write_archive(path: Path, codes: dict[str, np.ndarray]) -> dict[str, int]:
    """Write int32 codes_TK by utterance id; return the byte offset of each (as a Kaldi scp file counts it)."""
    offsets = {}
    with atomic_write(path, "wb") as stream:
        for key, codes_TK in codes.items():
            offsets[key] = stream.tell() + len(key.encode()) + 1
            kaldiio.save_ark(
                stream, {key: codes_TK}, write_function="numpy"
            )  # Kaldi's own format has no integer matrix
    return offsets


def write_codes(folder: Path, codes: dict[str, np.ndarray]) -> None:
    """Write `codes.ark` and `codes.scp` to `folder`."""
    offsets = write_archive(folder / "codes.ark", codes)
    with atomic_write(folder / "codes.scp") as stream:
        stream.writelines(f"{key} {folder / 'codes.ark'}:{offset}\n" for key, offset in offsets.items())


def write_codec(folder: Path, codec: str, fingerprint: str) -> None:
    """Note in `folder/codec.json` which codec its codes are of."""
    with atomic_write(folder / "codec.json") as stream:
        json.dump({"codec": codec, "fingerprint": fingerprint}, stream, indent=1)


def require_codec(folder: Path, fingerprint: str) -> None:
    """Raise ValueError naming both codecs, if `folder/codec.json` says that its codes are of another one."""
    path = folder / "codec.json"
    if not path.is_file():  # codes that were not made by this package
        return
    found = read_json(path)
    if found["fingerprint"] != fingerprint:
        raise ValueError(
            f"{path}: the codes are of codec {found['codec']} (fingerprint {found['fingerprint'][:16]}), the model"
            f" speaks codec {fingerprint[:16]}. Give the --codec and --dumpdir that the model was trained with, or"
            " train again: ./run.sh --stage 2 --expdir NEW"
        )
