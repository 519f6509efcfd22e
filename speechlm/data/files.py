"""Atomic files and finished stages: the two things that make every command restartable."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TEMPORARY = ".part"  # how the name of a file that is being written ends
STORAGE_ERRORS = {  # the system's error for a disk -> what to do
    errno.ENOSPC: "Free space there, or name a folder on another disk",
    errno.EDQUOT: "Remove files of yours there, ask for a larger quota, or name a folder on another disk",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or name a folder on another disk",
    errno.EROFS: "Name a folder that can be written to",
    errno.EACCES: "Change its permissions, or name a folder of yours",
    errno.EPERM: "Change its permissions, or name a folder of yours",
}


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator:
    """Open a temporary file beside `path`, renamed to `path` only if the block succeeds.

    A reader therefore sees the old file or the whole new one, never a half-written one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    with storage_errors(path):
        try:
            with open(temporary, mode.replace("w", "x"), encoding=encoding) as stream:  # with the umask's permissions
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def share(path: str | Path) -> None:
    """Give a file the permissions that the umask asks for: safetensors writes for the owner alone."""
    os.umask(mask := os.umask(0o077))  # it cannot be read without being set
    os.chmod(path, 0o666 & ~mask)


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn the exceptions that libraries raise for a full or read-only disk into an OSError that names `path`."""
    try:
        yield
    except Exception as error:
        number = _storage_errno(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _storage_errno(error: BaseException) -> int | None:
    """Return the error number of an exception or of what it came from, if it is one of storage."""
    return next((number for number in map(_errno, _causes(error)) if number in STORAGE_ERRORS), None)


def machine_error(error: BaseException) -> str | None:
    """Say what the machine lacks (memory, access, a disk) if that is the cause of a library's exception; else None."""
    for cause in _causes(error):
        if (number := _errno(cause)) not in (
            None,
            errno.ENOENT,
            errno.EINVAL,
        ):  # nonsense in a file may ask for nonsense
            return os.strerror(number)
        reason = str(cause).strip().splitlines()[:1]
        if isinstance(cause, MemoryError) or re.search(
            "out of memory|not enough memory|can't allocate memory", " ".join(reason)
        ):
            return ": ".join(["not enough memory", *reason])[:200]
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def _errno(error: BaseException) -> int | None:
    number = re.search(r"\(os error (\d+)\)", str(error))  # safetensors
    return error.errno if isinstance(error, OSError) else int(number[1]) if number else None


def remove_abandoned(folder: str | Path) -> None:
    """Remove what `atomic_write` left in a folder when its process was killed. Nobody else may be writing there."""
    for path in Path(folder).glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def walk(folder: str | Path) -> Iterator[Path]:
    """Give the files below a folder, through links too, each real folder once: at its own place rather than at a link
    to it.
    """
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort(key=lambda name: (os.path.islink(os.path.join(root, name)), name))
        yield from (Path(root, name) for name in sorted(files))


def index_path(path: str | Path) -> Path:
    """Return the place of the index of a big file (`speechlm.data.index`): beside it."""
    return Path(f"{path}.index")


def index_head(path: str | Path) -> dict | None:
    """Return what the first line of a file's index says; None if there is no index, or it is damaged or of another
    file.
    """
    head = read_head(index_path(path))
    try:
        return head if head and (head["size"], head["mtime_ns"]) == _stamp(path) else None
    except (OSError, KeyError):
        return None


