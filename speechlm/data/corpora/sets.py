"""From the rows of a corpus to a data directory: utterances that lack a side are reported, and a test set is never
shortened by a bad recording.

A training set is written without the utterances that lack a recording or a text, or whose recording is empty (0 bytes);
they stand in `unusable.tsv` beside it. In a development or test set something missing is an error, since it can be
fetched; an empty recording was published as such, so the utterance stays, with half a second of inaudible noise in its
place, to be decoded like any other.
"""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterable, Sequence

import numpy as np

from speechlm.data.archives import unpack
from speechlm.data.audio import Span, save_wav
from speechlm.data.corpus import Found, measure
from speechlm.data.download import RemoteFile, fetch
from speechlm.data.items import BadItem, count_kinds, ids_of, shorten, write_items
from speechlm.data.kaldi import CONTROL_PATTERN, write_data_dir
from speechlm.data.plaintext import read_lines

UNUSABLE = "unusable.tsv"
MISSING_TEXT, MISSING_AUDIO, EMPTY_AUDIO, DUPLICATE = (
    "empty",
    "missing file",
    "empty file",
    "duplicate id",
)  # of speechlm.data.items
STAND_IN_SEC, STAND_IN_HZ, STAND_IN_LEVEL = 0.5, 16000, 1e-3  # -60 dB: not heard, but not refused as silence


@dataclass
class RawSet:
    """A set as the corpus lists it: `ids` in its order, and what there is for each, by language (missing parts are
    absent).

    `repeated` are ids that it lists more than once; their first line counts.
    """

    name: str
    ids: list[str]
    audio: dict[str, dict[str, Span]]
    texts: dict[str, dict[str, str]]
    speakers: dict[str, str]
    repeated: list[str] = field(default_factory=list)


def write_set(raw: RawSet, folder: Path, may_shrink: bool, partial: bool) -> Found:
    """Write `folder` (with `unusable.tsv`), print what was found, and return its size, unusable utterances counted.

    `partial`: the copy of the corpus is known to be incomplete, so that test sets may lack recordings too. Otherwise it
    is a ValueError if a test set lacks something, and in any case if nothing is left.
    """
    faults = find_faults(raw)
    empty = [item for item in faults if item.kind == EMPTY_AUDIO]
    lacking = [item for item in faults if item.kind not in (EMPTY_AUDIO, DUPLICATE)]
    if lacking and not may_shrink and not partial:
        raise ValueError(
            f"{raw.name}: {len(ids_of(lacking))} of {len(raw.ids)} utterances lack a side ({_describe(lacking)}). A"
            " test set is never shortened: fetch the rest of the corpus, or say that this is only a part of it:"
            " --partial true"
        )
    unusable = ids_of(lacking) | (ids_of(empty) if may_shrink else set())
    kept = [key for key in raw.ids if key not in unusable]
    if not kept:
        raise ValueError(
            f"{raw.name}: none of {len(raw.ids)} utterances can be used ({_describe(lacking + empty)}). Check the paths"
            " given."
        )
    if not may_shrink:
        _stand_in(raw, [item for item in empty if item.id not in unusable], folder)
    write_data_dir(folder, _tables(raw, kept))
    write_items(folder / UNUSABLE, faults)
    print(
        f"{folder}: {len(raw.ids)} listed, {len(kept)} written"
        + (f"; {_describe(faults)}: see {folder / UNUSABLE}" if faults else "")
    )
    found = measure(folder, next(iter(raw.audio)))
    return replace(found, utterances=len(raw.ids))


def find_faults(raw: RawSet) -> list[BadItem]:
    """Return what each utterance lacks, by language, and what is listed twice."""
    faults = [
        BadItem(key, DUPLICATE, "the corpus's list", "listed more than once, the first line counts")
        for key in raw.repeated
    ]
    for lang, texts in raw.texts.items():
        faults += [
            BadItem(key, MISSING_TEXT, f"text.{lang}", f"no {lang} text")
            for key in raw.ids
            if not texts.get(key, "").strip()
        ]
    for lang, audio in raw.audio.items():
        sizes: dict[str, int | None] = {}
        for key in raw.ids:
            path = audio[key].path if key in audio else None
            if path not in sizes:
                sizes[path] = _size(path)
            if sizes[path] is None:
                faults.append(
                    BadItem(
                        key, MISSING_AUDIO, f"wav.scp.{lang}", f"no {lang} recording{f' at {path}' if path else ''}"
                    )
                )
            elif sizes[path] == 0:
                faults.append(BadItem(key, EMPTY_AUDIO, f"wav.scp.{lang}", f"{path}: 0 bytes"))
    return faults


def _size(path: str | None) -> int | None:
    try:
        return Path(path).stat().st_size if path else None
    except OSError:
        return None


def _describe(faults: Sequence[BadItem]) -> str:
    return f"{count_kinds(faults)}: {shorten(sorted(ids_of(faults)))}"


def _stand_in(raw: RawSet, empty: list[BadItem], folder: Path) -> None:
    """Point empty recordings of a test set to half a second of faint noise, the same for all."""
    if not empty:
        return
    path = (folder / "stand_in.wav").resolve()
    noise_T = STAND_IN_LEVEL * np.random.default_rng(0).uniform(-1, 1, int(STAND_IN_SEC * STAND_IN_HZ)).astype(
        np.float32
    )
    save_wav(path, noise_T, STAND_IN_HZ)
    for item in empty:
        raw.audio[item.file.removeprefix("wav.scp.")][item.id] = Span(str(path))


