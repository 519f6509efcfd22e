"""Pictures of the comparison: the probe, the balance, the curves of the losses; and the same curves for TensorBoard."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import LogNorm  # noqa: E402

from speechlm.arms.figures import Measured, Piece
from speechlm.arms.orderings import undominated
from speechlm.arms.tables import BALANCE, Comparison, balance_means, balance_points, probe_curves
from speechlm.data.files import atomic_write


def draw_all(all_: Comparison, out: Path) -> None:
    """Write probe.png, balance.png, loss_streams.png and loss_tasks.png, as far as there is something to show, and
    tensorboard/.
    """
    curves, points = probe_curves(all_), balance_points(all_)
    if any(len(curve) > 1 for curve in curves.values()):
        save(draw_probe(curves), out / "probe.png")
    if len(points) > 1:
        save(draw_balance(all_, points), out / "balance.png")
    logs = {
        f"{piece.arm}, seed {piece.seed}": read_log(piece)
        for piece in all_.pieces
        if (piece.folder / "cpt/train.jsonl").is_file()
    }
    streams, tasks = (
        panels(logs, wanted) for wanted in (lambda name: name == "text" or name.startswith("code"), is_task)
    )
    if logs:
        save(draw_panels(logs, streams, "train"), out / "loss_streams.png")
        save(draw_panels(logs, tasks, "valid"), out / "loss_tasks.png")
    write_tensorboard(curves, out / "tensorboard")


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture, whole or not at all, and close it."""
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def draw_probe(curves: dict[str, dict[float, Measured]]) -> plt.Figure:
    """Each arm's mean over seeds and their range; the axis gives room to the first percents."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for arm, curve in curves.items():
        percents = sorted(curve)
        means = [curve[p].mean for p in percents]
        [line] = axes.plot(percents, means, marker="o", label=arm)
        axes.fill_between(
            percents, *([f(curve[p].values) for p in percents] for f in (min, max)), color=line.get_color(), alpha=0.2
        )
    axes.set_xscale("symlog", linthresh=1)
    ticks = [0, 1, 2, 5, 10, 25, 50, 100]
    axes.set_xticks(ticks, ["CPT\nitself", *map(str, ticks[1:])])
    axes.set_xlabel("s2st fine-tuning, % of the steps")
    axes.set_ylabel("ASR-BLEU")
    axes.legend()
    return figure


def draw_balance(all_: Comparison, points: dict[str, dict[str, Measured]]) -> plt.Figure:
    """Understanding against generation; the colour, and the number next to the name, show retention. A ring:
    undominated in all three.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5))
    means = balance_means(points)
    best = undominated(means)
    rings = ["black" if arm in best else "none" for arm in means]
    x, y, colour = zip(*means.values(), strict=True)
    drawn = axes.scatter(x, y, c=colour, norm=LogNorm(), cmap="viridis_r", s=110, edgecolors=rings, linewidths=1.8)
    for arm, (x_, y_, kept) in means.items():
        left = x_ > (min(x) + max(x)) / 2  # of the point, so that the name stays in the picture
        axes.annotate(
            f"{arm} ({kept:.3g})",
            (x_, y_),
            xytext=(-8 if left else 8, 7),
            textcoords="offset points",
            ha="right" if left else "left",
        )
    axes.margins(x=0.1, y=0.12)
    descriptions = [all_.layout["metrics"][metric]["description"] for metric in BALANCE]
    axes.set_xlabel(f"understanding: {descriptions[0]}")
    axes.set_ylabel(f"generation: {descriptions[1]}")
    figure.colorbar(drawn, label=f"retention: {descriptions[2]}", format="%.3g")
    return figure


def read_log(piece: Piece) -> list[dict]:
    """Return the lines of the CPT's train.jsonl."""
    return [json.loads(line) for line in (piece.folder / "cpt/train.jsonl").read_text(encoding="utf-8").splitlines()]


def is_task(name: str) -> bool:
    """Is this the loss of a task?"""
    return name.startswith("task.")


def panels(logs: dict[str, list[dict]], wanted) -> list[str]:
    """Return the names of the losses that are in a log and wanted, sorted."""
    return sorted({name for lines in logs.values() for line in lines for name in line if wanted(name)})


def draw_panels(logs: dict[str, list[dict]], names: list[str], kind: str) -> plt.Figure:
    """One panel for each loss of CPT, one curve for each piece."""
    columns = 3
    figure, axes = plt.subplots(
        -(-len(names) // columns), columns, figsize=(12, 3 * -(-len(names) // columns)), squeeze=False
    )
    for panel, name in zip(axes.flat, names):
        for label, lines in logs.items():
            shown = [line for line in lines if line["kind"] == kind and name in line]
            panel.plot(
                [line["step"] for line in shown],
                [line[name] for line in shown],
                label=label,
                marker="." if kind == "valid" else "",
            )
        panel.set_title(f"{name}, {kind}, nats")
    for panel in axes.flat[len(names) :]:
        panel.axis("off")
    axes.flat[0].legend(fontsize=7)
    return figure


def write_tensorboard(curves: dict[str, dict[float, Measured]], folder: Path) -> None:
    """Write the probe as scalars over the percentage of the steps, one run for each arm; the trainings wrote their own
    losses.
    """
    from torch.utils.tensorboard import SummaryWriter

    for arm, curve in curves.items():
        for path in (folder / arm).glob("events.*"):
            path.unlink()
        with SummaryWriter(str(folder / arm)) as writer:
            for percent, measured in sorted(curve.items()):
                writer.add_scalar("probe/s2st_asr_bleu", measured.mean, round(percent))
