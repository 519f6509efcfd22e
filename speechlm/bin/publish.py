"""Copy the figures of a run into published pages: `python -m speechlm.bin.publish --run exp/results.json RESULTS.md
../../README.md`.

`--run` is kept beside the first page as results.json, from which the pages are filled. Its table goes between these
lines:

    <!-- results: results.json -->
    <!-- end of results -->

and a figure within a text is followed by its row, as a comment that no reader sees: task, test set, metric, model. It
keeps its number of decimals:

    93.9<!-- results.json s2tt test BLEU sft -->

Paths are relative to the page. Without `--run` the pages are filled again from the kept results. No figure is typed by
hand.
"""

import argparse
import re
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.results import table
from speechlm.data.files import atomic_write
from speechlm.metrics.rows import Row, read_rows, write_rows

TABLE = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
FIGURE = re.compile(r"(-?\d+(?:\.(\d+))?)(<!-- (\S+\.json) (\S+) (\S+) (\S+) ([^>]+) -->)")
OPENED = re.compile(r"<!-- results: ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="results.json of a run")
    parser.add_argument("pages", nargs="+", type=Path, help="Markdown files")
    args = parser.parse_args()
    if args.run:
        write_rows(args.pages[0].with_name("results.json"), read_rows(args.run))
    for page in args.pages:
        text = published(page)
        with atomic_write(page) as stream:
            stream.write(text)
        print(f"{page}: filled")


def published(page: Path) -> str:
    """Return the text of a page with the figures of its artefacts; raise ValueError if it has none, or one names no
    row.
    """
    text = page.read_text(encoding="utf-8")
    if not FIGURE.search(text) and not TABLE.search(text):
        raise ValueError(
            f"{page}: no place for figures; expected <!-- results: FILE --> and <!-- end of results -->, or marked"
            " figures"
        )
    if len(OPENED.findall(text)) != len(TABLE.findall(text)):
        raise ValueError(
            f"{page}: a table that does not end; expected <!-- end of results --> after each <!-- results: FILE -->"
        )
    text = TABLE.sub(lambda m: f"{m[1]}\n{table(read_rows(page.parent / m[2]))}\n{m[3]}", text)
    return FIGURE.sub(lambda m: _figure(page, m), text)


def _figure(page: Path, found: re.Match) -> str:
    file, key = page.parent / found[4], tuple(found.groups()[4:])
    row = next((row for row in read_rows(file) if row.key == key), None)
    if row is None:
        raise ValueError(
            f"{page}: {' / '.join(key)} is no row of {file}; expected task, test set, metric and model of one"
        )
    return _rounded(row, len(found[2] or "")) + found[3]


def _rounded(row: Row, decimals: int) -> str:
    return f"{row.value:.{decimals}f}"


if __name__ == "__main__":
    run_main(main)
