"""Codes of Kaldi directories, in shards that are the same files whatever the number of processes.

    codes.en.0.ark  codes.en.1.ark ...  codes.en.scp       int32 codes_TK of each utterance, in sorted order

A shard that is finished stays when the command is given again, if the codec, the utterances and the files they
name (path, size, time of change) are the same. Recordings are checked where they are read for coding: a bad one is kept out of its
shard, and all are reported at the end (`speechlm.data.items`).
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec
from speechlm.data.audio import CLIPPED_SHARE, MAX_SEC, AudioError, Span, clipped_share, load_span
from speechlm.data.codes import write_archive, write_codec
from speechlm.data.files import atomic_write, settings_digest
from speechlm.data.items import BAD_ITEMS, LEFT_OUT, WARNING_KINDS, WARNINGS, BadItem, count_kinds, group, ids_of, write_items
from speechlm.data.kaldi import DataDir, scan_data_dir, side_path

SHARD_UTTERANCES = 500


@dataclass(frozen=True)
class CodecSpec:
    """Arguments of `load_codec`, to load it again in every process."""

    spec: str
    path: str | None = None

    def load(self) -> Codec:
        return load_codec(self.spec, self.path)


@dataclass(frozen=True)
class Options:
    """`nj` processes; at most `skip_bad` items are left out of all training sets together; none is longer than `max_sec`."""

    nj: int = 1
    skip_bad: int = 0
    max_sec: float = MAX_SEC
    lang: str | None = None


@dataclass(frozen=True)
class CodedSet:
    """A set, where its codes go, and its shards. Only a training set may be shortened."""

    data: DataDir
    out_dir: Path
    may_shrink: bool
    shards: list["Shard"]


@dataclass(frozen=True)
class Shard:
    """Some utterances of a set (spans by id and side), and the digest of all that its archives depend on.

    `unused` are bad for another reason than their audio: checked, but not stored. `files` names the table of each side, for reports.
    """

    number: int
    out_dir: Path
    spans: dict[str, dict[str, Span]]
    unused: frozenset[str]
    files: dict[str, str]
    max_sec: float
    digest: str

    @property
    def record(self) -> Path:
        return self.out_dir / f".codes.{self.number}.json"

    def ark(self, side: str) -> Path:
        return self.out_dir / f"codes.{side}.{self.number}.ark"


def extract_codes(train_dirs: list[Path], test_dirs: list[Path], dump: Path, codec: CodecSpec, options: Options) -> None:
    """Write `dump/<set>/codes.<side>.scp` of every directory; a text-only set has none, but is checked too.

    Raises ValueError listing the bad items of all sets, if a test set has one or the training sets more than `options.skip_bad`.
    """
    data_dirs = list(dict.fromkeys([*train_dirs, *test_dirs]))
    scans = [scan_data_dir(data_dir, options.lang) for data_dir in data_dirs]
    if problems := [str(problem) for scan in scans for problem in scan.problems]:
        raise ValueError("\n".join(problems))
    fingerprint = codec.load().fingerprint if any(scan.audio for scan in scans) else ""
    sets = []
    for data in scans:
        out_dir = dump / data.path.name
        shards = cut_shards(data, out_dir, fingerprint, options.max_sec)
        sets.append(CodedSet(data, out_dir, data.path not in test_dirs, shards))
    todo = [shard for coded in sets for shard in list_todo(coded)]
    run_shards(todo, codec, options.nj)
    settle(sets, options.skip_bad)
    for coded in sets:
        if coded.shards:
            write_codec(coded.out_dir, codec.spec, fingerprint)


def cut_shards(data: DataDir, out_dir: Path, fingerprint: str, max_sec: float) -> list[Shard]:
    """Cut the utterances of a set with audio, sorted by id, into shards of a fixed size.

    Bad ones count too, so that mending one changes no other shard.
    """
    keys = sorted(set(data.ids) | ids_of(data.bad)) if data.audio else []
    files = {side: str(side_path(data.path, "wav.scp", side)) for side in data.audio}
    bad, shards = ids_of(data.bad), []
    for start in range(0, len(keys), SHARD_UTTERANCES):
        part = keys[start : start + SHARD_UTTERANCES]
        spans = {key: {side: data.audio[side][key] for side in data.audio if key in data.audio[side]} for key in part}
        unused = frozenset(bad.intersection(part))
        contents = [[key, side, asdict(span), _stat(span.path)] for key in spans for side, span in spans[key].items()]
        digest = settings_digest({"codec": fingerprint, "utterances": contents, "unused": sorted(unused), "max_sec": max_sec})
        shards.append(Shard(len(shards), out_dir, spans, unused, files, max_sec, digest))
    return shards


def _stat(path: str) -> list[int]:
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def list_todo(coded: CodedSet) -> list[Shard]:
    """Return the shards that are not done yet, and remove what points into their old archives."""
    coded.out_dir.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in coded.shards if not is_done(shard)]
    if coded.shards:
        sides, done = ", ".join(coded.data.audio), len(coded.shards) - len(todo)
        print(f"{coded.out_dir}: {len(coded.shards)} shards of {sides}, {done} of them already complete", flush=True)
    for path in [*coded.out_dir.glob("codes.*.scp"), coded.out_dir / "manifest.jsonl"] if todo else []:
        path.unlink(missing_ok=True)
    return todo


def is_done(shard: Shard) -> bool:
    """Tell whether a shard's archives are there in full, made from the same things."""
    try:
        record = json.loads(shard.record.read_text(encoding="utf-8"))
        return record["digest"] == shard.digest and all(shard.ark(s).stat().st_size == n for s, n in record["bytes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def run_shards(shards: list[Shard], codec: CodecSpec, nj: int) -> None:
    """Code shards in `nj` processes with progress."""
    start = time.monotonic()
    with ProcessPoolExecutor(nj, get_context("spawn"), initializer=_start_worker, initargs=(codec,)) as pool:
        futures = [pool.submit(code_shard, shard) for shard in shards]
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                bad = future.result()
            except BrokenProcessPool:
                raise ValueError(
                    f"a process that coded recordings was killed (out of memory?). What is finished is kept: go on with fewer than --nj {nj}"
                ) from None
            left_sec = (time.monotonic() - start) * (len(shards) - done) / done
            print(f"shard {done}/{len(shards)}, {f'{len(bad)} bad recordings, ' if bad else ''}{left_sec:.0f} s left", flush=True)


_codec: Codec | None = None  # of a worker process


def _start_worker(codec: CodecSpec) -> None:
    global _codec
    torch.set_num_threads(1)
    _codec = codec.load()


def code_shard(shard: Shard) -> list[BadItem]:
    """Write the archives of the utterances that can be coded on every side; return what is wrong with the others."""
    codes, findings = {}, []
    for key, spans in shard.spans.items():
        coded = {}
        for side, span in spans.items():
            coded[side], found = _code(span, shard.max_sec)
            findings += [BadItem(key, kind, shard.files[side], detail) for kind, detail in found]
        if key not in shard.unused and all(codes_TK is not None for codes_TK in coded.values()):
            codes[key] = coded
    save_shard(shard, codes, findings)
    return [item for item in findings if item.kind not in WARNING_KINDS]


def _code(span: Span, max_sec: float) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Return the codes_TK of one recording, None if it is bad, and what was found: kinds and details."""
    try:
        wav_T = load_span(span, _codec.sample_rate_hz, max_sec)
        share = clipped_share(wav_T)
        found = [("clipping", f"{span.path}: {share:.1%} of the samples at full scale")] if share > CLIPPED_SHARE else []
        return _codec.encode(wav_T), found
    except AudioError as error:
        return None, [(error.kind, str(error))]
    except ValueError as error:  # of the codec
        return None, [("cannot be coded", f"{span.path}: {error}")]


def save_shard(shard: Shard, codes: dict[str, dict[str, np.ndarray]], findings: list[BadItem]) -> None:
    """Write the archives, then their record (digest, sizes, byte offsets, findings), each whole or not at all."""
    offsets = {side: write_archive(shard.ark(side), {key: coded[side] for key, coded in codes.items()}) for side in shard.files}
    sizes = {side: shard.ark(side).stat().st_size for side in shard.files}
    record = {"digest": shard.digest, "bytes": sizes, "offsets": offsets, "findings": [astuple(item) for item in findings]}
    with atomic_write(shard.record) as stream:
        json.dump(record, stream)


# ---------------------------------------------------------------- after all shards


def settle(sets: list[CodedSet], skip_bad: int) -> None:
    """Report the bad items of all sets; write the scp files if the sets may go on without them, else raise ValueError."""
    records = [[json.loads(shard.record.read_text(encoding="utf-8")) for shard in coded.shards] for coded in sets]
    findings = [[BadItem(*fields) for record in of_set for fields in record["findings"]] for of_set in records]
    warnings = [[item for item in items if item.kind in WARNING_KINDS] for items in findings]
    bad = [coded.data.bad + [item for item in items if item.kind not in WARNING_KINDS] for coded, items in zip(sets, findings)]
    skipped = sum(len(ids_of(items)) for coded, items in zip(sets, bad) if coded.may_shrink)
    stops = skipped > skip_bad or any(items and not _may_go_on(coded, items) for coded, items in zip(sets, bad))
    for i, coded in enumerate(sets):
        write_items(coded.out_dir / WARNINGS, warnings[i])
        write_items(coded.out_dir / BAD_ITEMS, bad[i] if stops else [])
        write_items(coded.out_dir / LEFT_OUT, [] if stops else bad[i])
        _say(f"{coded.data.path}: used, but suspicious", warnings[i], coded.out_dir / WARNINGS)
        if not stops:
            _say(f"{coded.data.path}: left out", bad[i], coded.out_dir / LEFT_OUT)
            for side in coded.data.audio:
                write_scp(coded, side, records[i])
    if stops:
        listing = "\n".join(_describe(coded, items) for coded, items in zip(sets, bad) if items)
        raise ValueError(f"bad items in {sum(map(bool, bad))} of {len(sets)} sets.\n{listing}\n{_advise(sets, bad, skipped, skip_bad)}")


def _say(what: str, items: list[BadItem], listed: Path) -> None:
    if items:
        print(f"{what}: {len(ids_of(items))} items ({count_kinds(items)}), listed in {listed}", flush=True)


def _may_go_on(coded: CodedSet, items: list[BadItem]) -> bool:
    return coded.may_shrink and bool(set(coded.data.ids) - ids_of(items))


def _describe(coded: CodedSet, items: list[BadItem]) -> str:
    kind = "a training set" if coded.may_shrink else "a test set: never shortened"
    head = f"{coded.data.path} ({kind}): {len(ids_of(items))} bad items ({count_kinds(items)}), listed in {coded.out_dir / BAD_ITEMS}"
    return "\n".join([head, *(f"  {problem}" for problem in group(items))])


def _advise(sets: list[CodedSet], bad: list[list[BadItem]], skipped: int, skip_bad: int) -> str:
    advice = "Mend them or take them out of the data directories, and give the same command again: only their shards are coded again."
    if skipped > skip_bad:
        advice += f" Or go on without those of the training sets: --skip_bad {skipped} (now {skip_bad})."
    emptied = [str(coded.data.path) for coded, items in zip(sets, bad) if not set(coded.data.ids) - ids_of(items)]
    return advice + (f" Nothing would be left of {', '.join(emptied)}." if emptied else "")


def write_scp(coded: CodedSet, side: str, records: list[dict]) -> None:
    """Write `codes.<side>.scp` from the shards' records, and remove archives of an older, longer set."""
    with atomic_write(coded.out_dir / f"codes.{side}.scp") as stream:
        for shard, record in zip(coded.shards, records):
            stream.writelines(f"{key} {shard.ark(side)}:{offset}\n" for key, offset in record["offsets"][side].items())
    current = {shard.ark(side) for shard in coded.shards} | {shard.record for shard in coded.shards}
    for path in [*coded.out_dir.glob(f"codes.{side}.*.ark"), *coded.out_dir.glob(".codes.*.json")]:
        if path not in current:
            path.unlink()
