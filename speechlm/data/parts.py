"""Long work in batches, each kept on disk: what was interrupted goes on where it was."""

import json
import time
from pathlib import Path
from typing import Any, Callable, Sequence

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json


def in_parts(batches: Sequence[list[str]], work: Callable[[list[str]], Sequence], folder: Path, label: str) -> dict[str, Any]:
    """Return {key: result of work} over all batches of keys; results are JSON-able.

    Each finished batch is a file in `folder`, whose name must say what the results depend on; the caller removes it when
    what is made of the results is written. A file that is of other keys, as batches were cut differently, is made again. Shows progress
    and an estimate.
    """
    found, made, start = {}, 0, time.monotonic()
    for number, keys in enumerate(batches):
        path = folder / f"{number}.json"
        done = _read(path, keys)
        if done is None:
            made += 1
            done = dict(zip(keys, work(keys), strict=True))
            with atomic_write(path) as stream:
                json.dump(done, stream)
        found |= done
        left_sec = (time.monotonic() - start) / max(made, 1) * (len(batches) - number - 1)
        print(f"{label}: {len(found)} utterances done, batch {number + 1}/{len(batches)}, {left_sec:.0f} s left", flush=True)
    return found


def _read(path: Path, keys: list[str]) -> dict[str, Any] | None:
    """Return the results of just these keys; None if there is no such file, or it is of others, or damaged."""
    if not path.exists():
        return None
    try:
        found = read_json(path)
        return found if isinstance(found, dict) and list(found) == keys else None
    except ValueError:
        return None
