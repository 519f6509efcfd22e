"""A loss that must not be learned from: not finite, or far above what is usual."""

import math


class LossGuard:
    """Follows the mean loss of the steps learned (in nats per row, weighted as in training).

    A loss above `max_ratio` times that mean is refused, once `warmup_steps` and MIN_STEPS have been learned. A mean below
    FLOOR_NATS counts as FLOOR_NATS: a model that is nearly perfect meets single batches many times harder than the rest.
    """

    MIN_STEPS, DECAY, FLOOR_NATS = 20, 0.98, 1.0

    def __init__(self, max_ratio: float, warmup_steps: int):
        self.max_ratio, self.steps_needed = max_ratio, max(warmup_steps, self.MIN_STEPS)
        self.steps, self.usual = 0, 0.0

    def complaint(self, loss: float, norm: float) -> str | None:
        """Return what is wrong with a step's loss or gradient norm; None if nothing is."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the loss is {loss:.3f}, but the gradient norm {norm}"
        limit = self.max_ratio * max(self.usual, self.FLOOR_NATS)
        if self.max_ratio and self.steps >= self.steps_needed and loss > limit:
            return f"the loss is {loss:.3f}, usual is {self.usual:.3f}, and the limit {limit:.3f} (--max_loss_ratio {self.max_ratio:g})"
        return None

    def add(self, loss: float) -> None:
        """Count a learned step; the first ones weigh alike."""
        self.steps += 1
        weight = max(1 / self.steps, 1 - self.DECAY)
        self.usual += weight * (loss - self.usual)

    def state(self) -> dict:
        return {"steps": self.steps, "usual": self.usual}

    def restore(self, state: dict) -> None:
        self.steps, self.usual = state["steps"], state["usual"]
