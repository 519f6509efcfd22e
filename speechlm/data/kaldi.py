"""Kaldi data directories: read, write and check them.

A directory holds, per utterance id, `wav.scp` (id path), `text` (id words) and `utt2spk` (id speaker), and
`spk2utt`, the inverse of `utt2spk`. A parallel corpus has one `wav.scp` and one `text` per language, told by a
suffix: `text.es`, `text.en`. A file without a suffix belongs to the language given by the recipe's `--lang`.
A text-only set has only `text.<lang>`. `segments[.<lang>]` (id recording start end, in seconds) is optional.

Paths in `wav.scp` are relative to the current folder, as in Kaldi. Unlike Kaldi, an entry is never a command:
nothing that a corpus says reaches a shell.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Mapping

import soundfile

from speechlm.data.files import atomic_write

ID_PATTERN = re.compile(r"[^\s/\\.:|\x00-\x1f\ufeff-][^\s/\\:|\x00-\x1f]{0,199}")
SIDE_PATTERN = re.compile(r"\.([a-z]{2,3})")
SHOWN = 5  # examples named in a message about many utterances


@dataclass(frozen=True)
class Span:
    """A stretch of an audio file; `end_sec` None means to the end of the file."""

    path: str
    start_sec: float = 0.0
    end_sec: float | None = None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a data directory: where, what, what should be there, and how to mend it."""

    file: str
    found: str
    expected: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}: found {self.found}; expected {self.expected}.\n    Mend: {self.mend}"


@dataclass
class Table:
    """A scanned `id value` file: the entries that are right, and what is wrong with the others."""

    entries: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


# ---------------------------------------------------------------- one file


def scan_table(path: str | Path, may_be_empty: bool = False) -> Table:
    """Read an `id value` file, collecting every problem instead of stopping at the first.

    With `may_be_empty`, an id alone has the value "" (a recogniser that heard nothing).
    """
    path, table = Path(path), Table()
    if not path.is_file():
        table.problems.append(
            Problem(str(path), "no such file", "one line `id value` per utterance", "run the stage that writes it (./run.sh --stage N)")
        )
        return table
    bad = defaultdict(list)
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if raw:
            _scan_line(number, raw, may_be_empty, table.entries, bad)
    for what, where in bad.items():
        expected, mend = _LINE_ADVICE[what]
        table.problems.append(
            Problem(str(path), f"{len(where)} x {what} ({_shorten(where)})", expected, mend.format(file=path, dir=path.parent))
        )
    if not table.entries and not bad:
        table.problems.append(
            Problem(str(path), "an empty file", "at least one utterance", "delete it and run the stage that writes it (./run.sh --stage N)")
        )
    return table


def _scan_line(number: int, raw: bytes, may_be_empty: bool, entries: dict[str, str], bad: dict[str, list[str]]) -> None:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        bad["bytes that are not UTF-8"].append(f"line {number}")
        return
    if line.endswith("\r"):
        bad["a Windows line end"].append(f"line {number}")
    key, value = (line.split(maxsplit=1) + ["", ""])[:2]
    if not ID_PATTERN.fullmatch(key):
        bad["an id that cannot name a file"].append(f"line {number}: {key!r}")
    elif key in entries:
        bad["a duplicate id"].append(f"line {number}: {key}")
    elif not value.strip() and not may_be_empty:
        bad["an id with nothing after it"].append(f"line {number}: {key}")
    else:
        entries[key] = value.strip()


_LINE_ADVICE = {  # what is wrong -> (expected, how to mend it)
    "bytes that are not UTF-8": (
        "UTF-8 text",
        "iconv -f LATIN1 -t UTF-8 {file} > {file}.utf8 && mv {file}.utf8 {file} (name the true encoding)",
    ),
    "a Windows line end": ("lines that end in \\n", "sed -i 's/\\r$//' {file}"),
    "an id that cannot name a file": (
        "ids of at most 200 characters without / \\ : | or blanks, that do not start with . or -",
        "change the id in every file of the directory, in local/data.sh",
    ),
    "a duplicate id": ("each id once", "remove equal lines: sort -u -o {file} {file} ; give different utterances different ids"),
    "an id with nothing after it": (
        "`id value`",
        "write the value, or remove the utterance: python -m speechlm.bin.validate_data {dir} --drop",
    ),
}


def read_table(path: str | Path, may_be_empty: bool = False) -> dict[str, str]:
    """Return {id: value} of a Kaldi file in file order; raise ValueError naming every bad line."""
    table = scan_table(path, may_be_empty)
    if table.problems:
        raise ValueError("\n".join(str(p) for p in table.problems))
    return table.entries


def write_table(path: str | Path, entries: Mapping[str, str]) -> None:
    """Write {id: value} as a Kaldi file, sorted by id, whole or not at all; raise ValueError for a bad id."""
    bad = [key for key in entries if not ID_PATTERN.fullmatch(key)]
    if bad:
        raise ValueError(f"{path}: {len(bad)} ids cannot name a file ({_shorten(map(repr, bad))}). Use letters, digits, - and _.")
    with atomic_write(path) as stream:
        for key in sorted(entries):
            stream.write(f"{key} {' '.join(entries[key].split())}\n")


