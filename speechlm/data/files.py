"""Atomic files and finished stages: the two things that make every command restartable."""

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator:
    """Open a temporary file beside `path`, renamed to `path` only if the block succeeds.

    A reader therefore sees the old file or the whole new one, never a half-written one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.chmod(temporary, 0o644)
    try:
        with os.fdopen(handle, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_digest(path: str | Path) -> str:
    """Return the sha256 (hex) of a file's content; raise ValueError if it is missing."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise ValueError(f"{path}: not found. Run the stage that writes it first.") from None


def settings_digest(settings: dict) -> str:
    """Return a short sha256 (16 hex digits) of a JSON-able dict, whatever its key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def stage(out_dir: str | Path, name: str, settings: dict, inputs: Iterable[str | Path] = ()) -> Iterator[bool]:
    """Run a block once for given settings and input files.

    Yields True if there is work to do. When the block ends without an error, a record of the settings
    and of the inputs' digests is written to `out_dir/.done.<name>.json`; the next call with the same
    ones yields False. A changed setting or input is named and the work is done again.
    """
    record_path = Path(out_dir) / f".done.{name}.json"
    record = {"settings": settings, "inputs": {str(p): file_digest(p) for p in inputs}}
    record = json.loads(json.dumps(record))
    if record_path.exists():
        changed = _differences(json.loads(record_path.read_text(encoding="utf-8")), record)
        if not changed:
            print(f"{name}: already complete in {out_dir}, skipped", flush=True)
            yield False
            return
        print(f"{name}: done again in {out_dir}, because of {'; '.join(changed)}", flush=True)
        record_path.unlink()
    yield True
    with atomic_write(record_path) as stream:
        json.dump(record, stream, indent=1, sort_keys=True)


def _differences(old: dict, new: dict) -> list[str]:
    found = []
    for kind in ("settings", "inputs"):
        before, after = old.get(kind, {}), new[kind]
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                detail = f" ({before.get(key)} -> {after.get(key)})" if kind == "settings" else " (content)"
                found.append(f"{kind[:-1]} {key}{detail}")
    return found
