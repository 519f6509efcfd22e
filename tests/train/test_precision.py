"""Where bfloat16 is slow, training is in float32: Muon's steps are those of torch's within bfloat16's rounding, and
checkpoints fit both.
"""

import pytest
import torch

from speechlm.train import precision


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
@pytest.mark.parametrize("fast", [False, True])
def test_muon_steps_as_torchs(shape, fast, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: fast)
    torch.manual_seed(0)
    start, grads = torch.randn(shape), torch.randn(3, *shape)
    options = {"lr": 0.1, "weight_decay": 0.1, "ns_steps": 3}
    found = []
    for kind in (
        lambda m: torch.optim.Muon(m, adjust_lr_fn="match_rms_adamw", **options),
        lambda m: precision.Muon(m, "cpu", **options),
    ):
        matrix = torch.nn.Parameter(start.clone())
        optimizer = kind([matrix])
        for grad in grads:
            matrix.grad = grad.clone()
            optimizer.step()
        found.append((matrix.detach(), optimizer.state_dict()["state"]))
    (theirs, their_state), (ours, our_state) = found
    step = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * step, "bfloat16 has 8 bits"
    torch.testing.assert_close(our_state, their_state)


def test_a_processor_without_bfloat16_gets_float32(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    assert precision.Muon([matrix], "cpu", lr=0.1).dtype == torch.float32
    with precision.autocast("cpu", "bfloat16"):
        assert (matrix @ matrix).dtype == torch.float32
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert precision.Muon([matrix], "cpu", lr=0.1).dtype == torch.bfloat16
    with precision.autocast("cpu", "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
