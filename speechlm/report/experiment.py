"""What a report shows of experiments: rows of the table, systems with their utterances, curves of the trainings."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from speechlm.metrics.rows import UTTERANCES, Row, read_lines, read_rows
from speechlm.metrics.table import CEILINGS, LOCK, LOWER_IS_BETTER, Key, in_order, score_files, select

TRAINING = "train.jsonl"


@dataclass(frozen=True)
class System:
    """What one model, or one ceiling, made of a test set; `name` is that of its rows."""

    name: str
    ceiling: str  # its name in CEILINGS, "" for a model
    rows: list[Row]
    lines: dict[Key, dict]
    experiment: Path
    folder: Path


@dataclass(frozen=True)
class Group:
    """All systems on one test set of a task, the best model first, ceilings last: the same utterances with the same
    references.
    """

    task: str
    test_set: str
    systems: list[System]

    @property
    def keys(self) -> list[Key]:
        return sorted(self.systems[0].lines)

    @property
    def metrics(self) -> list[str]:
        """Metrics of the models, the first one first; metrics that only ceilings have (PESQ) come last."""
        return list(dict.fromkeys(row.metric for system in self.systems for row in system.rows))


@dataclass(frozen=True)
class Training:
    """One train.jsonl: {kind: lines with a step and figures}."""

    name: str
    experiment: str
    lines: dict[str, list[dict]]


@dataclass(frozen=True)
class Experiments:
    """All that was read of the experiments, and the files that it was read from."""

    rows: list[Row]
    groups: list[Group]
    trainings: list[Training]
    files: list[Path]


def load(experiments: list[Path], protocol: str | None = None) -> Experiments:
    """Read experiments; raise ValueError if one has no scores, or if figures or utterances of the same name don't
    compare.
    """
    found, systems, trainings, files = [], [], [], []
    for experiment, label in zip(experiments, labels(experiments)):
        scored = score_files([experiment])
        if not scored:
            raise ValueError(
                f"{experiment}: no score.json in it. Score first: ./run.sh --stage 9, or python -m speechlm.bin.score"
            )
        for file in scored:
            rows = _named(select(read_rows(file), protocol), label, [row for row, _ in found])
            found += [(row, file) for row in rows]
            lines = file.with_name(UTTERANCES)
            files += [path for path in (file, lines) if path.is_file()]
            if rows and lines.is_file():
                systems.append(_system(rows, lines, experiment))
        trainings += (read := _trainings(experiment, label))
        files += [experiment / training.name / TRAINING for training in read]
    if not found:
        raise ValueError(
            f"no scores of protocol {protocol} in {', '.join(map(str, experiments))}. Name another --protocol, or score"
            " with it."
        )
    return Experiments(in_order(found), _grouped(systems), trainings, files)


def labels(experiments: list[Path]) -> list[str]:
    """Return what tells experiments apart: nothing for one, else the part of their paths that differs."""
    if len(experiments) == 1:
        return [""]
    paths = [path.resolve() for path in experiments]
    if len(set(paths)) < len(paths):
        raise ValueError(f"an experiment is named twice: {' '.join(map(str, experiments))}. Name each once.")
    common = Path(os.path.commonpath(paths))
    return [path.relative_to(common).as_posix() if path != common else path.name for path in paths]


def _named(rows: list[Row], label: str, before: list[Row]) -> list[Row]:
    """Return rows whose model says which experiment it is of; ceilings only if they differ from those `before`."""
    known = {row.key: row for row in before}
    named = []
    for row in rows:
        if not label or (row.model in CEILINGS and known.get(row.key, row) == row):
            named.append(row)
        else:
            named.append(
                replace(row, model=f"{row.model} ({label})" if row.model in CEILINGS else f"{label}/{row.model}")
            )
    return named


def _system(rows: list[Row], path: Path, experiment: Path) -> System:
    ceiling = next((name for name in CEILINGS if rows[0].model.startswith(name)), "")
    lines = {(line["id"], line["lang"]): line for line in read_lines(path)}
    if not lines:
        raise ValueError(f"{path}: no utterances. Delete it and score again: python -m speechlm.bin.score")
    return System(rows[0].model, ceiling, rows, lines, experiment, path.parent)


def _set_of(system: System) -> str:
    """Return the test set; a recogniser in several languages has a row for each: test.es, test.en, test.es+en."""
    name = system.rows[0].test_set
    return name if len({lang for _, lang in system.lines}) == 1 else name.rpartition(".")[0]


def _grouped(systems: list[System]) -> list[Group]:
    members: dict[tuple[str, str], dict[str, System]] = {}
    for system in systems:
        members.setdefault((system.rows[0].task, _set_of(system)), {}).setdefault(
            system.name, system
        )  # a ceiling that experiments share
    groups = []
    for (task, test_set), by_name in sorted(members.items()):
        group = Group(task, test_set, sorted(by_name.values(), key=_rank))
        _require_same_utterances(group)
        groups.append(group)
    return groups


def _rank(system: System) -> tuple:
    whole = max(system.rows, key=lambda row: (row.metric == system.rows[0].metric, row.n))
    best = whole.value if whole.metric in LOWER_IS_BETTER else -whole.value
    return (True, CEILINGS.index(system.ceiling), system.name) if system.ceiling else (False, best, system.name)


def _require_same_utterances(group: Group) -> None:
    first = group.systems[0]
    refs = {key: line["ref"] for key, line in first.lines.items()}
    for system in group.systems[1:]:
        if {key: line["ref"] for key, line in system.lines.items()} != refs:
            raise ValueError(
                f"{first.folder} and {system.folder}: {group.task} / {group.test_set} has other utterances or"
                " references. Score both on the same test set, or report them one by one."
            )


def _trainings(experiment: Path, label: str) -> list[Training]:
    found = []
    for path in sorted(experiment.glob(f"*/{TRAINING}")):
        if (path.parent / LOCK).exists():
            continue
        lines: dict[str, list[dict]] = {}
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                figures = json.loads(line)
                lines.setdefault(str(figures["kind"]), []).append(figures)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: not the log of a training ({error}). Delete it: only the report reads it."
            ) from None
        found.append(Training(path.parent.name, label, lines))
    return found


def locate(path: str, experiment: Path) -> Path | None:
    """Return where a file is whose path was recorded relative to the recipe: the experiment may have been moved, or be
    reported from elsewhere.

    It is looked for in the experiment first, then beside and above it, then under the path as recorded.
    """
    parts = Path(path).parts
    inside = [experiment.joinpath(*parts[i:]) for i in range(1, len(parts) - 1)]
    around = [folder / path for folder in experiment.resolve().parents]
    return next((found for found in (*inside, *around, Path(path)) if found.is_file()), None)