# ---------------------------------------------------------------- one directory


def list_sides(data_dir: str | Path, lang: str | None = None) -> list[str]:
    """Return the languages of a directory, sorted: its file suffixes, and `lang` for files without a suffix."""
    data_dir, sides = Path(data_dir), set()
    if not data_dir.is_dir():
        raise ValueError(f"{data_dir}: no such folder. Run the data stage: ./run.sh --stage 1")
    for stem in ("text", "wav.scp"):
        sides |= {m.group(1) for p in data_dir.glob(f"{stem}.*") if (m := SIDE_PATTERN.fullmatch(p.name[len(stem) :]))}
        if (data_dir / stem).is_file():
            if lang is None:
                raise ValueError(f"{data_dir / stem}: its language is not known. Say which: --lang en")
            sides.add(lang)
    if not sides:
        raise ValueError(f"{data_dir}: found neither text nor wav.scp. Run the data stage: ./run.sh --stage 1")
    return sorted(sides)


def side_path(data_dir: str | Path, stem: str, side: str) -> Path:
    """Return `<stem>.<side>` if it is there, else `<stem>` (whose language is then the caller's `--lang`)."""
    with_suffix = Path(data_dir) / f"{stem}.{side}"
    return with_suffix if with_suffix.is_file() else Path(data_dir) / stem


def read_text(data_dir: str | Path, side: str) -> dict[str, str]:
    """Return {utterance id: transcript} of one language."""
    return read_table(side_path(data_dir, "text", side))


def has_audio(data_dir: str | Path, side: str) -> bool:
    """Tell whether a directory holds recordings in a language."""
    return side_path(data_dir, "wav.scp", side).is_file()


def read_audio(data_dir: str | Path, side: str) -> dict[str, Span]:
    """Return {utterance id: where its audio is} of one language, through `segments` if there are any."""
    recordings = read_table(side_path(data_dir, "wav.scp", side))
    segments_path = side_path(data_dir, "segments", side)
    if not segments_path.is_file():
        return {key: Span(path) for key, path in recordings.items()}
    return {key: _segment(segments_path, key, value, recordings) for key, value in read_table(segments_path).items()}


def _segment(path: Path, key: str, value: str, recordings: Mapping[str, str]) -> Span:
    try:
        recording, start, end = value.split()
        span = Span(recordings[recording], float(start), float(end))
    except (ValueError, KeyError):
        raise ValueError(f"{path}: found `{key} {value}`; expected `{key} recording start_sec end_sec`, a recording of wav.scp") from None
    if not 0 <= span.start_sec < span.end_sec:
        raise ValueError(f"{path}: {key} runs from {start} to {end} s; expected 0 <= start < end")
    return span


def read_speakers(data_dir: str | Path) -> dict[str, str]:
    """Return {utterance id: speaker}; empty for a directory without `utt2spk` (a text-only set)."""
    path = Path(data_dir) / "utt2spk"
    return read_table(path) if path.is_file() else {}


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Turn {utterance: speaker} into Kaldi's spk2utt: {speaker: "utt1 utt2 ..."}, sorted."""
    spk2utt = defaultdict(list)
    for key in sorted(utt2spk):
        spk2utt[utt2spk[key]].append(key)
    return {speaker: " ".join(keys) for speaker, keys in spk2utt.items()}


