"""A loss that must not be learned from: not finite, or far above what is usual. Decided where the loss is, without
waiting for it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Refusal:
    """The first step that was not learned, why, and its figures."""

    step: int
    complaint: str
    loss: float
    grad_norm: float


class LossGuard:
    """Follows the mean loss of the steps learned (in nats per row, weighted as in training).

    A loss above `max_ratio` times that mean is refused, once `warmup_steps` and MIN_STEPS have been learned. A mean
    below FLOOR_NATS counts as FLOOR_NATS: a model that is nearly perfect meets single batches many times harder than
    the rest. After a refused step nothing is learned until `refused` is called, so that the state stays as it was
    before the step.
    """

    MIN_STEPS, DECAY, FLOOR_NATS = 20, 0.98, 1.0

    def __init__(self, max_ratio: float, warmup_steps: int, device: str = "cpu"):
        self.max_ratio, self.steps_needed = max_ratio, max(warmup_steps, self.MIN_STEPS)
        self._known = torch.zeros(2, dtype=torch.double, device=device)  # steps learned, usual loss
        self._refused = torch.tensor(
            [-1.0, 0.0, 0.0], dtype=torch.double, device=device
        )  # step (-1: none), its loss and gradient norm

    def judge(self, step: int, loss: Tensor, norm: Tensor) -> Tensor:
        """Return 1.0 if a step must not be learned, else 0.0 and count it; a step after a refused one is not counted
        either.
        """
        loss, norm = loss.double(), norm.double()
        steps, usual = self._known
        bad = ~(loss.isfinite() & norm.isfinite())
        if self.max_ratio:
            bad |= (steps >= self.steps_needed) & (loss > self._limit(usual))
        stopped = bad | (self._refused[0] >= 0)
        self._refused = torch.where(
            stopped & (self._refused[0] < 0), torch.stack([torch.full_like(loss, step), loss, norm]), self._refused
        )
        share = (1 / (steps + 1)).clamp(min=1 - self.DECAY)  # the first ones weigh alike
        self._known = torch.where(stopped, self._known, torch.stack([steps + 1, usual + share * (loss - usual)]))
        return stopped.float()

    def _limit(self, usual: Tensor) -> Tensor:
        return self.max_ratio * usual.clamp(min=self.FLOOR_NATS)

    def refused(self) -> Refusal | None:
        """Return the step that was refused, None if all were learned. This waits for the device."""
        step, loss, norm = self._refused.tolist()
        return None if step < 0 else Refusal(int(step), self._complaint(loss, norm), loss, norm)

    def _complaint(self, loss: float, norm: float) -> str:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the loss is {loss:.3f}, but the gradient norm {norm}"
        usual, limit = float(self._known[1]), float(self._limit(self._known[1]))
        return (
            f"the loss is {loss:.3f}, usual is {usual:.3f}, and the limit {limit:.3f} (--max_loss_ratio"
            f" {self.max_ratio:g})"
        )

    def state(self) -> dict:
        steps, usual = self._known.tolist()
        return {"steps": int(steps), "usual": usual}

    def restore(self, state: dict) -> None:
        self._known = torch.tensor([state["steps"], state["usual"]], dtype=torch.double, device=self._known.device)
