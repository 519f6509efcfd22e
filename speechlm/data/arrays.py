"""Arrays in one file, to be mapped: a line of JSON (what they are, where each is, checksums), then the arrays."""

import json
import zlib
from pathlib import Path

import numpy as np

from speechlm.data.files import atomic_write, read_head, settings_digest

ALIGNMENT = 64  # bytes, of each array

Arrays = dict[str, np.ndarray]


def write_arrays(place: Path, about: dict, arrays: Arrays) -> None:
    """Write arrays and what is said of them, whole or not at all."""
    places, end, crc32 = {}, 0, 0
    for name, values in arrays.items():
        places[name] = [values.dtype.str, end, len(values)]
        end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
        crc32 = zlib.crc32(_padding(values), zlib.crc32(values.data, crc32))
    about = about | {"arrays": places, "bytes": end, "crc32": crc32}
    head = json.dumps(about | {"check": settings_digest(about)})
    head += " " * (-(len(head) + 1) % ALIGNMENT) + "\n"
    with atomic_write(place, "wb") as stream:
        stream.write(head.encode())
        for values in arrays.values():
            stream.write(values.data)
            stream.write(_padding(values))


def _padding(values: np.ndarray) -> bytes:
    return bytes(-values.nbytes % ALIGNMENT)


def map_arrays(place: Path, checked: bool = True) -> Arrays | None:
    """Map the arrays of a file; None if it is missing or damaged. Unless `checked`, only its head and its length are
    looked at.
    """
    head = read_head(place)
    if head is None:
        return None
    data = np.asarray(np.memmap(place, np.uint8, "r"))[head["start"] :]
    if len(data) != head["bytes"] or (checked and zlib.crc32(data) != head["crc32"]):
        return None
    return {name: _view(data, *where) for name, where in head["arrays"].items()}


def _view(data: np.ndarray, dtype: str, start: int, length: int) -> np.ndarray:
    return data[start : start + length * np.dtype(dtype).itemsize].view(dtype)
