"""Text for CPT and perplexity: files of plain text, JSON lines or Parquet to text-only data directories.

General text is one language a directory (`general_en`, `general_zh`), cut into pieces that a row of training holds.
Translations are two files with as many lines (`mt_text`). LAMBADA (`lambada`) is JSON lines with `text`, whose last
word is to be guessed; it is kept as it is.
"""

import json
from pathlib import Path
from typing import Iterator

from speechlm.data.corpora.sets import plain
from speechlm.data.kaldi import MAX_CHARACTERS, MAX_WORDS, write_data_dir
from speechlm.data.plaintext import read_lines

PIECE_WORDS, PIECE_CHARACTERS = 400, 2000  # about 600 tokens: several share a row of 4,096
PARQUET = 'pip install "speechlm[parquet]" (pyarrow)'


def write_general(files: dict[str, list[Path]], datadir: Path) -> list[str]:
    """Write `datadir/general_<lang>` of each language; return the names of the sets."""
    for lang, paths in files.items():
        pieces = [piece for path in paths for text in read_texts(path) for piece in cut(text)]
        _write(datadir / f"general_{lang}", {lang: pieces})
    return [f"general_{lang}" for lang in files]


def write_translations(files: dict[str, Path], datadir: Path) -> None:
    """Write `datadir/mt_text` of line-by-line translations; lines that are empty or too long on a side are left out and
    counted.
    """
    sides = {lang: [plain(text) for text in read_texts(path)] for lang, path in files.items()}
    counts = {lang: len(lines) for lang, lines in sides.items()}
    if len(sides) != 2 or len(set(counts.values())) > 1:
        found = ", ".join(f"{files[lang]}: {count} lines" for lang, count in counts.items())
        raise ValueError(
            f"--mt_text: found {found}; expected two files with as many lines, each a translation of the other's."
        )
    pairs = [pair for pair in zip(*sides.values()) if all(pair) and not any(map(_too_long, pair))]
    print(
        f"mt_text: {len(pairs)} pairs, {next(iter(counts.values())) - len(pairs)} left out because a side is empty or"
        " too long",
        flush=True,
    )
    _write(datadir / "mt_text", dict(zip(sides, map(list, zip(*pairs)))))


def write_lambada(path: Path, datadir: Path) -> None:
    """Write `datadir/lambada`, every passage whole: text.en."""
    _write(datadir / "lambada", {"en": [plain(text) for text in read_texts(path)]})


def _write(folder: Path, texts: dict[str, list[str]]) -> None:
    lines = len(next(iter(texts.values()), []))
    if not lines:
        raise ValueError(f"{folder.name}: no text. Check the files given.")
    ids = [f"{folder.name}-{i:09d}" for i in range(lines)]
    write_data_dir(folder, {f"text.{lang}": dict(zip(ids, found)) for lang, found in texts.items()})
    print(f"{folder}: {lines} texts", flush=True)


def read_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file: lines of *.txt (any other name), `text` of *.jsonl, the column `text` of *.parquet."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected plain text, *.jsonl or *.parquet with `text`")
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield json.loads(line)["text"] if path.suffix == ".jsonl" else line.rstrip("\r\n")
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'{path}:{number}: not a JSON object with "text"; found {line[:60]!r}') from None


def _read_parquet(path: Path) -> Iterator[str]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"{path}: Parquet needs a package more: {PARQUET}") from None
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=["text"]):
        yield from batch.column("text").to_pylist()


def cut(text: str) -> Iterator[str]:
    """Yield pieces of at most PIECE_WORDS words and PIECE_CHARACTERS characters, ended at a space where there
    is one.
    """
    words = plain(text).split(" ")
    piece: list[str] = []
    length = 0
    for word in (part for whole in words for part in _parts(whole)):
        if piece and (len(piece) == PIECE_WORDS or length + len(word) > PIECE_CHARACTERS):
            yield " ".join(piece)
            piece, length = [], 0
        piece.append(word)
        length += len(word) + 1
    if any(piece):
        yield " ".join(piece)


def _parts(word: str) -> list[str]:
    """Return a `word` in parts, if it is longer than a piece: Mandarin without spaces."""
    return [word[i : i + PIECE_CHARACTERS] for i in range(0, len(word), PIECE_CHARACTERS)] or [word]


def _too_long(text: str) -> bool:
    return len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS
