"""The guard of the loss: refuses what would ruin the weights, and nothing that ordinary training brings."""

import math
import random

import pytest

from speechlm.train.guard import LossGuard


def guard_after(losses: list[float], warmup_steps: int = 5) -> LossGuard:
    guard = LossGuard(10.0, warmup_steps)
    for loss in losses:
        assert guard.complaint(loss, 1.0) is None
        guard.add(loss)
    return guard


@pytest.mark.parametrize("loss, norm, said", [(math.nan, 1.0, "loss is nan"), (math.inf, 1.0, "loss is inf"), (2.0, math.inf, "norm inf")])
def test_what_is_not_finite_is_refused_from_the_first_step(loss, norm, said):
    assert said in guard_after([]).complaint(loss, norm)


def test_an_exploding_loss_is_refused_after_warm_up_only():
    assert guard_after([2.0] * 10, warmup_steps=10).complaint(50.0, 1.0) is None
    assert "usual is 2.000, and the limit 20.000" in guard_after([2.0] * 30, warmup_steps=10).complaint(50.0, 1.0)


def test_ordinary_training_is_not_refused():
    """A fall from 24 nats to 0.01, with batches up to four times as hard as the mean, and single hard ones at the end."""
    rng = random.Random(1)
    losses = [(24 * 0.99**step + 0.01) * rng.uniform(0.3, 4) for step in range(1500)]
    guard_after(losses + [3.0] + losses[-100:] + [8.0])


def test_a_restored_guard_judges_alike():
    guard, restored = guard_after([3.0, 2.5] * 20), LossGuard(10.0, 5)
    restored.restore(guard.state())
    assert restored.complaint(40.0, 1.0) == guard.complaint(40.0, 1.0)
    assert "usual is 2.7" in restored.complaint(40.0, 1.0)
