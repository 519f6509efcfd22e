"""The guard of the loss: refuses what would ruin the weights, and nothing that ordinary training brings."""

import math
import random

import pytest
import torch

from speechlm.train.guard import LossGuard
from speechlm.train.precision import Muon


def judge(guard: LossGuard, loss: float, norm: float = 1.0, step: int = 99) -> float:
    return guard.judge(step, torch.tensor(loss), torch.tensor(norm)).item()


def guard_after(losses: list[float], warmup_steps: int = 5) -> LossGuard:
    guard = LossGuard(10.0, warmup_steps)
    for loss in losses:
        assert judge(guard, loss) == 0 and guard.refused() is None
    return guard


@pytest.mark.parametrize(
    "loss, norm, said", [(math.nan, 1.0, "loss is nan"), (math.inf, 1.0, "loss is inf"), (2.0, math.inf, "norm inf")]
)
def test_what_is_not_finite_is_refused_from_the_first_step(loss, norm, said):
    guard = guard_after([])
    assert judge(guard, loss, norm) == 1 and said in guard.refused().complaint


def test_an_exploding_loss_is_refused_after_warm_up_only():
    assert judge(guard_after([2.0] * 10, warmup_steps=10), 50.0) == 0
    guard = guard_after([2.0] * 30, warmup_steps=10)
    assert judge(guard, 50.0) == 1 and "usual is 2.000, and the limit 20.000" in guard.refused().complaint


def test_after_a_refused_step_nothing_is_learned_and_the_first_one_is_told():
    guard = guard_after([2.0] * 30)
    before = guard.state()
    assert [judge(guard, loss, step=step) for step, loss in ((30, math.nan), (31, 2.0), (32, math.inf))] == [1, 1, 1]
    assert guard.refused().step == 30 and math.isnan(guard.refused().loss) and guard.state() == before


def test_ordinary_training_is_not_refused():
    """A fall from 24 nats to 0.01, with batches up to four times as hard as the mean, and single hard ones at
    the end.
    """
    rng = random.Random(1)
    losses = [(24 * 0.99**step + 0.01) * rng.uniform(0.3, 4) for step in range(1500)]
    guard_after(losses + [3.0] + losses[-100:] + [8.0])


def test_a_restored_guard_judges_alike():
    guard, restored = guard_after([3.0, 2.5] * 20), LossGuard(10.0, 5)
    restored.restore(guard.state())
    assert judge(restored, 40.0) == judge(guard, 40.0) == 1
    assert restored.refused() == guard.refused() and "usual is 2.7" in restored.refused().complaint


@pytest.mark.parametrize("kind", [lambda p: torch.optim.AdamW(p, lr=0.1, fused=True), lambda p: Muon(p, "cpu", lr=0.1)])
@pytest.mark.parametrize("learned", [0, 2])
def test_a_step_that_is_not_learned_leaves_weights_and_optimizer_as_they_were(kind, learned):
    """Bit by bit, though its gradient is not finite, from the first step on; and what follows is as if it had
    not been.
    """
    torch.manual_seed(0)
    grads, found = [torch.randn(6, 4) for _ in range(4)], []
    for steps in (grads, [*grads[:learned], torch.full((6, 4), math.nan), *grads[learned:]]):
        matrix = torch.nn.Parameter(torch.ones(6, 4))
        optimizer = kind([matrix])
        for grad in steps:
            matrix.grad = grad.clone()
            optimizer.found_inf = grad.isnan().any().float()
            optimizer.step()
        found.append((matrix.detach(), *optimizer.state[matrix].values()))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
