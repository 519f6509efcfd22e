"""The figures of the comparison, each with the files that it comes from. Only artefacts are read: score.json,
utterances.jsonl, cost.json.

N utterances, C counts, R resamples, S seeds.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechlm.data.settings import fill, read_json, read_yaml
from speechlm.metrics.bootstrap import bounds, resampled_sums
from speechlm.metrics.rows import SENTENCES, UTTERANCES, Row, read_lines, read_rows
from speechlm.metrics.scoring import Mean, Perplexity
from speechlm.metrics.table import counts_of, keys_of, metric_of
from speechlm.metrics.text import TextMetric

LAYOUT = Path(__file__).parents[1] / "assets/arms.yaml"
BASE = "base"
TEXT_SCORES = {"lm": "perplexity", "lm_eval": "lm_eval"}  # task -> folder of its scores


@dataclass(frozen=True)
class Piece:
    """An arm with a seed that was run to its end; `record` is its piece.json."""

    arm: str
    seed: int
    folder: Path
    record: dict


@dataclass(frozen=True)
class Figure:
    """One score.json row: its file, its utterances and their counts (none: [])."""

    row: Row
    file: Path
    keys: list[tuple[str, str]]
    counts_NC: np.ndarray
    metric: TextMetric | Mean | Perplexity


@dataclass(frozen=True)
class Measured:
    """A metric of an arm: a figure for each seed."""

    by_seed: dict[int, Figure] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        return [figure.row.value for _, figure in sorted(self.by_seed.items())]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """The standard deviation over seeds; 0 for one."""
        return float(np.std(self.values, ddof=1)) if len(self.by_seed) > 1 else 0.0

    def means_R(self) -> np.ndarray | None:
        """Return the mean over seeds for resampled utterances, the same ones for every seed and arm; None without
        counts.
        """
        figures = list(self.by_seed.values())
        if not all(len(figure.keys) for figure in figures):
            return None
        return np.mean([figure.metric.value(resampled_sums(figure.counts_NC)) for figure in figures], axis=0)

    @property
    def interval(self) -> tuple[float, float] | None:
        means_R = self.means_R()
        return None if means_R is None else bounds(means_R)


@dataclass(frozen=True)
class Layout:
    """What assets/arms.yaml holds."""

    metrics: dict[str, dict[str, Any]]
    paper: dict[str, dict[str, dict[str, Any]]]
    orderings: dict[str, list[list[str]]]


def load_layout() -> dict:
    """Return assets/arms.yaml; raise ValueError naming what is wrong with it."""
    return vars(fill(Layout, read_yaml(LAYOUT), str(LAYOUT)))


def find_pieces(exp: Path) -> list[Piece]:
    """Return the finished pieces in `exp`, sorted by arm and seed."""
    found = []
    for path in sorted(exp.glob("seed*/*/piece.json")):
        record = read_json(path)
        found.append(Piece(record["arm"], record["seed"], path.parent, record))
    return sorted(found, key=lambda piece: (piece.arm, piece.seed))


def read_figure(file: Path, wanted: dict) -> Figure | None:
    """Return the row of a score.json that `wanted` describes (task, metrics), over most utterances; None if there is
    none.
    """
    rows = [row for row in read_rows(file) if row.task == wanted["task"]]
    for name in wanted["metrics"]:
        if chosen := [row for row in rows if row.metric == name]:
            return with_counts(max(chosen, key=lambda row: row.n), file)
    return None


def with_counts(row: Row, file: Path) -> Figure:
    """Return a row with the counts of its utterances, sorted by id, so that two arms can be compared by the same
    utterances.
    """
    metric = metric_of(row)
    path = file.with_name(SENTENCES if isinstance(metric, Perplexity) else UTTERANCES)
    if not path.is_file():
        return Figure(row, file, [], np.zeros((0, 1)), metric)
    lines = {(line["id"], line["lang"]): line for line in read_lines(path)}
    keys = sorted(keys_of(row, lines))
    counts_NC = counts_of(metric, row.metric, [lines[key] for key in keys])
    value = float(metric.value(counts_NC.sum(axis=0)[None])[0])
    if abs(value - row.value) > 1e-3 * max(1.0, abs(value)):
        raise ValueError(
            f"{path}: its lines give {value} for {row.metric}, {file} says {row.value}. Delete both and give the"
            " command again"
        )
    return Figure(row, file, keys, counts_NC, metric)


def score_file(piece: Piece, exp: Path, task: str, model: str = "sft") -> Path | None:
    """Return the score.json of a task: of the fine-tuned model, of another (`cpt`, `steps/50`), or of text (tasks lm
    and lm_eval).
    """
    if scores := TEXT_SCORES.get(task):
        own = piece.folder / scores / "cpt/score.json"
        options = piece.record["options"]
        skipped, random = "--skip_cpt" in options, "--random_init" in options
        path = exp / BASE / scores / "llm/score.json" if skipped and not random else own
        return path if path.is_file() else None
    folder = piece.folder / ("cpt" if model == "cpt" else f"sft_{task}") / (model if model.startswith("steps/") else "")
    return next(iter(sorted(folder.glob(f"score_{task}_*/score.json"))), None)


def measure(pieces: list[Piece], exp: Path, wanted: dict, model: str = "sft") -> dict[str, Measured]:
    """Return {arm: its figures} of one metric, for the arms that have it."""
    found: dict[str, Measured] = {}
    for piece in pieces:
        file = score_file(piece, exp, wanted["task"], model)
        figure = read_figure(file, wanted) if file else None
        if figure:
            before = found.get(piece.arm, Measured())
            found[piece.arm] = replace(before, by_seed=before.by_seed | {piece.seed: figure})
    return found


def ceilings(pieces: list[Piece], wanted: dict) -> dict[str, Figure]:
    """Return {originals, reconstruction: figure} of a spoken task, from the first piece that has them."""
    for piece in pieces:
        found = {
            kind: figure
            for kind in ("originals", "reconstruction")
            for file in sorted(piece.folder.glob(f"ceiling/*/{wanted['task']}_{kind}/score.json"))[:1]
            if (figure := read_figure(file, wanted))
        }
        if found:
            return found
    return {}
