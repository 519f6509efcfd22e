"""What a training reports while it runs."""

import json
import logging
import os
import time
from pathlib import Path

from speechlm.data.files import atomic_write


class Log:
    """`train.jsonl`: one line per report; the same to the console, with the time left, to TensorBoard, and to Weights &
    Biases if asked.
    """

    def __init__(
        self, folder: Path, max_steps: int, batches_per_step: int, use_tensorboard: bool, use_wandb: bool = False
    ):
        self.path, self.max_steps, self.batches_per_step, self.writer = (
            folder / "train.jsonl",
            max_steps,
            batches_per_step,
            None,
        )
        if use_tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.wandb = None
        if use_wandb:  # ESPnet has started its run
            import wandb

            self.wandb = wandb

    def start(self, step: int) -> None:
        """Drop the lines of steps that will be done again, and one that was cut short."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        with atomic_write(self.path) as stream:
            stream.writelines(kept)
        self.written = {(line["kind"], line["step"]) for line in map(json.loads, kept)}
        self.began, self.first_step, self.last = time.monotonic(), step, (time.monotonic(), step)

    def holds(self, kind: str, step: int) -> bool:
        return (kind, step) in self.written

    def write(self, kind: str, step: int, means: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "step": step} | {k: round(v, 5) for k, v in means.items()}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())  # a checkpoint of this step must not outlive it
        shown = " ".join(
            f"{name} {value:.3f}" for name, value in means.items() if name != "positions" and "." not in name
        )
        left_out = sum(value for name, value in means.items() if name.startswith("left_out."))
        too_long = f" | left out so far, too long: {left_out}" if left_out else ""
        logging.info(f"{kind} {step}/{self.max_steps}: {shown}{self._pace(step, means)}{too_long}")
        if self.writer:
            for name, value in means.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)
        if self.wandb:
            self.wandb.log({f"{kind}/{name}": value for name, value in means.items()}, step=step)

    def _pace(self, step: int, means: dict[str, float]) -> str:
        if "positions" not in means or step == self.last[1]:
            return ""
        now = time.monotonic()
        rate = (step - self.last[1]) / (now - self.last[0])
        positions = rate * means["positions"] * self.batches_per_step
        self.last = now, step
        left_min = (self.max_steps - step) * (now - self.began) / max(1, step - self.first_step) / 60
        return f" | {rate:.2f} steps/s, {positions:.0f} positions/s, {left_min:.1f} min left"
