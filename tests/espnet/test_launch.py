"""The launcher: a rank that hangs before its first step is named, with the place where it hangs."""

import argparse
import signal
import time

import pytest

from speechlm.espnet.launch import JOINED, MODEL_READY, beat, launch
from speechlm.espnet.signals import STOPPING


@pytest.fixture
def own_signals():
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def options(**more) -> argparse.Namespace:
    return argparse.Namespace(**{"ngpu": 0, "dist_backend": "gloo", "hang_sec": 50.0, "start_sec": 2.0} | more)


def load_model_that_never_comes():
    time.sleep(60)


def test_a_rank_that_hangs_before_its_first_step_ends_the_run(own_signals, capfd):
    def work(args):
        beat(JOINED, args.start_sec)
        if args.dist_rank == 1:
            load_model_that_never_comes()
        beat(MODEL_READY, args.start_sec)
        time.sleep(60)  # waits for the other

    began = time.monotonic()
    with pytest.raises(ValueError, match=r"rank 1 of 2 made no progress for 2 s \(--start_sec.*\).*the same command goes on"):
        launch(work, options(), 2)
    assert time.monotonic() - began < 10
    assert "in load_model_that_never_comes" in capfd.readouterr().err
