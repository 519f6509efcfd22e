"""Long work in batches, each kept on disk: what was interrupted goes on where it was."""

import json
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json


def in_parts(batches: Sequence[list[str]], work: Callable[[list[str]], Sequence], folder: Path, label: str) -> dict[str, Any]:
    """Return {key: result of work} over all batches of keys; results are JSON-able.

    Each finished batch is a file in `folder`, whose name must say what the results depend on; the caller removes it when
    what is made of the results is written. Shows progress and an estimate.
    """
    found, made, start = {}, 0, time.monotonic()
    for number, keys in enumerate(batches):
        path = folder / f"{number}.json"
        if not path.exists():
            made += 1
            with atomic_write(path) as stream:
                json.dump(dict(zip(keys, work(keys), strict=True)), stream)
        found |= read_json(path)
        left_sec = (time.monotonic() - start) / max(made, 1) * (len(batches) - number - 1)
        print(f"{label}: {len(found)} utterances done, batch {number + 1}/{len(batches)}, {left_sec:.0f} s left", flush=True)
    return found


def as_they_end(keys: Sequence[str], work: Callable[[list[str]], Iterable], folder: Path, label: str, every: int) -> dict[str, Any]:
    """Return {key: result of work}, where `work` yields (key, JSON-able result) of the keys it is given, in any order.

    Each `every` results are a file in `folder`, as in `in_parts`; what lies there already is not asked for.
    """
    found = {}
    for path in folder.glob("*.json"):
        found |= read_json(path)
    part, before, start = {}, len(found), time.monotonic()
    left = [key for key in keys if key not in found]
    for key, result in work(left) if left else ():
        part[key] = found[key] = result
        if len(part) >= every or len(found) == len(keys):
            with atomic_write(folder / f"{len(found)}.json") as stream:
                json.dump(part, stream)
            part = {}
            left_sec = (time.monotonic() - start) / (len(found) - before) * (len(keys) - len(found))
            print(f"{label}: {len(found)} of {len(keys)} utterances done, {left_sec:.0f} s left", flush=True)
    return found
