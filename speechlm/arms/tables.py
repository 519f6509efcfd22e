"""The comparison as Markdown: tables laid out as the paper's, and every figure beside the file that it comes from.

A cell has the mean over seeds, its 95 % interval (utterances resampled), the values of the seeds, and the paper's
figure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from speechlm.arms.config import COMPARED
from speechlm.arms.figures import Measured, Piece, ceilings, load_layout, measure
from speechlm.arms.orderings import MISSING, Verdict, judge, undominated
from speechlm.data.settings import read_json
from speechlm.metrics.rows import Row
from speechlm.metrics.table import LOWER_IS_BETTER

PAPERS = ("joint", "speech_only", "no_cpt", "random")


@dataclass
class Comparison:
    """All that is shown; `figures` lists every figure with its file, for figures.json."""

    exp: Path
    pieces: list[Piece]
    missing: list[str]
    layout: dict = field(default_factory=load_layout)
    figures: list[dict] = field(default_factory=list)

    def measured(self, metric: str, arms: Iterable[str], model: str = "sft") -> dict[str, Measured]:
        """Return {arm: figures} of a metric of the layout, and note where they come from."""
        pieces = [piece for piece in self.pieces if piece.arm in arms]
        found = measure(pieces, self.exp, self.layout["metrics"][metric], model)
        for arm, measured in found.items():
            self.note(metric, arm, model, measured)
        return found

    def note(self, metric: str, arm: str, model: str, measured: Measured) -> None:
        """Remember the figures of an arm and their files."""
        for seed, figure in sorted(measured.by_seed.items()):
            row, file = figure.row, figure.file.relative_to(self.exp).as_posix()
            self.figures.append(
                {
                    "metric": metric,
                    "arm": arm,
                    "seed": seed,
                    "model": model,
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                }
                | {"n": row.n, "test_set": row.test_set, "name": row.metric, "signature": row.signature, "file": file}
            )

    @property
    def arms(self) -> list[str]:
        """The arms that there are, the paper's first."""
        names = dict.fromkeys(piece.arm for piece in self.pieces)
        return [arm for arm in PAPERS if arm in names] + [arm for arm in names if arm not in PAPERS]

    def description(self, arm: str) -> str:
        """Return what an arm is, in words."""
        return next(piece.record["description"] for piece in self.pieces if piece.arm == arm)

    def of_kind(self, kind: str) -> list[str]:
        """Return the arms of a kind: `main` (all tasks), `balance` (with CPT), `pattern` (a codebook pattern)."""
        pattern = [piece.arm for piece in self.pieces if is_pattern(piece)]
        cpt = [piece.arm for piece in self.pieces if "--skip_cpt" not in piece.record["options"]]
        whole = [piece.arm for piece in self.pieces if set(COMPARED) <= set(piece.record["tasks"])]
        numbered = [arm for arm in self.arms if arm.rpartition("_")[2].isdigit()]
        chosen = {
            "pattern": pattern,
            "balance": cpt,
            "main": [a for a in self.arms if a not in pattern + numbered or a in whole],
        }[kind]
        return [arm for arm in self.arms if arm in chosen]


def means(figures: list[dict]) -> list[Row]:
    """Return a row for each metric and fine-tuned arm, its mean over the seeds, for pages that quote it."""
    groups: dict[tuple[str, ...], list[dict]] = {}
    for one in figures:
        if one["model"] == "sft":
            groups.setdefault((one["arm"], one["metric"], one["test_set"], one["name"]), []).append(one)
    return [
        Row(
            *key,
            value=sum(one["value"] for one in of_seeds) / len(of_seeds),
            n=of_seeds[0]["n"],
            signature=f"seeds:{','.join(str(one['seed']) for one in of_seeds)}|{of_seeds[0]['signature']}",
        )
        for key, of_seeds in groups.items()
    ]


def is_pattern(piece: Piece) -> bool:
    """Is the piece of the comparison of codebook patterns?"""
    return piece.arm.rstrip("0123456789").rstrip("_") in ("parallel", "delay", "depth", "flatten")


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(value: float | None) -> str:
    """Return a figure with two decimals, a small one with three."""
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1.5 else f"{value:.2f}"


def span(interval: tuple[float, float] | None) -> str:
    """Return an interval in words."""
    return "-" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def cell(measured: Measured | None) -> str:
    """Return mean, interval, seeds."""
    if not measured:
        return "-"
    seeds = ", ".join(map(number, measured.values))
    return f"**{number(measured.mean)}**<br>{span(measured.interval)}<br>seeds {seeds}"


