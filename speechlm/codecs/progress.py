"""The log of a codec's training: mean losses, speed and remaining time, to the screen and to a file."""

import time
from pathlib import Path

import numpy as np


class Log:
    """Collects the losses of every step; `report` writes their means since the last report as one line."""

    def __init__(self, path: Path, first_step: int, last_step: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.first_step, self.last_step = path, first_step, last_step
        self.start = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def add(self, losses: dict) -> None:
        self.rows.append(losses)  # on the device: reading them would wait for it

    def report(self, step: int, dev_mel: float) -> None:
        sec_per_step = (time.monotonic() - self.start) / (step - self.first_step)
        means = {name: np.mean([float(row[name]) for row in self.rows if name in row]) for name in self.rows[-1]}
        losses = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        eta_min = (self.last_step - step) * sec_per_step / 60
        line = (
            f"step {step}/{self.last_step}: {losses} dev_mel {dev_mel:.4f} ({sec_per_step:.3f} s/step, {eta_min:.1f}"
            " min left)"
        )
        print(line, flush=True)
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        self.rows.clear()
