"""Losses of every step of a tiny training, against those in golden.json: the same under both ESPnet releases, and after
a refactoring.

The training mixes tasks, packs, accumulates, has dropout, and AdamW, in float32: Muon's iteration is in another
precision on processors without bfloat16. After a change that is meant to change losses:

    SPEECHLM_WRITE_GOLDEN=1 tests/run.sh tests/espnet/test_golden.py
"""

import json
import os
from pathlib import Path

import pytest

from tests.long.kill_training import Command, make_recipe, training

GOLDEN = Path(__file__).with_name("golden.json")
PACE = {"kind", "step", "positions"}  # of a line: no losses


def test_every_step_has_the_loss_that_it_had(tmp_path):
    make_recipe(tmp_path, log_interval=1, max_steps=24, eval_interval=12)
    done = Command(tmp_path, "train", *training("out", "--muon_lr", "0")).wait(120)
    assert done.status == 0, done.output[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    found = {
        f"{line['kind']} {line['step']}": {
            k: round(v, 6) for k, v in line.items() if isinstance(v, float) and k not in PACE
        }
        for line in lines
    }
    if os.environ.get("SPEECHLM_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    expected = json.loads(GOLDEN.read_text())
    assert found.keys() == expected.keys()
    for step, losses in expected.items():
        assert found[step] == pytest.approx(losses, rel=2e-4, abs=2e-4), step  # processors add up in other orders
