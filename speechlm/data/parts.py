"""Long work in batches, each kept on disk: interrupted work resumes where it stopped."""

import json
import time
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

from speechlm.data.files import atomic_write, settings_digest
from speechlm.data.settings import read_json


def in_parts(
    batches: Sequence[list[str]],
    work: Callable[[list[str]], Sequence],
    folder: Path,
    label: str,
    pool: Executor | None = None,
) -> dict[str, Any]:
    """Return {key: result of work} over all batches of keys, done by a pool if one is given; results are JSON-able.

    Each finished batch is a file in `folder`, whose name must say what the results depend on; the caller removes it
    when what is made of the results is written. A file that is of other keys, as batches were cut differently, is made
    again. Shows progress and an estimate.
    """
    kept = [_read(folder / f"{number}.json", keys) for number, keys in enumerate(batches)]
    todo, start = [number for number, done in enumerate(kept) if done is None], time.monotonic()
    for made, (number, results) in enumerate(_each(todo, batches, work, pool), start=1):
        kept[number] = dict(zip(batches[number], results, strict=True))
        with atomic_write(folder / f"{number}.json") as stream:
            json.dump(kept[number], stream)
        ready, left_sec = sum(map(len, filter(None, kept))), (time.monotonic() - start) / made * (len(todo) - made)
        batch = f"batch {len(batches) - len(todo) + made}/{len(batches)}"
        print(f"{label}: {ready} utterances done, {batch}, {left_sec:.0f} s left", flush=True)
    return {key: result for done in kept for key, result in done.items()}


def _each(
    todo: list[int], batches: Sequence[list[str]], work: Callable, pool: Executor | None
) -> Iterator[tuple[int, Sequence]]:
    """Yield (number, results) of the batches to do, as they are done."""
    if pool is None:
        yield from ((number, work(batches[number])) for number in todo)
        return
    futures = {pool.submit(work, batches[number]): number for number in todo}
    yield from ((futures[future], future.result()) for future in as_completed(futures))


def as_they_end(
    keys: Sequence[str], work: Callable[[list[str]], Iterable], folder: Path, label: str, every: int
) -> dict[str, Any]:
    """Return {key: result of work}, where `work` yields (key, JSON-able result) of the keys it is given, in any order.

    Each `every` results are a file in `folder`, as in `in_parts`; what lies there already is not asked for.
    """
    kept = read_parts(folder)
    found = {key: kept[key] for key in keys if key in kept}
    part, before, start = {}, len(found), time.monotonic()
    left = [key for key in keys if key not in found]
    for key, result in work(left) if left else ():
        part[key] = found[key] = result
        if len(part) >= every or len(found) == len(keys):
            with atomic_write(folder / f"{settings_digest({'keys': list(part)})}.json") as stream:
                json.dump(part, stream)
            part = {}
            left_sec = (time.monotonic() - start) / (len(found) - before) * (len(keys) - len(found))
            print(f"{label}: {len(found)} of {len(keys)} utterances done, {left_sec:.0f} s left", flush=True)
    return found


def read_parts(folder: Path) -> dict[str, Any]:
    """Return {key: result} of all parts that lie in a folder, and in its folders: of several processes."""
    found = {}
    for path in folder.rglob("*.json"):
        found |= _read(path) or {}
    return found


def _read(path: Path, keys: list[str] | None = None) -> dict[str, Any] | None:
    """Return the results (of just these keys); None if there is no such file, or it is of others, or damaged."""
    if not path.exists():
        return None
    try:
        found = read_json(path)
        return found if isinstance(found, dict) and keys in (None, list(found)) else None
    except ValueError:
        return None