def read_head(place: Path) -> dict | None:
    """Return what the first line of a file of arrays says (`speechlm.data.arrays`), and where they start; None if it is
    missing or damaged.
    """
    try:
        with open(place, "rb") as stream:
            head, start = json.loads(stream.readline(1 << 20)), stream.tell()
        return head | {"start": start} if head.pop("check") == settings_digest(head) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _stamp(path: str | Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def file_digest(path: str | Path) -> str:
    """Return the sha256 (hex) of a file's content, of a manifest with its index followed by "+" and the digest of the
    codes that it names.

    ValueError if it is missing.
    """
    try:
        head = index_head(path)
        if head is None:
            return _digest(path, _stamp(path))
        return head["sha256"] + (f"+{head['codes']}" if head.get("codes") else "")
    except FileNotFoundError:
        raise ValueError(f"{path}: not found. Run the stage that writes it first.") from None


@cache
def _digest(path: str | Path, _stamp: tuple[int, int]) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settings_digest(settings: dict) -> str:
    """Return a short sha256 (16 hex digits) of a JSON-able dict, whatever its key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


FORMAT = 2  # of records; in the first one, inputs were keyed by their paths


@dataclass(frozen=True)
class Known:
    """What is known of settings: the values of those that are not recorded, and which do not decide the result."""

    defaults: Mapping[str, object] = field(default_factory=dict)
    neutral: frozenset[str] = frozenset()


Inputs = Mapping[str, str | Path] | Iterable[str | Path]


@contextmanager
def stage(
    out_dir: str | Path,
    name: str,
    settings: dict,
    inputs: Inputs = (),
    outputs: Iterable[str] = (),
    known: Known = Known(),
) -> Iterator[bool]:
    """Run a block once for given settings and input files, as long as what it wrote is there.

    Yields True if there is work to do. When the block ends without an error, a record of the settings, of the inputs'
    digests and of the outputs' sizes is written to `out_dir/.done.<name>.json`; the next call with the same ones yields
    False. A changed setting, input or output is named and the work is done again. `outputs` are patterns of files in
    `out_dir`: "text", "wav/*.wav". Inputs are compared by role and content, wherever they lie: `inputs` maps roles to
    files, or lists files whose names are their roles. A setting that is not recorded had its default.
    """
    out_dir, outputs = Path(out_dir), list(outputs)
    record_path, record = _record_path(out_dir, name), _record(out_dir, settings, inputs, outputs)
    if record_path.exists():
        changed = _changes(record_path, record, known)
        if not changed:
            print(f"{name}: already complete in {out_dir}, skipped", flush=True)
            with suppress(OSError):  # a folder that may only be read keeps the record of an earlier version
                _write_record(record_path, record)
            yield False
            return
        print(f"{name}: done again in {out_dir}, because of {'; '.join(changed)}", flush=True)
        record_path.unlink()
    remove_abandoned(out_dir)
    yield True
    record["outputs"] = sizes(out_dir, outputs)
    missing = [pattern for pattern, (files, _) in record["outputs"].items() if not files]
    assert not missing, f"{name}: wrote no {', '.join(missing)} in {out_dir}"
    _write_record(record_path, record)


def is_complete(
    out_dir: str | Path, name: str, settings: dict, inputs: Inputs, outputs: Iterable[str], known: Known = Known()
) -> bool:
    """Tell whether `stage` would find nothing to do, changing nothing."""
    path = _record_path(Path(out_dir), name)
    return path.exists() and not _changes(path, _record(Path(out_dir), settings, inputs, outputs), known)


def digests_of(inputs: Inputs) -> dict[str, str]:
    """Return {role: digest} of input files; files that have no role are told by their names, and numbered where several
    share one.
    """
    if isinstance(inputs, Mapping):
        return {role: file_digest(path) for role, path in inputs.items()}
    found, seen = {}, Counter()
    for path in map(Path, inputs):
        seen[path.name] += 1
        found[path.name + (f" ({seen[path.name]})" if seen[path.name] > 1 else "")] = file_digest(path)
    return found


def differences(old: dict, new: dict, known: Known = Known()) -> list[str]:
    """Say what differs between two records {"settings", "inputs"}, and "outputs" if they have them; `old` may be of the
    first format.
    """
    found = _setting_changes(old.get("settings", {}), new["settings"], known)
    same = input_changes if old.get("format") == FORMAT else _input_changes_by_content
    found += same(old.get("inputs", {}), new["inputs"])
    before, after = old.get("outputs", {}), new.get("outputs", {})
    return found + [
        f"output {key} ({_count(before.get(key))} -> {_count(after.get(key))})"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def input_changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Say which roles have other contents, or came or went."""
    roles = sorted(old.keys() | new.keys())
    return [
        _input_change(role, old.get(role), new.get(role)) for role in roles if not _same(old.get(role), new.get(role))
    ]


def _record_path(out_dir: Path, name: str) -> Path:
    return out_dir / f".done.{name}.json"


def _write_record(path: Path, record: dict) -> None:
    text = json.dumps(record, indent=1, sort_keys=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as stream:
            stream.write(text)


def _changes(path: Path, record: dict, known: Known) -> list[str]:
    """Return what differs from what was recorded; a file that is empty or cut, as by a full disk, recorded nothing."""
    try:
        return differences(json.loads(path.read_text(encoding="utf-8")), record, known)
    except (ValueError, TypeError, AttributeError):
        return [f"a damaged record ({path})"]


def _record(out_dir: Path, settings: dict, inputs: Inputs, outputs: Iterable[str]) -> dict:
    record = {"format": FORMAT, "settings": settings, "inputs": digests_of(inputs)}
    return json.loads(json.dumps(record)) | {"outputs": sizes(out_dir, outputs)}


def sizes(folder: Path, patterns: Iterable[str]) -> dict[str, list[int]]:
    """Return {pattern: [number of files, their bytes together]}: enough to notice a file that vanished or was cut."""
    found = {}
    for pattern in patterns:
        bytes_of_each = [path.stat().st_size for path in folder.glob(pattern)]
        found[pattern] = [len(bytes_of_each), sum(bytes_of_each)]
    return found


def _setting_changes(old: dict, new: dict, known: Known) -> list[str]:
    keys = sorted((old.keys() | new.keys()) - known.neutral)
    pairs = ((key, *(record.get(key, known.defaults.get(key)) for record in (old, new))) for key in keys)
    return [f"setting {key} ({before} -> {after})" for key, before, after in pairs if before != after]


def _input_changes_by_content(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The same for a record keyed by paths: a file may have moved, and one whose name is not there was not recorded in
    that version.
    """
    known, names = {_plain(digest) for digest in old.values()}, {Path(path).name for path in old}
    return [
        _input_change(role, None, digest)
        for role, digest in sorted(new.items())
        if _plain(digest) not in known and Path(role.split(" (")[0]).name in names
    ]


def _same(before: str | None, after: str | None) -> bool:
    """A digest may be of a manifest alone, or of a manifest and the codes that it names, behind a plus sign."""
    if None in (before, after) or ("+" in before and "+" in after):
        return before == after
    return _plain(before) == _plain(after)


def _plain(digest: str) -> str:
    return digest.partition("+")[0]


def _input_change(role: str, before: str | None, after: str | None) -> str:
    if before and after and _plain(before) == _plain(after):
        return f"input {role} (the codes that it names)"
    digests = [f"sha256 {value[:12]}" if value else "none" for value in (before, after)]
    return f"input {role} ({' -> '.join(digests)})"


def _count(value: list[int] | None) -> str:
    return "not recorded" if value is None else f"{value[0]} files of {value[1]} bytes"
