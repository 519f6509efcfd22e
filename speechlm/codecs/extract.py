"""Codes of Kaldi directories, in shards that do not depend on the number of processes.

    codes.en.0.ark  codes.en.1.ark ...  codes.en.scp       int32 codes_TK of each utterance, in sorted order

A finished shard is kept when the command is run again, if the codec, the utterances and the files they name (path,
size, time of change) are the same. Recordings are checked where they are read for coding: a bad one is kept out of its
shard, and all are reported at the end (`speechlm.data.items`). Several machines can each code a part of the shards; the
same command without a part, run at the end, codes what they left out and writes the scp files.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from functools import cache
from itertools import accumulate, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec, encode_all
from speechlm.data.audio import MAX_SEC, AudioError, Span, inspect_span
from speechlm.data.codes import write_archive, write_codec
from speechlm.data.files import atomic_write, remove_abandoned, settings_digest
from speechlm.data.items import (
    BAD_ITEMS,
    LEFT_OUT,
    WARNING_KINDS,
    WARNINGS,
    BadItem,
    count_kinds,
    group,
    ids_of,
    write_items,
)
from speechlm.data.kaldi import DataDir, scan_data_dir, side_path
from speechlm.data.machine import devices_for
from speechlm.data.pool import pool_on
from speechlm.data.recording import split_place
from speechlm.data.settings import read_json

SHARD_UTTERANCES = 500
AHEAD = 8  # recordings that a thread loads before they are asked for
Place = tuple[str, str]  # utterance, side
T, R = TypeVar("T"), TypeVar("R")


@dataclass(frozen=True)
class Options:
    """`nj` processes, or with `ngpu` one for each GPU, for which `nj` threads load. No utterance is longer than
    `max_sec`.

    At most `skip_bad` items are left out of all training sets together.

    `keep`: faults (of `KEEPABLE`) that recordings of test sets may have, since they were published that way. `part` (i,
    n): only every n-th shard of all sets, from the i-th, counted from 1; (1, 1) is all, and what follows after all of
    them.
    """

    nj: int = 1
    ngpu: int = 0
    skip_bad: int = 0
    max_sec: float = MAX_SEC
    lang: str | None = None
    part: tuple[int, int] = (1, 1)
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class CodedSet:
    """A set and where its codes go. Only a training set may be shortened.

    `keys` are its utterances with audio, sorted by id, of which each shard has a fixed number. Bad ones (`bad`) count
    too, so that fixing one changes no other shard. `same` is what the codes depend on besides the recordings.
    """

    data: DataDir
    out_dir: Path
    may_shrink: bool
    keys: list[str]
    bad: set[str]
    same: dict

    def __len__(self) -> int:
        return -(-len(self.keys) // SHARD_UTTERANCES)

    def shard(self, number: int) -> "Shard":
        part = self.keys[number * SHARD_UTTERANCES : (number + 1) * SHARD_UTTERANCES]
        audio, stat = self.data.audio, cache(_stat)
        spans = {key: {side: audio[side][key] for side in audio if key in audio[side]} for key in part}
        unused = frozenset(self.bad.intersection(part))
        contents = [[key, side, asdict(span), stat(span.path)] for key in spans for side, span in spans[key].items()]
        digest = settings_digest(self.same | {"utterances": contents, "unused": sorted(unused)})
        files = {side: str(side_path(self.data.path, "wav.scp", side)) for side in audio}
        return Shard(
            number, self.out_dir, spans, unused, files, self.same["max_sec"], digest, tuple(self.same.get("keep", ()))
        )


@dataclass(frozen=True)
class Shard:
    """Some utterances of a set (spans by id and side), and the digest of all that its archives depend on.

    `unused` are bad for another reason than their audio: checked, but not stored. `files` names the table of each side,
    for reports.
    """

    number: int
    out_dir: Path
    spans: dict[str, dict[str, Span]]
    unused: frozenset[str]
    files: dict[str, str]
    max_sec: float
    digest: str
    keep: tuple[str, ...] = ()

    @property
    def record(self) -> Path:
        return record_path(self.out_dir, self.number)

    def ark(self, side: str) -> Path:
        return ark_path(self.out_dir, side, self.number)


def extract_codes(train_dirs: list[Path], test_dirs: list[Path], dump: Path, codec: str, options: Options) -> None:
    """Write `dump/<set>/codes.<side>.scp` of every directory; a text-only set has none, but is checked too.

    Raises ValueError listing the bad items of all sets, if a test set has one or the training sets more than
    `options.skip_bad`.
    """
    data_dirs = list(dict.fromkeys([*train_dirs, *test_dirs]))
    scans = [scan_data_dir(data_dir, options.lang) for data_dir in data_dirs]
    if problems := [str(problem) for scan in scans for problem in scan.problems]:
        raise ValueError("\n".join(problems))
    fingerprint = load_codec(codec).fingerprint if any(scan.audio for scan in scans) else ""
    same = {"codec": fingerprint, "max_sec": options.max_sec}
    kept = same | ({"keep": sorted(options.keep)} if options.keep else {})
    sets = [
        code_set(data, dump / data.path.name, data.path not in test_dirs, kept if data.path in test_dirs else same)
        for data in scans
    ]
    before = [0, *accumulate(map(len, sets))]
    i, n = options.part
    todo = [
        (coded, number)
        for coded, first in zip(sets, before)
        for number in list_todo(coded, range((i - 1 - first) % n, len(coded), n))
    ]
    run_shards((coded.shard(number) for coded, number in todo), len(todo), codec, options)
    if options.part != (1, 1):
        print("This part is complete. When all parts are, run the same command without --shard", flush=True)
        return
    for coded in sets:
        remove_abandoned(coded.out_dir)
    settle(sets, options.skip_bad)
    for coded in sets:
        if coded.keys:
            write_codec(coded.out_dir, codec, fingerprint)


def code_set(data: DataDir, out_dir: Path, may_shrink: bool, same: dict) -> CodedSet:
    """Return what is to be coded of a data directory."""
    bad = ids_of(data.bad)
    return CodedSet(data, out_dir, may_shrink, sorted(data.ids + list(bad)) if data.audio else [], bad, same)


def _stat(path: str) -> list[int]:
    try:
        stat = Path(split_place(path)[0]).stat()
    except (OSError, ValueError):
        return []
    return [stat.st_size, stat.st_mtime_ns]


def list_todo(coded: CodedSet, mine: range) -> list[int]:
    """Return which of these shards are not done yet, and remove what points into their old archives."""
    coded.out_dir.mkdir(parents=True, exist_ok=True)
    todo = [number for number in mine if not is_done(coded.shard(number))]
    if mine:
        sides, all_of_them = ", ".join(coded.data.audio), f" (of {len(coded)})" if len(mine) < len(coded) else ""
        print(
            f"{coded.out_dir}: {len(mine)} shards{all_of_them} of {sides}, {len(mine) - len(todo)} of them already"
            " complete",
            flush=True,
        )
    for path in [*coded.out_dir.glob("codes.*.scp"), coded.out_dir / "manifest.jsonl"] if todo else []:
        path.unlink(missing_ok=True)
    return todo


def is_done(shard: Shard) -> bool:
    """Tell whether a shard's archives are complete and made from the same things."""
    try:
        record = json.loads(shard.record.read_text(encoding="utf-8"))
        return record["digest"] == shard.digest and all(
            shard.ark(s).stat().st_size == n for s, n in record["bytes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def run_shards(shards: Iterable[Shard], count: int, codec: str, options: Options) -> None:
    """Code `count` shards in several processes with progress; only those that are under way are in memory."""
    start, done, pending, shards = time.monotonic(), 0, set(), iter(shards)
    devices = devices_for(options.ngpu, options.nj)
    most = len(devices)
    with pool_on(devices, _start_worker, codec, -(-options.nj // most) if options.ngpu else 0) as pool:
        while pending := pending | {pool.submit(code_shard, each) for each in islice(shards, 2 * most - len(pending))}:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                done += 1
                bad, left_sec = _result(future, options), (time.monotonic() - start) * (count - done) / done
                faults = f"{len(bad)} bad recordings, " if bad else ""
                print(f"shard {done}/{count}, {faults}{left_sec:.0f} s left", flush=True)


def _result(future: Future, options: Options) -> list[BadItem]:
    try:
        return future.result()
    except BrokenProcessPool:
        fewer = "a smaller --max_sec, or on the CPU" if options.ngpu else f"fewer than --nj {options.nj}"
        raise ValueError(
            "a process that coded recordings was killed (out of memory?). What is finished is kept: run the"
            f" command again with {fewer}"
        ) from None


_codec: Codec | None = None  # of a worker process
_threads = 0  # of it, that load recordings ahead


def _start_worker(device: str, codec: str, threads: int) -> None:
    global _codec, _threads
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # codes are those of a CPU, but for rounding
    torch.backends.cudnn.deterministic = True
    _codec, _threads = load_codec(codec).to(device), threads


def code_shard(shard: Shard) -> list[BadItem]:
    """Write the archives of the utterances that can be coded on every side; return what is wrong with the others."""
    findings: dict[Place, list[tuple[str, str]]] = {}
    codes: dict[Place, np.ndarray] = {}
    for (key, side), found in encode_all(_codec, _load_all(shard, findings)):
        if isinstance(found, ValueError):
            findings[key, side] = [("cannot be coded", f"{shard.spans[key][side].path}: {found}")]
        else:
            codes[key, side] = found
    good = {
        key: spans
        for key, spans in shard.spans.items()
        if key not in shard.unused and all((key, side) in codes for side in spans)
    }
    items = [
        BadItem(key, kind, shard.files[side], detail)
        for (key, side), found in findings.items()
        for kind, detail in found
    ]
    save_shard(shard, {key: {side: codes[key, side] for side in spans} for key, spans in good.items()}, items)
    return [item for item in items if item.kind not in WARNING_KINDS]


def _load_all(shard: Shard, findings: dict[Place, list[tuple[str, str]]]) -> Iterator[tuple[Place, np.ndarray]]:
    """Yield the recordings of a shard, at the codec's rate; note what was found of each: kinds and details."""
    places = [(key, side) for key, spans in shard.spans.items() for side in spans]
    loaded = ahead(places, lambda place: _load(shard.spans[place[0]][place[1]], shard), _threads)
    for place, (wav_T, found) in zip(places, loaded):
        findings[place] = found
        if wav_T is not None:
            yield place, wav_T


def _load(span: Span, shard: Shard) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Return wav_T of one recording, None if it is bad, and what was found."""
    try:
        return inspect_span(span, _codec.sample_rate_hz, shard.max_sec, shard.keep)
    except AudioError as error:
        return None, [(error.kind, str(error))]


def ahead(items: Iterable[T], work: Callable[[T], R], threads: int) -> Iterator[R]:
    """Yield the result of work on each item, in order; some are made in advance by threads. Without threads, none."""
    if not threads:
        yield from map(work, items)
        return
    items, pending = iter(items), deque()
    with ThreadPoolExecutor(threads) as pool:
        pending.extend(pool.submit(work, item) for item in islice(items, AHEAD * threads))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(items, 1))


def save_shard(shard: Shard, codes: dict[str, dict[str, np.ndarray]], findings: list[BadItem]) -> None:
    """Write the archives, then their record (digest, sizes, byte offsets, findings), each whole or not at all."""
    offsets = {
        side: write_archive(shard.ark(side), {key: coded[side] for key, coded in codes.items()}) for side in shard.files
    }
    sizes = {side: shard.ark(side).stat().st_size for side in shard.files}
    record = {
        "digest": shard.digest,
        "bytes": sizes,
        "offsets": offsets,
        "findings": [astuple(item) for item in findings],
    }
    with atomic_write(shard.record) as stream:
        json.dump(record, stream)


# ---------------------------------------------------------------- after all shards


def settle(sets: list[CodedSet], skip_bad: int) -> None:
    """Report the bad items of all sets; write the scp files if the sets may go on without them, else raise
    ValueError.
    """
    findings = [[BadItem(*fields) for record in read_records(coded) for fields in record["findings"]] for coded in sets]
    warnings = [[item for item in items if item.kind in WARNING_KINDS] for items in findings]
    bad = [
        coded.data.bad + [item for item in items if item.kind not in WARNING_KINDS]
        for coded, items in zip(sets, findings)
    ]
    skipped = sum(len(ids_of(items)) for coded, items in zip(sets, bad) if coded.may_shrink)
    stops = skipped > skip_bad or any(items and not _may_go_on(coded, items) for coded, items in zip(sets, bad))
    for i, coded in enumerate(sets):
        write_items(coded.out_dir / WARNINGS, warnings[i])
        write_items(coded.out_dir / BAD_ITEMS, bad[i] if stops else [])
        write_items(coded.out_dir / LEFT_OUT, [] if stops else bad[i])
        _say(f"{coded.data.path}: used, but suspicious", warnings[i], coded.out_dir / WARNINGS)
        if not stops:
            _say(f"{coded.data.path}: left out", bad[i], coded.out_dir / LEFT_OUT)
            write_scps(coded)
    if stops:
        listing = "\n".join(_describe(coded, items) for coded, items in zip(sets, bad) if items)
        raise ValueError(
            f"bad items in {sum(map(bool, bad))} of {len(sets)}"
            f" sets.\n{listing}\n{_advise(sets, bad, skipped, skip_bad)}"
        )


def read_records(coded: CodedSet) -> Iterator[dict]:
    """Yield the record of each shard; one at a time, since together they name every utterance."""
    for number in range(len(coded)):
        yield read_json(record_path(coded.out_dir, number))


def _say(what: str, items: list[BadItem], listed: Path) -> None:
    if items:
        print(f"{what}: {len(ids_of(items))} items ({count_kinds(items)}), listed in {listed}", flush=True)


def _may_go_on(coded: CodedSet, items: list[BadItem]) -> bool:
    return coded.may_shrink and not _is_emptied(coded, items)


def _is_emptied(coded: CodedSet, items: list[BadItem]) -> bool:
    bad = ids_of(items)
    return all(key in bad for key in coded.data.ids)


def _describe(coded: CodedSet, items: list[BadItem]) -> str:
    kind = "a training set" if coded.may_shrink else "a test set: never shortened"
    head = (
        f"{coded.data.path} ({kind}): {len(ids_of(items))} bad items ({count_kinds(items)}), listed in"
        f" {coded.out_dir / BAD_ITEMS}"
    )
    return "\n".join([head, *(f"  {problem}" for problem in group(items))])


def _advise(sets: list[CodedSet], bad: list[list[BadItem]], skipped: int, skip_bad: int) -> str:
    advice = (
        "Fix them or take them out of the data directories, and run the same command again: only their shards are"
        " coded again."
    )
    if skipped > skip_bad:
        advice += f" Or go on without those of the training sets: --skip_bad {skipped} (now {skip_bad})."
    emptied = [str(coded.data.path) for coded, items in zip(sets, bad) if _is_emptied(coded, items)]
    return advice + (f" Nothing would be left of {', '.join(emptied)}." if emptied else "")


def write_scps(coded: CodedSet) -> None:
    """Write `codes.<side>.scp` of each side from the shards' records, and remove archives of an older, longer set."""
    with ExitStack() as stack:
        streams = {
            side: stack.enter_context(atomic_write(coded.out_dir / f"codes.{side}.scp")) for side in coded.data.audio
        }
        for number, record in enumerate(read_records(coded)):
            for side, stream in streams.items():
                ark = ark_path(coded.out_dir, side, number)
                stream.writelines(f"{key} {ark}:{offset}\n" for key, offset in record["offsets"][side].items())
    current = {record_path(coded.out_dir, number) for number in range(len(coded))}
    current |= {ark_path(coded.out_dir, side, number) for side in coded.data.audio for number in range(len(coded))}
    for path in [*coded.out_dir.glob("codes.*.*.ark"), *coded.out_dir.glob(".codes.*.json")]:
        if path not in current:
            path.unlink()


def record_path(out_dir: Path, number: int) -> Path:
    """Return the place of what is noted of a shard."""
    return out_dir / f".codes.{number}.json"


def ark_path(out_dir: Path, side: str, number: int) -> Path:
    """Return the place of a shard's archive."""
    return out_dir / f"codes.{side}.{number}.ark"
