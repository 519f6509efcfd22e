"""Kaldi data directories: read, write and check them.

A directory holds, per utterance id, `wav.scp` (id path), `text` (id words) and `utt2spk` (id speaker), and
`spk2utt`, the inverse of `utt2spk`. A parallel corpus has one `wav.scp` and one `text` per language, told by a
suffix: `text.es`, `text.en`. A file without a suffix belongs to the language given by the recipe's `--lang`.
A text-only set has only `text.<lang>`. `segments[.<lang>]` (id recording start end, in seconds) is optional. `prompts`
(id id, optional, of a test set) lists the utterances that synthesis is tested on, each with the one whose voice it is
given; its own id: its own beginning, to be continued.

Paths in `wav.scp` are relative to the current folder, as in Kaldi. Unlike Kaldi, an entry is never a command:
nothing that a corpus says reaches a shell. The order of the lines does not matter: ids are sorted where they are used.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, repeat
from operator import itemgetter
from pathlib import Path

import numpy as np

from speechlm.data.audio import AudioError, Span, check_header
from speechlm.data.entries import Data, Entries, line_at, line_numbers, lines_of, open_data, sort_entries
from speechlm.data.files import atomic_write
from speechlm.data.items import BadItem, Problem, group, ids_of, printable, shorten
from speechlm.data.plaintext import BOM, HEAD_BYTES, head_fault

ID_PATTERN = re.compile(r"[^\s/\\.:|\x00-\x1f\ufeff-][^\s/\\:|\x00-\x1f]*")
ID_BYTES = 200  # names of files are made of ids; a file system takes 255 bytes, and temporary names are longer
SIDE_PATTERN = re.compile(r"\.([a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)")
NO_LANGUAGES = set("bak bck bk csv gz log new old org raw sav swp tmp tsv txt xz zip".split())  # but backups, archives
CONTROL_PATTERN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # the last two are line ends to many programs
BLANKS = " \t\r\n"
MAX_WORDS = 900  # the longest recording (five minutes) at three words a second, faster than any reader
MAX_CHARACTERS = 6000  # the same for languages that do not set words apart, at twenty a second
LONGEST_SEC = 1e7  # of a recording: four months; keeps sample numbers exact


@dataclass
class Table:
    """A scanned `id value` file: the entries that are right, and what is wrong with the others."""

    entries: Entries = field(default_factory=Entries)
    bad: list[BadItem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class DataDir:
    """A directory with all its mistakes.

    `ids` (sorted) are right in every file; `bad` says what is wrong with the others, `problems` what is wrong with
    whole files.
    `texts` and `audio` are by side, then by id; they may hold ids that are bad elsewhere. All but `ids` and `bad` stays
    in the files.
    """

    path: Path
    sides: list[str]
    texts: dict[str, Mapping[str, str]]
    audio: dict[str, Mapping[str, Span]]
    speakers: Mapping[str, str]
    ids: list[str]
    bad: list[BadItem]
    problems: list[Problem]


# ---------------------------------------------------------------- one file


def scan_table(path: str | Path, may_be_empty: bool = False) -> Table:
    """Read an `id value` file, collecting every mistake instead of stopping at the first.

    With `may_be_empty`, an id alone has the value "" (a recogniser that heard nothing).
    """
    path, table = Path(path), Table()
    fix = "run the stage that writes it (./run.sh --stage N)"
    if not path.is_file():
        table.problems.append(Problem(str(path), "no such file", "one line `id value` per utterance", fix))
        return table
    data, starts, bad, previous = open_data(path), array("q"), [], b""
    if fault := head_fault(path, data[:HEAD_BYTES]):
        table.problems.append(Problem(f"{path}:1", fault[0], "UTF-8 text", fault[1]))
        return table
    in_order = True
    for offset, raw in lines_of(data):
        if raw:
            key, value, kind = _read_line(raw, may_be_empty)
            if kind:
                bad.append((offset, key, kind))
                continue
            starts.append(offset + raw.index(encoded := key.encode()))
            in_order, previous = in_order and previous < encoded, encoded
    twice = []
    table.entries = Entries(data, np.frombuffer(starts, np.int64))
    if not in_order:
        table.entries, twice = sort_entries(data, starts)
    if not starts and not bad:
        table.problems.append(Problem(str(path), "an empty file", "at least one utterance", f"delete it and {fix}"))
    _note_bad_lines(table, data, bad, twice, str(path))
    return table


def _read_line(raw: bytes, may_be_empty: bool) -> tuple[str, str, str]:
    """Return id, value, and what is wrong with the line ("" for nothing)."""
    text = raw.decode("utf-8", "backslashreplace")
    key, value = (re.split(r"[ \t]+", text.strip(" \t\r"), maxsplit=1) + [""])[:2]
    return key, value, _line_fault(raw, key, value, may_be_empty)


def _note_bad_lines(
    table: Table, data: Data, bad: list[tuple[int, str, str]], twice: list[list[int]], path: str
) -> None:
    """Add bad lines (offset, id, kind), and lines of an id that occurs twice (offsets), to what is bad. Of a duplicate
    id no line is right.
    """
    first_bad = {key: offset for offset, key, _ in reversed(bad)}
    places = [place for key in first_bad if (place := table.entries.place(key)) is not None]
    groups = twice + [[table.entries.offset(place)] for place in places]
    table.entries = table.entries.without(places)
    for group_of_id in groups:
        key = _read_line(line_at(data, group_of_id[0]), True)[0]
        first = min(group_of_id[0], first_bad.get(key, group_of_id[0]))
        bad += [(offset, key, "duplicate id") for offset in group_of_id if offset != first]
    bad.sort()
    for (offset, key, kind), number in zip(bad, line_numbers(data, [offset for offset, _, _ in bad])):
        name = key if is_id(key) else printable(key) or f"line {number}"
        text = line_at(data, offset).decode("utf-8", "backslashreplace")
        table.bad.append(BadItem(name, kind, path, f"line {number}: {printable(text)}"))


def _line_fault(raw: bytes, key: str, value: str, may_be_empty: bool) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if raw.endswith(b"\r"):
        return "Windows line end"
    if raw.startswith(BOM):
        return "byte order mark"
    if not is_id(key):
        return "bad id"
    return "" if may_be_empty or value.strip() else "empty"


def is_id(key: str) -> bool:
    """Tell whether files can be named by an id."""
    return ID_PATTERN.fullmatch(key) is not None and len(key.encode("utf-8", "surrogatepass")) <= ID_BYTES


def read_table(path: str | Path, may_be_empty: bool = False) -> Mapping[str, str]:
    """Return {id: value} of a Kaldi file, sorted by id; raise ValueError naming every bad line."""
    table = scan_table(path, may_be_empty)
    if problems := table.problems + group(table.bad):
        raise ValueError("\n".join(str(p) for p in problems))
    return table.entries


def write_table(path: str | Path, entries: Mapping[str, str]) -> None:
    """Write {id: value} as a Kaldi file, sorted by id, whole or not at all; values stay as they are, except for spaces
    around them.

    Raises ValueError for what a line can't hold: a bad id, a value of several lines, a path that begins or ends with a
    space.
    """
    bad = [key for key in entries if not is_id(key)]
    if bad:
        found = f"{len(bad)} ids cannot name a file ({shorten(map(repr, bad))})"
        raise ValueError(f"{path}: {found}. Use letters, digits, - and _, at most {ID_BYTES} bytes.")
    is_audio = Path(path).name.startswith("wav.scp")
    lines = {key: value.strip(BLANKS) for key, value in entries.items()}
    if odd := [key for key, value in lines.items() if "\n" in value or (is_audio and value != entries[key])]:
        found = f"{len(odd)} values have several lines, or spaces around a path ({shorten(odd)})"
        raise ValueError(f"{path}: {found}, which a line can't hold. Rename the files.")
    with atomic_write(path) as stream:
        stream.writelines(f"{key} {lines[key]}\n" for key in sorted(lines))


# ---------------------------------------------------------------- one directory


def list_sides(data_dir: str | Path, lang: str | None = None) -> list[str]:
    """Return the languages of a directory, sorted: its file suffixes, and `lang` for files without a suffix."""
    data_dir, sides = Path(data_dir), set()
    if not data_dir.is_dir():
        raise ValueError(f"{data_dir}: no such folder. Run the data stage: ./run.sh --stage 1")
    for stem in ("text", "wav.scp"):
        sides |= {side for path in data_dir.glob(f"{stem}.*") if (side := _side_of(path, stem))}
        if (data_dir / stem).is_file():
            if lang is None:
                raise ValueError(f"{data_dir / stem}: its language is not known. Give it, for example: --lang en")
            sides.add(lang)
    if not sides:
        raise ValueError(f"{data_dir}: found neither text nor wav.scp. Run the data stage: ./run.sh --stage 1")
    return sorted(sides)


def _side_of(path: Path, stem: str) -> str | None:
    match = SIDE_PATTERN.fullmatch(path.name[len(stem) :])
    return match[1] if match and match[1] not in NO_LANGUAGES else None


def list_unread(data_dir: str | Path) -> list[str]:
    """Return the names that look like tables of a directory and are not: text.old, wav.scp.bak, text~."""
    found = [(path, "wav.scp" if path.name.startswith("wav.scp") else "text") for path in Path(data_dir).glob("*")]
    return sorted(
        path.name
        for path, stem in found
        if path.name[len(stem) :][:1] in (".", "~") and path.name.startswith(stem) and not _side_of(path, stem)
    )


def side_path(data_dir: str | Path, stem: str, side: str) -> Path:
    """Return `<stem>.<side>` if it is there, else `<stem>` (whose language is then the caller's `--lang`)."""
    with_suffix = Path(data_dir) / f"{stem}.{side}"
    return with_suffix if with_suffix.is_file() else Path(data_dir) / stem


def read_text(data_dir: str | Path, side: str) -> Mapping[str, str]:
    """Return {utterance id: transcript} of one language."""
    return read_table(side_path(data_dir, "text", side))


class Spans(Mapping[str, Span]):
    """{utterance id: where its audio is}, of wav.scp, or of the `segments` that cut its recordings."""

    def __init__(self, recordings: Mapping[str, str], segments: Entries | None = None):
        self._recordings, self._segments = recordings, segments

    def __len__(self) -> int:
        return len(self._recordings if self._segments is None else self._segments)

    def __iter__(self) -> Iterator[str]:
        return iter(self._recordings if self._segments is None else self._segments)

    def __getitem__(self, key: str) -> Span:
        return (
            Span(self._recordings[key]) if self._segments is None else _segment(self._segments[key], self._recordings)
        )


def read_audio(data_dir: str | Path, side: str) -> Mapping[str, Span]:
    """Return {utterance id: where its audio is} of one language, through `segments` if there are any."""
    recordings = read_table(side_path(data_dir, "wav.scp", side))
    segments_path = side_path(data_dir, "segments", side)
    if not segments_path.is_file():
        return Spans(recordings)
    spans, bad = _read_segments(segments_path, read_table(segments_path), recordings)
    if bad:
        raise ValueError("\n".join(str(p) for p in group(bad)))
    return spans


def _segment(value: str, recordings: Mapping[str, str]) -> Span:
    """Return the span of a line of `segments`; ValueError or KeyError if it is wrong."""
    recording, start, end = value.split()
    span = Span(recordings[recording], float(start), float(end))
    if not 0 <= span.start_sec < span.end_sec < LONGEST_SEC:
        raise ValueError
    return span


def _read_segments(path: Path, entries: Entries, recordings: Mapping[str, str]) -> tuple[Spans, list[BadItem]]:
    places, bad = [], []
    for place, (key, value) in enumerate(entries.items()):
        try:
            _segment(value, recordings)
        except (ValueError, KeyError):
            places.append(place)
            bad.append(BadItem(key, "bad segment", str(path), printable(value)))
    return Spans(recordings, entries.without(places)), bad


def read_speakers(data_dir: str | Path) -> Mapping[str, str]:
    """Return {utterance id: speaker}; empty for a directory without `utt2spk` (a text-only set)."""
    path = Path(data_dir) / "utt2spk"
    return read_table(path) if path.is_file() else {}


def read_prompts(data_dir: str | Path) -> dict[str, str]:
    """Return {utterance to synthesise: the utterance whose voice it is given}; empty if the set does not list them."""
    path = Path(data_dir) / "prompts"
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


def scan_data_dir(data_dir: str | Path, lang: str | None = None) -> DataDir:
    """Read all tables of a directory, opening no recording; raise ValueError if it is not a data directory."""
    data_dir = Path(data_dir)
    sides = list_sides(data_dir, lang)
    if unread := list_unread(data_dir):
        print(
            f"{data_dir}: {', '.join(unread)} not read: backups? The suffix of a table is a language tag, such as en or"
            " zh-CN",
            flush=True,
        )
    tables = {path: scan_table(path) for path in _files_of(data_dir, sides)}
    for path, table in tables.items():
        _drop_bad_values(path, table)
    bad = [item for table in tables.values() for item in table.bad]
    audio = {}
    for side in sides:
        if (path := side_path(data_dir, "wav.scp", side)) in tables:
            audio[side], faults = _scan_audio(tables, path, side_path(data_dir, "segments", side))
            bad += faults
    missing, ids = _compare_ids(_keyed(tables, data_dir, sides), ids_of(bad))
    bad += missing
    texts = {side: tables[path].entries for side in sides if (path := side_path(data_dir, "text", side)) in tables}
    speakers = tables[data_dir / "utt2spk"].entries if data_dir / "utt2spk" in tables else Entries()
    problems = [problem for table in tables.values() for problem in table.problems]
    return DataDir(data_dir, sides, texts, audio, speakers, ids, sorted(set(bad)), problems)


def validate_data_dir(data_dir: str | Path, lang: str | None = None, open_audio: bool = True) -> list[Problem]:
    """Return all problems of a directory at once; an empty list means that every later stage can read it.

    With `open_audio`, the header of every recording is read (about 0.1 ms each). Raises ValueError if it is not a data
    directory.
    """
    data = scan_data_dir(data_dir, lang)
    return data.problems + _check_spk2utt(data) + group(data.bad + (check_headers(data) if open_audio else []))


def require_valid(data_dir: str | Path, lang: str | None = None, open_audio: bool = True) -> None:
    """Raise ValueError listing every problem of a data directory, if there is one."""
    problems = validate_data_dir(data_dir, lang, open_audio)
    if problems:
        listing = "\n".join(f"  {i}. {p}" for i, p in enumerate(problems, start=1))
        raise ValueError(f"{data_dir} has {len(problems)} problem(s):\n{listing}")


def check_headers(data: DataDir) -> list[BadItem]:
    """Return what is wrong with the recordings, as far as their headers tell."""
    bad = []
    for side, spans in data.audio.items():
        file = str(side_path(data.path, "wav.scp", side))
        for key, span in spans.items():
            try:
                check_header(span)
            except AudioError as error:
                bad.append(BadItem(key, error.kind, file, str(error)))
    return bad


def _files_of(data_dir: Path, sides: Iterable[str]) -> list[Path]:
    """Return the files to check: what is there of each side, and utt2spk wherever there is audio."""
    files = {
        p
        for side in sides
        for stem in ("text", "wav.scp", "segments")
        if (p := side_path(data_dir, stem, side)).is_file()
    }
    if any(p.name.startswith("wav.scp") for p in files) or (data_dir / "utt2spk").is_file():
        files.add(data_dir / "utt2spk")
    return sorted(files)


def _drop_bad_values(path: Path, table: Table) -> None:
    """Move the entries whose value is wrong for their file to what is bad."""
    places = []
    for place, (key, value) in enumerate(table.entries.items()):
        if kind := _value_fault(path.name, value):
            table.bad.append(BadItem(key, kind, str(path), printable(value)))
            places.append(place)
    table.entries = table.entries.without(places)


def _value_fault(name: str, value: str) -> str:
    if CONTROL_PATTERN.search(value):
        return "control character"
    if name.startswith("wav.scp") and value.endswith("|"):
        return "a command"
    if name.startswith("text") and (len(value.split()) > MAX_WORDS or len(value) > MAX_CHARACTERS):
        return "too many words"
    return "bad id" if name == "utt2spk" and not is_id(value) else ""


def _scan_audio(tables: dict[Path, Table], wav_scp: Path, segments: Path) -> tuple[Spans, list[BadItem]]:
    if segments in tables:
        return _read_segments(segments, tables[segments].entries, tables[wav_scp].entries)
    return Spans(tables[wav_scp].entries), []


def _keyed(tables: dict[Path, Table], data_dir: Path, sides: Iterable[str]) -> dict[Path, Table]:
    """Return the tables whose ids are utterances: not a wav.scp that `segments` cuts, nor files that are no tables."""
    segmented = {
        side_path(data_dir, "wav.scp", side) for side in sides if side_path(data_dir, "segments", side) in tables
    }
    return {path: table for path, table in tables.items() if path not in segmented and not table.problems}


def _compare_ids(keyed: dict[Path, Table], bad_ids: set[str]) -> tuple[list[BadItem], list[str]]:
    """Go through all tables together, in the order of their ids; return what is missing where, and the ids that are
    right everywhere.
    """
    paths, bad, good = list(keyed), [], []
    streams = [
        zip(merge(table.entries, sorted(ids_of(table.bad))), repeat(i)) for i, table in enumerate(keyed.values())
    ]
    for key, found in groupby(merge(*streams), key=itemgetter(0)):
        there = {i for _, i in found}
        if len(there) < len(paths):
            others = ", ".join(sorted(paths[i].name for i in there))
            bad += [
                BadItem(key, "missing in a file", str(p), f"no line here, but in {others}")
                for i, p in enumerate(paths)
                if i not in there
            ]
        elif key not in bad_ids:
            good.append(key)
    return bad, good


def _check_spk2utt(data: DataDir) -> list[Problem]:
    """Compare the good utterances; a bad one may be in spk2utt or not."""
    path, bad = data.path / "spk2utt", ids_of(data.bad)
    utt2spk = {key: data.speakers[key] for key in data.ids if key in data.speakers}
    if not utt2spk:
        return []
    found = "no such file"
    if path.is_file():
        found = "a file that is not the inverse of utt2spk"
        listed = {key: speaker for speaker, keys in scan_table(path).entries.items() for key in keys.split()}
        if {key: speaker for key, speaker in listed.items() if key in utt2spk or printable(key) not in bad} == utt2spk:
            return []
    return [
        Problem(str(path), found, "the inverse of utt2spk", f"python -m speechlm.bin.validate_data {data.path} --fix")
    ]


# ---------------------------------------------------------------- fixing


def fix_spk2utt(data_dir: str | Path) -> None:
    """Rewrite `spk2utt` from the lines of `utt2spk` that are right."""
    path = Path(data_dir) / "utt2spk"
    table = scan_table(path)
    _drop_bad_values(path, table)
    write_table(path.with_name("spk2utt"), invert(table.entries))


def drop_incomplete(data_dir: str | Path, lang: str | None = None) -> list[str]:
    """Rewrite every file with only the utterances that are valid in all of them; return the ids dropped.

    Done only on request: a test set that shrinks silently makes scores incomparable.
    """
    data = scan_data_dir(data_dir, lang)
    bad = ids_of(data.bad + check_headers(data))
    tables = {path: scan_table(path) for path in _files_of(data.path, data.sides)}
    keyed = _keyed(tables, data.path, data.sides)
    for path, table in tables.items():
        kept = set(data.ids) - bad if path in keyed else set(table.entries) - bad
        write_table(path, {key: value for key, value in table.entries.items() if key in kept})
    if (data.path / "utt2spk").is_file():
        fix_spk2utt(data.path)
    return sorted(bad)
