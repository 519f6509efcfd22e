"""Rows of several score.json files in one table, and the utterances behind a row."""

import re
from pathlib import Path
from typing import Iterable

import numpy as np

from speechlm.data.files import walk
from speechlm.metrics.rows import Row, read_rows
from speechlm.metrics.scoring import Mean, Perplexity
from speechlm.metrics.text import METRICS, TextMetric, make_metric

CEILINGS = ("originals", "codec reconstruction")
LOWER_IS_BETTER = frozenset(
    {"WER", "CER", "ppl", "ppl_unmasked", "mel_distance", "mstft_distance"}
    | {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score"}  # of lm-evaluation-harness
)
LOCK = ".lock"  # every run of a recipe leaves it in its folder of results
HEADER = ("task", "test set", "metric", "model", "value", "95 %", "n", "signature")
FIGURES = range(4, 7)  # columns of numbers
Key = tuple[str, str]  # id and language of an utterance


def collect(paths: list[Path], protocol: str | None = None) -> list[Row]:
    """Return all rows, sorted.

    Raises ValueError if there are none, if one figure has two values, or if a group (task, test set, metric) mixes
    protocols.
    """
    found = [(row, file) for file in score_files(paths) for row in select(read_rows(file), protocol)]
    if not found:
        of = f" of protocol {protocol}" if protocol else ""
        raise ValueError(
            f"no score.json{of} in {', '.join(map(str, paths))}. Score first: python -m speechlm.bin.score"
        )
    return in_order(found)


def score_files(paths: Iterable[Path]) -> list[Path]:
    """Return the score.json files among paths and in folders; those of an experiment within an experiment (exp/tiny)
    are not its own.
    """
    return sorted({file for path in paths for file in (_files_in(path) if path.is_dir() else [path])})


def _files_in(folder: Path) -> list[Path]:
    files = list(walk(folder))
    inner = [file.parent for file in files if file.name == LOCK and file.parent != folder]
    return [file for file in files if file.name == "score.json" and not any(path in file.parents for path in inner)]


def select(rows: list[Row], protocol: str | None) -> list[Row]:
    """Return the rows of a protocol, and those that have none, such as perplexity."""
    return [
        row for row in rows if not protocol or not row.protocol or row.signature.startswith(f"protocol:{protocol}|")
    ]


def in_order(found: list[tuple[Row, Path]]) -> list[Row]:
    """Return each row once, sorted, the ceilings first in their group; raise ValueError for rows that can't stand in
    one table.
    """
    _refuse_mixtures(found)
    return sorted(_without_doubles(found), key=_order)


def _refuse_mixtures(found: list[tuple[Row, Path]]) -> None:
    """Raise ValueError naming two files whose figures would stand in one group but were measured differently."""
    first: dict[tuple, tuple[Row, Path]] = {}
    for row, file in found:
        other, where = first.setdefault(row.key[:3], (row, file))
        if other.protocol != row.protocol:
            raise ValueError(
                f"{' / '.join(row.key[:3])} was scored in two ways, which are not comparable:\n  {where}:"
                f" {_told(other)}\n "
                f" {file}: {_told(row)}\nScore both alike (stage 9 with the same --protocol and --judge), or take one:"
                " python -m speechlm.bin.results --protocol NAME"
            )


def _told(row: Row) -> str:
    return row.signature if row.protocol else f"before there were protocols ({row.signature})"


def _without_doubles(found: list[tuple[Row, Path]]) -> list[Row]:
    kept: dict[tuple, tuple[Row, Path]] = {}
    for row, file in found:
        other, where = kept.setdefault(row.key, (row, file))
        if other != row:
            figures = f"({row.value} and {other.value})"
            raise ValueError(f"{file} and {where} differ on {' / '.join(row.key)} {figures}. Delete the outdated one.")
    return [row for row, _ in kept.values()]


def _order(row: Row) -> tuple:
    rank = CEILINGS.index(row.model) if row.model in CEILINGS else len(CEILINGS)
    return row.task, row.test_set, row.metric, rank, row.model


def keys_of(row: Row, lines: dict[Key, dict]) -> list[Key]:
    """Return the utterances of a row: all, or those of the languages at the end of its test set's name (test.es,
    test.es+en).

    A measure that is not of all utterances (similarity, of speakers with another recording) has those that have its
    value.
    """
    langs = set(row.test_set.rpartition(".")[2].split("+"))
    keys = [key for key in lines if key[1] in langs] if langs <= {lang for _, lang in lines} else list(lines)
    return [key for key in keys if row.metric in lines[key]] if any(row.metric in lines[key] for key in keys) else keys


def metric_of(row: Row) -> TextMetric | Mean | Perplexity:
    """Return the metric of a row, to compute it over other utterances."""
    name = row.metric.removeprefix("ASR-")
    if name in ("ppl", "ppl_unmasked"):
        return Perplexity(name, row.protocol)
    tokeniser = re.search(r"\btok:(ja-mecab|[^|]+)", row.protocol)  # a signature has MeCab's version too
    return make_metric(name, "", tokeniser[1] if tokeniser else "13a") if name in METRICS else Mean(name, row.protocol)


def counts_of(metric: TextMetric | Mean | Perplexity, name: str, lines: list[dict]) -> np.ndarray:
    """Return counts_NC of lines of utterances.jsonl; `name` is the metric's in the row."""
    if isinstance(metric, (Mean, Perplexity)):
        return metric.counts([line[name] for line in lines])
    return metric.counts([line["hyp_norm"] for line in lines], [line["ref_norm"] for line in lines])


def table_cells(rows: list[Row]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the table's cells, with numbers in place of signatures, and the numbered signatures."""
    signatures = list(dict.fromkeys(row.signature for row in rows))
    cells = [
        (
            r.task,
            r.test_set,
            r.metric,
            r.model,
            f"{r.value:.2f}",
            _interval(r),
            str(r.n),
            f"[{signatures.index(r.signature) + 1}]",
        )
        for r in rows
    ]
    return cells, signatures


def _interval(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"


def markdown_table(rows: list[Row]) -> str:
    """Return a table in Markdown, then the numbered signatures."""
    cells, signatures = table_cells(rows)
    lines = [
        f"| {' | '.join(HEADER)} |",
        "|" + "|".join("---:" if i in FIGURES else "---" for i in range(len(HEADER))) + "|",
    ]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in cells]
    return "\n".join([*lines, "", "Signatures:", "", *(f"{i}. `{s}`" for i, s in enumerate(signatures, start=1))])
