"""Code matrices to a Kaldi archive: `codes.ark` and `codes.scp`."""

from pathlib import Path

import kaldiio
import numpy as np

from speechlm.data.files import atomic_write


def write_archive(path: Path, codes: dict[str, np.ndarray]) -> dict[str, int]:
    """Write int32 codes_TK by utterance id; return the byte offset of each (as a Kaldi scp file counts it)."""
    offsets = {}
    with atomic_write(path, "wb") as stream:
        for key, codes_TK in codes.items():
            offsets[key] = stream.tell() + len(key.encode()) + 1
            kaldiio.save_ark(stream, {key: codes_TK}, write_function="numpy")  # Kaldi's own format has no integer matrix
    return offsets


def write_codes(folder: Path, codes: dict[str, np.ndarray]) -> None:
    """Write `codes.ark` and `codes.scp` to `folder`."""
    offsets = write_archive(folder / "codes.ark", codes)
    with atomic_write(folder / "codes.scp") as stream:
        stream.writelines(f"{key} {folder / 'codes.ark'}:{offset}\n" for key, offset in offsets.items())
