"""The share of a GPU's FLOP/s that trainings have reached: measured figures, and how far a planned training is from
them.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from speechlm.data.settings import fill, read_yaml

SPEEDS = Path(__file__).parent.parent / "assets" / "speeds.yaml"
ALIKE = 1.25  # sizes that differ by less are the same


@dataclass(frozen=True)
class Speed:
    """A measured training; `parameters` are the LLM's, `rows` those of a process."""

    gpu: str
    llm: str
    parameters: int
    rows: int
    row_length: int
    processes: int
    positions_per_sec: float
    mfu: float
    commit: str
    command: str


def read_speeds(path: Path = SPEEDS) -> list[Speed]:
    """Return the measured figures; ValueError names a wrong line."""
    return [fill(Speed, entry, f"{path}: entry {i}") for i, entry in enumerate(read_yaml(path), 1)]


def closest(speeds: list[Speed], gpu: str, sizes: dict[str, int]) -> tuple[Speed, list[str]]:
    """Return the figure closest to a training of these sizes, the same GPU before all, and in what they differ."""
    best = min(reversed(speeds), key=lambda speed: (speed.gpu != gpu, _distance(speed, sizes)))
    other = [
        f"{name} {getattr(best, name):,} (here {size:,})"
        for name, size in sizes.items()
        if _ratio(getattr(best, name), size) > ALIKE
    ]
    return best, ([f"GPU {best.gpu} (here {gpu})"] if best.gpu != gpu else []) + other


def _distance(speed: Speed, sizes: dict[str, int]) -> float:
    return sum(math.log(_ratio(getattr(speed, name), size)) for name, size in sizes.items())


def _ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)
