"""Collect score.json files into one table: `python -m speechlm.bin.results exp --out exp`.

Takes score.json files, or folders to look for them in. Writes `<out>/results.json` (all rows) and `<out>/RESULTS.md`,
and prints the table. The ceilings (original recordings, codec reconstruction) stand first in each group. Figures of different
protocols never stand in one group: they are refused, or chosen by --protocol.
"""

import argparse
from itertools import groupby
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write
from speechlm.metrics.rows import Row, write_rows
from speechlm.metrics.table import collect

HEADER = ("task", "test set", "metric", "model", "value", "95 %", "n", "signature")
TOLD = (
    "Written by `python -m speechlm.bin.results`. WER and CER in percent; 95 %: confidence interval (bootstrap over utterances); "
    "n is the number of utterances."
)
FIGURES = range(4, 7)  # columns of numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path, help="score.json files, or folders that hold some")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--protocol", help="take only rows of the protocol of this name (and rows that have none, such as perplexity)")
    args = parser.parse_args()
    rows = collect(args.scores, args.protocol)
    write_rows(args.out / "results.json", rows)
    with atomic_write(args.out / "RESULTS.md") as stream:
        stream.write(markdown(rows))
    print(plain(rows))
    print(f"{args.out}/RESULTS.md: {len(rows)} rows")


def _cells(rows: list[Row]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the table's cells, with numbers in place of signatures, and the numbered signatures."""
    signatures = list(dict.fromkeys(row.signature for row in rows))
    cells = [
        (r.task, r.test_set, r.metric, r.model, f"{r.value:.2f}", _interval(r), str(r.n), f"[{signatures.index(r.signature) + 1}]")
        for r in rows
    ]
    return cells, signatures


def _interval(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"


def plain(rows: list[Row]) -> str:
    """Return an aligned table for the terminal, groups apart."""
    cells, signatures = _cells(rows)
    widths = [max(len(line[i]) for line in [HEADER, *cells]) for i in range(len(HEADER))]
    lines = [_align(HEADER, widths)]
    for _, group in groupby(cells, key=lambda c: c[:3]):
        lines += ["", *(_align(line, widths) for line in group)]
    return "\n".join([*lines, "", *(f"[{i}] {s}" for i, s in enumerate(signatures, start=1))])


def _align(line: tuple[str, ...], widths: list[int]) -> str:
    padded = [cell.rjust(w) if i in FIGURES else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))]
    return "  ".join(padded).rstrip()


def markdown(rows: list[Row]) -> str:
    """Return RESULTS.md: one table, then the signatures."""
    return f"# Results\n\n{table(rows)}"


def table(rows: list[Row]) -> str:
    """Return the table and its signatures as Markdown, with a line that says what they are."""
    cells, signatures = _cells(rows)
    lines = [TOLD, "", f"| {' | '.join(HEADER)} |", "|" + "|".join("---:" if i in FIGURES else "---" for i in range(len(HEADER))) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in cells]
    lines += ["", "Signatures:", "", *(f"{i}. `{s}`" for i, s in enumerate(signatures, start=1)), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