def write_data_dir(data_dir: str | Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write a directory's files ({"wav.scp.es": {id: path}, "text.es": ..., "utt2spk": ...}) and its spk2utt."""
    for name, entries in tables.items():
        write_table(Path(data_dir) / name, entries)
    if "utt2spk" in tables:
        write_table(Path(data_dir) / "spk2utt", invert(tables["utt2spk"]))


# ---------------------------------------------------------------- validation


def validate_data_dir(data_dir: str | Path, lang: str | None = None, open_audio: bool = True) -> list[Problem]:
    """Return all problems of a directory at once; an empty list means that every later stage can read it.

    With `open_audio`, the header of every recording is read (about 0.1 ms each). Raises ValueError if it is no data directory.
    """
    data_dir = Path(data_dir)
    sides = list_sides(data_dir, lang)
    tables = {path: scan_table(path) for path in _files_of(data_dir, sides)}
    problems = [p for table in tables.values() for p in table.problems]
    problems += _check_same_ids(data_dir, {path: table.entries for path, table in tables.items()})
    problems += _check_spk2utt(data_dir)
    for path in tables:
        if path.name.startswith("wav.scp"):
            problems += _check_recordings(path, tables[path].entries, open_audio)
    return problems


def require_valid(data_dir: str | Path, lang: str | None = None, open_audio: bool = True) -> None:
    """Raise ValueError listing every problem of a data directory, if there is one."""
    problems = validate_data_dir(data_dir, lang, open_audio)
    if problems:
        listing = "\n".join(f"  {i}. {p}" for i, p in enumerate(problems, start=1))
        raise ValueError(f"{data_dir} has {len(problems)} problem(s):\n{listing}")


def _files_of(data_dir: Path, sides: Iterable[str]) -> list[Path]:
    """Return the files to check: what is there of each side, and utt2spk wherever there is audio."""
    files = {p for side in sides for stem in ("text", "wav.scp", "segments") if (p := side_path(data_dir, stem, side)).is_file()}
    if any(p.name.startswith("wav.scp") for p in files) or (data_dir / "utt2spk").is_file():
        files.add(data_dir / "utt2spk")
    return sorted(files)


def _check_same_ids(data_dir: Path, tables: dict[Path, dict[str, str]]) -> list[Problem]:
    segmented = {p.name.replace("segments", "wav.scp") for p in tables if p.name.startswith("segments")}
    keyed = {p: set(entries) for p, entries in tables.items() if p.name not in segmented}
    everything, problems = set().union(*keyed.values()), []
    mend = f"run local/data.sh again, or drop incomplete utterances: python -m speechlm.bin.validate_data {data_dir} --drop"
    for path, keys in keyed.items():
        missing = sorted(everything - keys)
        others = sorted(p.name for p, other in keyed.items() if other & set(missing))
        if missing:
            found = f"{len(missing)} utterance(s) of {', '.join(others)} without a (valid) line here ({_shorten(missing)})"
            problems.append(Problem(str(path), found, "the same utterance ids in every file", mend))
    return problems


def _check_spk2utt(data_dir: Path) -> list[Problem]:
    utt2spk, spk2utt = data_dir / "utt2spk", data_dir / "spk2utt"
    if not utt2spk.is_file():
        return []
    if spk2utt.is_file() and scan_table(spk2utt).entries == invert(scan_table(utt2spk).entries):
        return []
    found = "a file that is not the inverse of utt2spk" if spk2utt.is_file() else "no such file"
    return [Problem(str(spk2utt), found, "the inverse of utt2spk", f"python -m speechlm.bin.validate_data {data_dir} --fix")]


def _check_recordings(path: Path, entries: dict[str, str], open_audio: bool) -> list[Problem]:
    commands = [key for key, value in entries.items() if value.endswith("|")]
    missing = [f"{key}: {value}" for key, value in entries.items() if not value.endswith("|") and not Path(value).is_file()]
    problems = []
    if commands:
        mend = "run the commands once, and write the path of the resulting wav files"
        problems.append(Problem(str(path), f"{len(commands)} x a command ({_shorten(commands)})", "paths of audio files", mend))
    if missing:
        mend = f"paths are relative to {Path.cwd()}; run local/data.sh there again"
        problems.append(Problem(str(path), f"{len(missing)} x no such audio file ({_shorten(missing)})", "files that exist", mend))
    if open_audio:
        bad = [f"{key}: {value}" for key, value in entries.items() if Path(value).is_file() and not _is_audio(value)]
        if bad:
            mend = "make the files again: delete them and run local/data.sh"
            problems.append(
                Problem(str(path), f"{len(bad)} x empty or not audio ({_shorten(bad)})", "wav or flac files with samples", mend)
            )
    return problems


def _is_audio(path: str) -> bool:
    try:
        return soundfile.info(path).frames > 0
    except (soundfile.LibsndfileError, RuntimeError):
        return False


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


# ---------------------------------------------------------------- mending


def fix_spk2utt(data_dir: str | Path) -> None:
    """Rewrite `spk2utt` from `utt2spk`."""
    write_table(Path(data_dir) / "spk2utt", invert(read_table(Path(data_dir) / "utt2spk")))


def drop_incomplete(data_dir: str | Path, lang: str | None = None) -> list[str]:
    """Rewrite every file with only the utterances that are valid in all of them; return the ids dropped.

    Never done unasked: a test set that shrinks silently makes scores incomparable.
    """
    data_dir = Path(data_dir)
    tables = {p: scan_table(p).entries for p in _files_of(data_dir, list_sides(data_dir, lang))}
    for path, entries in tables.items():
        if path.name.startswith("wav.scp"):
            tables[path] = {k: v for k, v in entries.items() if Path(v).is_file() and _is_audio(v)}
    segmented = {p.name.replace("segments", "wav.scp") for p in tables if p.name.startswith("segments")}
    keyed = {p: entries for p, entries in tables.items() if p.name not in segmented}
    kept = set.intersection(*(set(entries) for entries in keyed.values()))
    for path, entries in keyed.items():
        write_table(path, {key: value for key, value in entries.items() if key in kept})
    if (data_dir / "utt2spk").is_file():
        fix_spk2utt(data_dir)
    return sorted(set().union(*keyed.values()) - kept)