def _tables(raw: RawSet, kept: list[str]) -> dict[str, dict[str, str]]:
    """Return the Kaldi tables; a language whose audio is stretches of recordings gets `segments` too."""
    tables = {f"text.{lang}": {key: plain(texts[key]) for key in kept} for lang, texts in raw.texts.items()}
    tables["utt2spk"] = {key: raw.speakers[key] for key in kept}
    for lang, audio in raw.audio.items():
        spans = {key: audio[key] for key in kept}
        if all(span.end_sec is None for span in spans.values()):
            tables[f"wav.scp.{lang}"] = {key: span.path for key, span in spans.items()}
        else:
            tables[f"wav.scp.{lang}"] = {Path(span.path).stem: span.path for span in spans.values()}
            tables[f"segments.{lang}"] = {key: _segment(span) for key, span in spans.items()}
    return tables


def _segment(span: Span) -> str:
    end_sec = STAND_IN_SEC if span.end_sec is None else span.end_sec  # only a stand-in is a whole file among stretches
    return f"{Path(span.path).stem} {span.start_sec:.3f} {end_sec:.3f}"


def plain(text: str) -> str:
    """Return text without control characters, single-spaced, as a table can hold it."""
    return " ".join(CONTROL_PATTERN.sub(" ", text).split())


# ---------------------------------------------------------------- files


def read_tsv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the named columns of a tab-separated file with a header; quotes are letters, a backslash keeps a tab in
    its cell.

    (So do CoVoST's own scripts read and write it.) ValueError for missing columns, or naming rows with another number
    of cells.
    """
    rows, odd = [], []
    reader = csv.reader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
    header = next(reader, [])
    if missing := [name for name in columns if name not in header]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(header)}. Fetch the file again from its own"
            " site."
        )
    places = [header.index(name) for name in columns]
    for cells in reader:
        if len(cells) != len(header):
            odd.append(f"line {reader.line_num}")
        else:
            rows.append({name: cells[place] for name, place in zip(columns, places)})
    if odd:
        raise ValueError(
            f"{path}: {len(odd)} rows do not have {len(header)} cells ({shorten(odd)}). Fetch the file again from its"
            " own site."
        )
    return rows


def first_rows(rows: list[dict[str, str]], column: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return {value of `column`: its first row}, and the values that occur again."""
    found, repeated = {}, []
    for row in rows:
        if found.setdefault(row[column], row) is not row:
            repeated.append(row[column])
    return found, repeated


def obtain(place: str, name: str, downloads: Path) -> Path:
    """Return the folder of an archive given as an address, a file or already a folder; fetched and unpacked in
    `downloads`.

    `name` is what the archive is called there. ValueError if there is no such place.
    """
    if place.startswith(("http://", "https://")):
        fetch([RemoteFile(place, name)], downloads)
        place = str(downloads / name)
    path = Path(place)
    if path.is_dir():
        return path
    if not path.is_file():
        raise ValueError(f"{path}: neither a folder, nor an archive, nor an address. Give one of them.")
    return unpack(path, downloads / name.split(".tar")[0].split(".zip")[0])


def obtain_parts(place: str, files: dict[str, RemoteFile], downloads: Path) -> dict[str, Path]:
    """Return the folder of each part of a corpus, called as the part: below `place`, unpacked or an archive; if it is
    empty, fetched.

    ValueError names the parts that `place` lacks. Archives are unpacked in `downloads`, and are not needed any more.
    """
    if not place:
        fetch([file for part, file in files.items() if not _unpacked(downloads, part).is_dir()], downloads)
    folder = Path(place or downloads)
    found = {part: _find_part(folder, part, file.name, downloads) for part, file in files.items()}
    if missing := [part for part, path in found.items() if path is None]:
        expected = ", ".join(f"{part}/ or {files[part].name}" for part in missing)
        raise ValueError(f"{folder}: found no {expected}. Give the folder that holds them, or none to fetch them.")
    return found


def _unpacked(downloads: Path, part: str) -> Path:
    return downloads / f"{part}.unpacked"


def _find_part(folder: Path, part: str, archive: str, downloads: Path) -> Path | None:
    """Return the folder of a part: in `folder` or one below, else in the archive that is there, which is
    unpacked once.
    """
    places, unpacked = [folder, *folder.glob("*/")], _unpacked(downloads, part)
    for place in places:
        if (place / part).is_dir() and place.name != part:
            return place / part
    for place in places:
        if (place / archive).is_file():
            unpack(place / archive, unpacked)
    return next((path for path in sorted(unpacked.rglob(part)) if path.is_dir()), None)


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return what a pattern finds, sorted; names that start with a dot (of other systems' copies) are no part of a
    corpus.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def report_unlisted(folder: Path, recordings: Iterable[str], listed: Iterable[str], table: str) -> None:
    """Print how many recordings a corpus's table does not list: they cannot be used."""
    if unlisted := sorted(set(recordings) - set(listed)):
        print(
            f"{folder}: {len(unlisted)} recordings are not in {table} and not used (first: {unlisted[0]})", flush=True
        )


def find_one(folder: Path, names: Sequence[str], deepest: int = 3) -> Path:
    """Return the first of `names` (patterns) that is somewhere below `folder`; ValueError lists what was looked for."""
    for name in names:
        for depth in range(deepest + 1):
            if found := sorted(folder.glob("*/" * depth + name)):
                return found[0]
    raise ValueError(
        f"{folder}: found no {' or '.join(names)} up to {deepest} folders below it. Give the folder that holds it."
    )
