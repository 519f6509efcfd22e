"""What the commands set for all threads, before torch is imported; what a user says goes before it."""

import os
import subprocess
import sys

import pytest

SHOW = "import speechlm.bin, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_give_their_core_away(own, expected):
    """Beside other work a training fell to a third, and beside another training to a fifteenth."""
    environ = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environ | own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]