def main_table(all_: Comparison) -> list[str]:
    """One row per metric, one column per arm, the codec ceiling, and the paper's figures below."""
    arms, rows = all_.of_kind("main"), []
    for metric, wanted in all_.layout["metrics"].items():
        found = all_.measured(metric, arms)
        best = ceilings(all_.pieces, wanted)
        for kind, figure in best.items():
            all_.note(metric, kind, "ceiling", Measured({0: figure}))
        top = "; ".join(number(best[kind].row.value) for kind in ("originals", "reconstruction") if kind in best) or "-"
        if found:
            rows.append([wanted["description"], *(cell(found.get(arm)) for arm in arms), top])
            for test_set, figures in all_.layout["paper"].get(metric, {}).items():
                rows.append([f"*paper, {test_set}*", *(f"*{figures.get(arm, '-')}*" for arm in arms), ""])
    return [
        (
            "Mean over the seeds, 95 % interval of that mean (bootstrap over utterances), each seed. Ceiling: the"
            " original recordings; these through the codec. The paper's figures, of other data, languages and a far"
            " larger model, are for the orderings: as reported in reading notes of arXiv 2502.16897; check against the"
            " PDF."
        ),
        "",
        *table(["metric", *arms, "ceiling"], rows),
        *(f"* {arm}: {all_.description(arm)}" for arm in arms),
        "",
    ]


def verdicts(all_: Comparison) -> list[tuple[str, str, str, str, Verdict]]:
    """Return (finding, metric, better arm, worse arm, verdict) for each of the paper's orderings."""
    rows = []
    for finding, orderings in all_.layout["orderings"].items():
        for metric, better, worse in orderings:
            wanted = all_.layout["metrics"][metric]
            found = measure([p for p in all_.pieces if p.arm in (better, worse)], all_.exp, wanted)
            rows.append(
                (
                    finding,
                    metric,
                    better,
                    worse,
                    judge(found.get(better), found.get(worse), wanted["metrics"][0] in LOWER_IS_BETTER),
                )
            )
    return rows


def orderings_table(all_: Comparison) -> list[str]:
    """One row per ordering of the paper, with the verdict."""
    rows = []
    for finding, metric, better, worse, verdict in verdicts(all_):
        word = f"**{verdict.word}**" + (f" ({verdict.why})" if verdict.why and verdict.word != MISSING else "")
        description = all_.layout["metrics"][metric]["description"]
        rows.append(
            [finding, description, f"{better} before {worse}", number(verdict.gain), span(verdict.interval), word]
        )
    return [
        (
            "By how much the first arm is better than the second (negative: worse). Decided if the 95 % interval of the"
            " difference excludes zero (the same utterances resampled in both arms) and every seed of one arm is better"
            " than every seed of the other."
        ),
        "",
        *table(["finding of the paper", "metric", "ordering", "better by", "95 %", "here"], rows),
    ]


def probe_curves(all_: Comparison, metric: str = "s2st") -> dict[str, dict[float, Measured]]:
    """Return {arm: {percentage of the s2st fine-tuning: figures}}; 0 is the CPT model itself."""
    task = all_.layout["metrics"][metric]["task"]
    curves: dict[str, dict[float, Measured]] = {}
    for arm in all_.of_kind("main"):
        pieces = [piece for piece in all_.pieces if piece.arm == arm and task in piece.record["tasks"]]
        for piece in pieces[:1]:
            last = read_json(piece.folder / f"sft_{task}/cost.json")["steps"]
            kept = sorted(
                int(path.name) for path in (piece.folder / f"sft_{task}/steps").glob("*") if path.name.isdigit()
            )
            points = (
                {0.0: "cpt"} | {100 * step / last: f"steps/{step}" for step in kept if step < last} | {100.0: "sft"}
            )
            found = {percent: all_.measured(metric, [arm], model).get(arm) for percent, model in points.items()}
            curves[arm] = {percent: measured for percent, measured in found.items() if measured}
    return curves


def probe_table(curves: dict[str, dict[float, Measured]]) -> list[str]:
    """One row per point of the fine-tuning, one column per arm."""
    points = sorted({percent for curve in curves.values() for percent in curve})
    rows = [
        [f"{percent:.3g} %" if percent else "zero-shot", *(_short(curve.get(percent)) for curve in curves.values())]
        for percent in points
    ]
    return [
        (
            "ASR-BLEU of s2st, which CPT has never seen: by the CPT model as it is, and after so much of its"
            " fine-tuning (mean; seeds)."
        ),
        "",
        *table(["fine-tuning", *curves], rows),
        "![probe](probe.png)",
        "",
    ]


def _short(measured: Measured | None) -> str:
    return "-" if not measured else f"{number(measured.mean)} ({', '.join(map(number, measured.values))})"


BALANCE = {"asr": "understanding", "tts": "generation", "text": "retention"}


def balance_points(all_: Comparison) -> dict[str, dict[str, Measured]]:
    """Return {arm: {metric: figures}} of the arms with CPT that have all three; in each, less is better."""
    arms = all_.of_kind("balance")
    found = {metric: all_.measured(metric, arms) for metric in BALANCE}
    return {
        arm: {metric: found[metric][arm] for metric in BALANCE}
        for arm in arms
        if all(arm in found[metric] for metric in BALANCE)
    }


