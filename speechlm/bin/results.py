"""Collect score.json files into one table: `python -m speechlm.bin.results exp --out exp`.

Takes score.json files, or folders to look for them in. Writes `<out>/results.json` (all rows) and `<out>/RESULTS.md`,
and prints the table. The ceilings (original recordings, codec reconstruction) come first in each group. Figures of
different protocols are never mixed in a group: that is an error, unless --protocol chooses among them.
"""

import argparse
import re
from itertools import groupby
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write
from speechlm.metrics.rows import NOT_ENDED, Row, write_rows
from speechlm.metrics.table import CEILINGS, FIGURES, HEADER, collect, markdown_table, table_cells

TOLD = (
    "Written by `python -m speechlm.bin.results`. WER and CER in percent; 95 %: confidence interval (bootstrap over"
    " utterances); n is the number of utterances."
)
NOTABLE = 0.02  # share of outputs that did not end
DEAF = {"WER": 50.0, "CER": 50.0}  # of a recogniser that gets so much of the original recordings wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path, help="score.json files, or folders that hold some")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument(
        "--protocol", help="use only rows of the protocol with this name (and rows that have none, such as perplexity)"
    )
    args = parser.parse_args()
    rows = collect(args.scores, args.protocol)
    write_rows(args.out / "results.json", rows)
    with atomic_write(args.out / "RESULTS.md") as stream:
        stream.write(markdown(rows))
    print(plain(rows))
    print("\n".join([*warnings(rows), f"{args.out}/RESULTS.md: {len(rows)} rows"]))


def warnings(rows: list[Row]) -> list[str]:
    """Return a line for each model and test set of which a notable share of the outputs did not end by itself, and for
    each whose originals the recogniser does not understand.
    """
    found = {}
    for row in rows:
        cut = re.search(rf"\|{NOT_ENDED}:(\d+)", row.signature)
        if cut and int(cut[1]) > NOTABLE * row.n:
            message = f"{cut[1]} outputs (n = {row.n}) did not end by themselves, and were cut at max_rows"
            found.setdefault(
                (row.model, row.task, row.test_set), f"warning: {row.model} {row.task} {row.test_set}: {message}"
            )
        if row.model == CEILINGS[0] and row.value > DEAF.get(row.metric, row.value):
            found[row.task, row.test_set] = (
                f"warning: {row.task} {row.test_set}: the recogniser does not understand the original recordings"
                f" ({row.metric} {row.value:.1f}), so its figures here say little. Take one that does: --stage 9"
                " --judge whisper:MODEL (openai/whisper-base.en or larger)"
            )
    return list(found.values())


def plain(rows: list[Row]) -> str:
    """Return an aligned table for the terminal, groups apart."""
    cells, signatures = table_cells(rows)
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
    notes = [f"{text}  " for text in warnings(rows)]
    return "\n".join([TOLD, "", *notes, *([""] if notes else []), markdown_table(rows), ""])


if __name__ == "__main__":
    run_main(main)
