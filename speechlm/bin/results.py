"""Collect score.json files into one table: `python -m speechlm.bin.results exp --out exp`.

Takes score.json files, or folders to look for them in. Writes `<out>/results.json` (all rows) and `<out>/RESULTS.md`,
and prints the table. The ceilings (original recordings, codec reconstruction) stand first in each group.
"""

import argparse
from itertools import groupby
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write
from speechlm.metrics.rows import Row, read_rows, write_rows

CEILINGS = ("originals", "codec reconstruction")
HEADER = ("task", "test set", "metric", "model", "value", "n", "signature")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path, help="score.json files, or folders that hold some")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    rows = collect(args.scores)
    write_rows(args.out / "results.json", rows)
    with atomic_write(args.out / "RESULTS.md") as stream:
        stream.write(markdown(rows))
    print(plain(rows))
    print(f"{args.out}/RESULTS.md: {len(rows)} rows")


def collect(paths: list[Path]) -> list[Row]:
    """Return all rows, sorted; raise ValueError if there are none, or two different values for one figure."""
    files = sorted({file for path in paths for file in (path.rglob("score.json") if path.is_dir() else [path])})
    found: dict[tuple, tuple[Row, Path]] = {}
    for file in files:
        for row in read_rows(file):
            other, where = found.setdefault(row.key, (row, file))
            if other != row:
                raise ValueError(
                    f"{file} and {where} differ on {' / '.join(row.key)} ({row.value} and {other.value}). Delete the outdated one."
                )
    if not found:
        raise ValueError(f"no score.json in {', '.join(map(str, paths))}. Score first: python -m speechlm.bin.score")
    return sorted((row for row, _ in found.values()), key=_order)


def _order(row: Row) -> tuple:
    rank = CEILINGS.index(row.model) if row.model in CEILINGS else len(CEILINGS)
    return row.task, row.test_set, row.metric, rank, row.model


def _cells(rows: list[Row]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the table's cells, with numbers in place of signatures, and the numbered signatures."""
    signatures = list(dict.fromkeys(row.signature for row in rows))
    cells = [(r.task, r.test_set, r.metric, r.model, f"{r.value:.2f}", str(r.n), f"[{signatures.index(r.signature) + 1}]") for r in rows]
    return cells, signatures


def plain(rows: list[Row]) -> str:
    """Return an aligned table for the terminal, groups apart."""
    cells, signatures = _cells(rows)
    widths = [max(len(line[i]) for line in [HEADER, *cells]) for i in range(len(HEADER))]
    lines = [_align(HEADER, widths)]
    for _, group in groupby(cells, key=lambda c: c[:3]):
        lines += ["", *(_align(line, widths) for line in group)]
    return "\n".join([*lines, "", *(f"[{i}] {s}" for i, s in enumerate(signatures, start=1))])


def _align(line: tuple[str, ...], widths: list[int]) -> str:
    padded = [cell.rjust(w) if 4 <= i <= 5 else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))]
    return "  ".join(padded).rstrip()


def markdown(rows: list[Row]) -> str:
    """Return RESULTS.md: one table, then the signatures."""
    cells, signatures = _cells(rows)
    lines = ["# Results", "", "Written by `python -m speechlm.bin.results`. WER and CER in percent; n is the number of utterances.", ""]
    lines += [f"| {' | '.join(HEADER)} |", "|" + "|".join("---:" if 4 <= i <= 5 else "---" for i in range(len(HEADER))) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in cells]
    lines += ["", "Signatures:", "", *(f"{i}. `{s}`" for i, s in enumerate(signatures, start=1)), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