def balance_means(points: dict[str, dict[str, Measured]]) -> dict[str, tuple[float, ...]]:
    """Return {arm: its means, in the order of BALANCE}."""
    return {arm: tuple(found[metric].mean for metric in BALANCE) for arm, found in points.items()}


def balance_table(all_: Comparison) -> list[str]:
    """One row per arm with CPT: understanding, generation, retention."""
    points = balance_points(all_)
    best = undominated(balance_means(points))
    metrics = all_.layout["metrics"]
    rows = [
        [arm, all_.description(arm), *(_short(found[m]) for m in BALANCE), "yes" if arm in best else ""]
        for arm, found in points.items()
    ]
    header = [
        "arm",
        "CPT",
        *(f"{word}: {metrics[metric]['description']}" for metric, word in BALANCE.items()),
        "undominated",
    ]
    return [
        "Less is better in all three. Undominated: no other arm is as good in all and better in one (by the means).",
        "",
        *table(header, rows),
        "![balance](balance.png)",
        "",
    ]


def patterns_table(all_: Comparison) -> list[str]:
    """One row per pattern: quality, what training took, speed of decoding."""
    arms, rows = all_.of_kind("pattern"), []
    quality = {metric: all_.measured(metric, arms) for metric in ("tts", "tts_voice", "tts_quality")}
    for arm in arms:
        pieces = [piece for piece in all_.pieces if piece.arm == arm]
        costs = [read_json(piece.folder / "sft_tts/cost.json") for piece in pieces]
        decoding = [
            read_json(path) for piece in pieces for path in sorted(piece.folder.glob("sft_tts/decode_tts_*/cost.json"))
        ]
        per_second = sum(cost["utterances"] for cost in decoding) / max(1e-9, sum(cost["seconds"] for cost in decoding))
        seconds = sum(cost["seconds"] for cost in costs) / len(costs)
        train = [
            str(costs[0]["steps"]),
            f"{costs[0]['parameters'] / 1e6:.2f} M",
            f"{seconds:.0f}",
            f"{costs[0]['steps'] / seconds:.2f}",
        ]
        rows.append(
            [all_.description(arm), *(cell(found.get(arm)) for found in quality.values()), *train, f"{per_second:.1f}"]
        )
    descriptions = [all_.layout["metrics"][metric]["description"] for metric in quality]
    header = ["pattern", *descriptions, "steps", "parameters", "training, s", "steps/s", "utterances/s decoded"]
    return [
        (
            "TTS learned from the textual LLM alone, as many examples in a step, one thread. All steps: equal data;"
            " with a percentage: equal compute."
        ),
        "",
        *table(header, rows),
    ]


def runs_table(all_: Comparison) -> list[str]:
    """Return what each training took, on what, by which code."""
    rows = []
    folders = [all_.exp / "base", *(piece.folder for piece in all_.pieces)]
    for path in (path for folder in folders for path in sorted(folder.glob("*/cost.json"))):
        cost = read_json(path)
        sessions = cost["sessions"]
        origin = [" ".join(dict.fromkeys(session[key] for session in sessions)) for key in ("commit", "machine")]
        size = [
            str(cost["steps"]),
            f"{cost['seconds']:.0f}",
            f"{cost['core_hours']:.3f}",
            f"{cost['gpu_hours']:.3f}",
            str(len(sessions)),
        ]
        rows.append([path.parent.relative_to(all_.exp).as_posix(), *size, sessions[0]["began"], *origin])
    header = ["training", "steps", "seconds", "core-hours", "GPU-hours", "sessions", "began", "commit", "machine"]
    return table(header, rows)


def markdown(all_: Comparison) -> str:
    """Return the whole page. What a run took stands last: the rest is the same however often it was interrupted."""
    curves = probe_curves(all_)
    parts = [("The arms", main_table(all_)), ("The paper's orderings", orderings_table(all_))]
    if any(len(curve) > 1 for curve in curves.values()):
        parts.append(("The probe", probe_table(curves)))
    if len(balance_points(all_)) > 1:
        parts.append(("Understanding, generation, retention", balance_table(all_)))
    if all_.of_kind("pattern"):
        parts.append(("Patterns", patterns_table(all_)))
    missing = [f"* {name}" for name in all_.missing]
    lines = [
        "# Comparison of arms",
        "",
        "Written by `python -m speechlm.bin.arms tables`; figures.json names the file of every figure.",
        "",
    ]
    if missing:
        lines += ["Not finished, and missing below:", "", *missing, ""]
    for title, part in parts:
        lines += [f"## {title}", "", *part]
    return "\n".join([*lines, "## Runs", "", *runs_table(all_)])
