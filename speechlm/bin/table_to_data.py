"""Write a Kaldi data directory from one tab-separated table with a header line.

`python -m speechlm.bin.table_to_data --table train.tsv --out data/train`

    id      speaker  wav.es        text.es        wav.en        text.en
    utt001  ana      es/001.wav    hola           en/001.wav    hello

Columns: `id`; `speaker` if there is audio; `wav` and `text`, with a language suffix in a parallel corpus.
Audio paths are relative to the table. Recordings and texts are checked by the stage of the codes (or by validate_data).
"""

import argparse
import csv
import re
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.kaldi import SIDE_PATTERN, write_data_dir
from speechlm.data.plaintext import read_lines

COLUMN = re.compile(rf"(wav|text)({SIDE_PATTERN.pattern})?")
FILE_NAMES = {"wav": "wav.scp", "text": "text"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = read_rows(args.table)
    write_data_dir(args.out, rows_to_tables(rows, args.table))
    print(f"{args.out}: {len(rows)} utterances from {args.table}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table as {column: value}; raise ValueError for a bad header, row or repeated id."""
    if not path.is_file():
        raise ValueError(
            f"{path}: no such table. Write one line per utterance under a header line `id speaker wav text` (tabs)."
        )
    reader = csv.DictReader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = list(reader.fieldnames or [])
    _check_header(path, columns)
    rows = list(reader)
    if not rows:
        raise ValueError(f"{path}: found a header line only. Write one line per utterance under it.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(
                f"{path}:{number}: expected {len(columns)} tab-separated fields ({' '.join(columns)}), found another"
                " number"
            )
    lines: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        if (first := lines.setdefault(row["id"], number)) != number:
            found = f"the id {row['id']} occurs twice, first in line {first}"
            raise ValueError(f"{path}:{number}: {found}. Give every utterance an id of its own.")
    return rows


def _check_header(path: Path, columns: list[str]) -> None:
    unknown = [c for c in columns if c not in ("id", "speaker") and not COLUMN.fullmatch(c)]
    if unknown or "id" not in columns or not any(COLUMN.fullmatch(c) for c in columns):
        raise ValueError(
            f"{path}: found the columns {columns}; expected id, speaker, wav[.<lang>], text[.<lang>], separated by tabs"
        )
    if "speaker" not in columns and any(c.startswith("wav") for c in columns):
        raise ValueError(
            f"{path}: found audio without a speaker column. Add one. If speakers are unknown, give each utterance its"
            " id: nothing else is then known of its voice, and synthesis is trained and tested without voice prompts."
        )


def rows_to_tables(rows: list[dict[str, str]], table: Path) -> dict[str, dict[str, str]]:
    """Return {Kaldi file name: {id: value}}, audio paths resolved against the table's folder."""
    tables = {}
    for column in rows[0]:
        if match := COLUMN.fullmatch(column):
            name = FILE_NAMES[match[1]] + (match[2] or "")
            tables[name] = {r["id"]: str(table.parent / r[column]) if match[1] == "wav" else r[column] for r in rows}
        elif column == "speaker":
            tables["utt2spk"] = {row["id"]: row["speaker"] for row in rows}
    return tables


if __name__ == "__main__":
    run_main(main)
