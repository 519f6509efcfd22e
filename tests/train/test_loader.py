"""Workers that build batches: in order, whatever their number; one that is killed or fails is one message, at once."""

import os
import signal
import time
from contextlib import closing
from itertools import count

import numpy as np
import pytest

from speechlm.train.loader import Workers


def build(task: int) -> dict[str, np.ndarray]:
    if task == 7:
        raise ValueError("dump/train/codes.en.ark: damaged")
    if task == 8:
        raise MemoryError
    return {"ids": np.full(50_000, task)}  # more than a pipe holds


@pytest.mark.parametrize("number", [0, 1, 3])
def test_batches_come_in_order_and_no_process_stays(number):
    workers = Workers(build, number)
    with closing(workers.results(count(10))) as batches:
        for expected, (task, batch) in zip(range(10, 20), batches, strict=False):
            assert task == expected and batch["ids"].tolist() == [expected] * 50_000
        pids = [process.pid for process in workers._processes]
    assert len(pids) == number and not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_a_killed_worker_is_named_at_once():
    workers = Workers(build, 2)
    batches, began = workers.results(count(10)), time.monotonic()
    next(batches)
    os.kill(workers._processes[1].pid, signal.SIGKILL)
    with pytest.raises(
        ValueError, match="loader worker 1 of 2 was killed by SIGKILL.* --num_workers 0 .*the same command goes on"
    ):
        for _ in batches:
            pass
    assert time.monotonic() - began < 5 and not workers._processes


@pytest.mark.parametrize(("first", "said"), [(7, "codes.en.ark: damaged"), (8, "not enough memory")])
def test_what_a_worker_cannot_build_is_one_message(first, said):
    with pytest.raises(ValueError, match=f"^loader worker 0: .*{said}$"):
        next(Workers(build, 2).results(count(first)))


def test_signals_to_the_whole_job_are_left_to_the_training():
    workers = Workers(build, 2)
    with closing(workers.results(count(10))) as batches:
        next(batches)
        for process in workers._processes:
            os.kill(process.pid, signal.SIGTERM)
        assert [task for _, (task, _) in zip(range(6), batches, strict=False)] == [11, 12, 13, 14, 15, 16]
