"""Error by speaker, by length and by voice: the same metric over parts of a test set, with its confidence interval."""

from typing import Callable, Iterable

import numpy as np

from speechlm.data.languages import by_character
from speechlm.metrics.bootstrap import interval
from speechlm.metrics.rows import Row
from speechlm.metrics.table import LOWER_IS_BETTER, Key, counts_of, metric_of
from speechlm.report.experiment import Group, System

MOST_SPEAKERS = 30  # bars that a person can look at
LENGTH_BINS = 5
HEARD, UNHEARD = "heard in training", "not heard in training"
PartOf = Callable[[dict], str]  # which part of the test set a line belongs to; "" for none


def length_of(line: dict) -> int:
    """Return the length of the reference: words, or characters in languages written without spaces."""
    text = line["ref_norm"]
    return len("".join(text.split())) if by_character(line["lang"]) else len(text.split())


def by_speaker(group: Group) -> dict:
    """Return the error of each speaker; of many, of those that the first model is worst at."""
    return _broken_down([group], lambda line: line.get("speaker", ""), most=MOST_SPEAKERS)


def by_length(group: Group) -> dict:
    """Return the error of bins of equal numbers of utterances, by length of the reference."""
    lengths = [length_of(line) for line in group.systems[0].lines.values()]
    inner = np.quantile(lengths, np.arange(1, LENGTH_BINS) / LENGTH_BINS, method="inverted_cdf").astype(int).tolist()
    bounds = sorted({*inner, max(lengths)})  # the last length of each bin
    starts = [min(lengths), *(bound + 1 for bound in bounds[:-1])]
    names = [f"{start}" if start == end else f"{start} to {end}" for start, end in zip(starts, bounds)]
    return _broken_down([group], lambda line: names[int(np.searchsorted(bounds, length_of(line)))], order=names)


def by_voice(groups: list[Group], trained: set[str]) -> dict:
    """Return the error of voices heard in training and of others, over all test sets of a task."""
    return _broken_down(
        groups, lambda line: (HEARD if line["speaker"] in trained else UNHEARD) if line.get("speaker") else ""
    )


def _broken_down(groups: list[Group], part_of: PartOf, most: int = 0, order: Iterable[str] = ()) -> dict:
    """Return {"parts": [{name, n}], "of": number of all parts, "values": {metric: {system: [[value, low, high] of each
    part]}}}.
    """
    sizes: dict[str, int] = {}
    for line in (line for group in groups for line in group.systems[0].lines.values()):
        if part := part_of(line):
            sizes[part] = sizes.get(part, 0) + 1
    parts = [name for name in order if name in sizes] or sorted(sizes)
    if len(parts) < 2:
        return {"parts": [], "of": len(parts), "values": {}}
    found = {
        (system.name, metric): _counts(groups, system.name, metric, part_of) for system, metric in _figures(groups)
    }
    if most and len(parts) > most:
        [(_, metric), counted] = next(iter(found.items()))
        parts = _worst(parts, counted, metric in LOWER_IS_BETTER)[:most]
    values: dict[str, dict[str, list]] = {}
    for (system, metric), (value_of, counts) in found.items():
        values.setdefault(metric, {})[system] = [_with_interval(value_of, counts.get(part)) for part in parts]
    return {"parts": [{"name": part, "n": sizes[part]} for part in parts], "of": len(sizes), "values": values}


def _figures(groups: list[Group]) -> list[tuple[System, str]]:
    return [
        (system, metric)
        for group in groups
        for system in group.systems
        for metric in dict.fromkeys(row.metric for row in system.rows)
    ]


def _counts(groups: list[Group], name: str, metric: str, part_of: PartOf) -> tuple[Callable, dict[str, np.ndarray]]:
    """Return the metric's formula, and the counts of each part's utterances."""
    by_part: dict[str, list[dict]] = {}
    row: Row | None = None
    for system in (system for group in groups for system in group.systems if system.name == name):
        row = next((row for row in system.rows if row.metric == metric), row)
        for line in system.lines.values():
            if metric in line and (part := part_of(line)):
                by_part.setdefault(part, []).append(line)
    formula = metric_of(row)
    return formula.value, {part: counts_of(formula, metric, lines) for part, lines in by_part.items()}


def _with_interval(value_of: Callable, counts_NC: np.ndarray | None) -> list[float] | None:
    if counts_NC is None:
        return None
    return [round(float(v), 3) for v in (value_of(counts_NC.sum(axis=0)[None])[0], *interval(counts_NC, value_of))]


def _worst(parts: list[str], counted: tuple[Callable, dict[str, np.ndarray]], lower: bool) -> list[str]:
    value_of, counts = counted
    values = {part: float(value_of(counts[part].sum(axis=0)[None])[0]) for part in parts if part in counts}
    return sorted(values, key=lambda part: (-values[part] if lower else values[part], part))


def keys_by_badness(system: System, metrics: list[str], lower: Callable[[str], bool]) -> list[Key]:
    """Return the utterances of a system, the worst first: by its first metric, then the others, then the longer."""

    def badness(key: Key) -> tuple:
        line = system.lines[key]
        return *((line[m] if lower(m) else -line[m]) for m in metrics if m in line), length_of(line)

    return sorted(sorted(system.lines), key=badness, reverse=True)
