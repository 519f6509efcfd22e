"""Several processes by torch elastic: who dies is started again, who hangs is shown, a mistake is told once; where the
machines meet.
"""

import argparse
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from speechlm.train.elastic import find_meeting, first_host, launch, place, require_alike
from speechlm.train.hang import limit_waiting, watch


def options(**more) -> argparse.Namespace:
    return argparse.Namespace(**{"ngpu": 0, "dist_backend": "gloo", "nodes": 1, "max_restarts": 1} | more)


def join() -> int:
    """Join the process group of a test; return the rank."""
    torch.distributed.init_process_group("gloo")
    limit_waiting(0.03)
    return place()[0]


def load_model_that_never_comes():
    time.sleep(60)


def test_a_rank_that_hangs_ends_the_run_and_every_rank_says_where_it_is(own_signals, capfd):
    def work(_args):
        rank = join()
        watch(0.03)
        if rank == 1:
            load_model_that_never_comes()
        torch.distributed.barrier()

    began = time.monotonic()
    with pytest.raises(
        ValueError, match=r"rank 0 of 2 ended with status 1 .*the same command goes on from the last checkpoint"
    ):
        launch(work, options(max_restarts=0), 2)
    said = capfd.readouterr().err
    assert time.monotonic() - began < 20 and "Timed out waiting" in said
    assert "in load_model_that_never_comes" in said.split("rank 1 was here:")[1]


def test_a_killed_rank_is_started_again_and_a_mistake_is_not(own_signals, tmp_path, capfd):
    def work(_args):
        rank = join()
        torch.distributed.barrier()
        if rank == 1 and not (tmp_path / "first").exists():
            (tmp_path / "first").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        torch.distributed.barrier()
        if rank == 0:
            with (tmp_path / "tries").open("a") as stream:
                stream.write("again ")
            raise ValueError("a file is missing.")
        torch.distributed.barrier()

    with pytest.raises(ValueError, match=r"^a file is missing\.$"):
        launch(work, options(max_restarts=3), 2)
    assert (
        "rank 1 of 2 was killed by SIGKILL: all start again from the last checkpoint (restart 1 of 3"
        in capfd.readouterr().err
    )
    assert (tmp_path / "tries").read_text() == "again "


def test_a_rank_with_other_options_is_refused_by_name(own_signals):
    def work(_args):
        require_alike({"lr": 0.1 + join()})

    with pytest.raises(ValueError, match=r"rank 1 has other options than rank 0: lr \(0.1, 1.1\)"):
        launch(work, options(), 2)


def test_an_exit_by_a_signal_is_passed_on_and_not_tried_again(own_signals, tmp_path):
    def work(_args):
        join()
        (tmp_path / f"{os.getpid()}").touch()
        raise SystemExit(128 + signal.SIGUSR1)

    with pytest.raises(SystemExit) as end:
        launch(work, options(), 2)
    assert end.value.code == 138 and len(list(Path(tmp_path).iterdir())) == 2


SLURM = {
    "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[03-07,9],x",
}  # fmt: skip


def test_where_the_machines_meet():
    alone = find_meeting(options(), SLURM | {"SLURM_STEP_NUM_TASKS": "1"})
    assert (alone.endpoint, alone.max_nodes) == ("localhost:0", 1)
    two = find_meeting(options(), SLURM)
    assert (two.endpoint, two.run_id, two.min_nodes, two.max_nodes) == ("gpu03:20217", "speechlm217", 2, 2)
    assert find_meeting(options(nodes=2), SLURM | {"MASTER_ADDR": "a", "MASTER_PORT": "5"}).endpoint == "a:5"
    with pytest.raises(ValueError, match="srun started 2 tasks"):
        find_meeting(options(nodes=3), SLURM)
    with pytest.raises(ValueError, match="torchrun --nnodes 2"):
        find_meeting(options(nodes=2), {})


@pytest.mark.parametrize(
    "nodelist, first", [("a", "a"), ("a1,b2", "a1"), ("n[1-3]", "n1"), ("n[007,9-10]-ib,m", "n007-ib")]
)
def test_the_first_host_of_a_job(nodelist, first):
    assert first_host(nodelist) == first
