"""The launcher: a rank that hangs before its first step is named, with the place where it hangs; several machines find each other."""

import argparse
import dataclasses
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from espnet2.train.distributed_utils import free_port

from speechlm.train.launch import beat, launch
from speechlm.train.nodes import JOINED, MODEL_READY, STARTED, Nodes, Place, Row, find_place, first_host
from speechlm.train.signals import STOPPING


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
        launch(work, options(), Nodes(Place(), 2, {}, 2.0))
    assert time.monotonic() - began < 10
    assert "in load_model_that_never_comes" in capfd.readouterr().err.split("rank 1 is here:")[1]


class SlowNodes(Nodes):
    """The exchange with other launchers takes as long as the rank still runs."""

    def exchange(self, rows):
        time.sleep(1.5)


def test_a_rank_that_fails_while_launchers_talk_is_no_success(own_signals):
    def work(args):
        time.sleep(1.2)
        raise SystemExit(143)

    with pytest.raises(SystemExit, match="143"):
        launch(work, options(), SlowNodes(Place(), 1, {}, 2.0))


SLURM = {
    "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[03-07,9],x",
}  # fmt: skip


def node_options(**more) -> argparse.Namespace:
    return argparse.Namespace(**{"nodes": 1, "node_rank": None, "master_addr": None, "master_port": None} | more)


def test_a_launcher_finds_its_place():
    assert find_place(node_options(), {}) == find_place(node_options(), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) == Place()
    assert find_place(node_options(), SLURM) == Place(2, 1, "gpu03", 20217)
    by_hand = node_options(nodes=3, node_rank=2, master_addr="a", master_port=5)
    assert find_place(by_hand, {}) == find_place(by_hand, SLURM) == Place(3, 2, "a", 5)
    with pytest.raises(ValueError, match="without --node_rank, --master_addr, --master_port"):
        find_place(node_options(nodes=2), {})
    with pytest.raises(ValueError, match="expected 0 to 1"):
        find_place(node_options(nodes=2, node_rank=2, master_addr="a", master_port=5), {})


@pytest.mark.parametrize("nodelist, first", [("a", "a"), ("a1,b2", "a1"), ("n[1-3]", "n1"), ("n[007,9-10]-ib,m", "n007-ib")])
def test_the_first_host_of_a_job(nodelist, first):
    assert first_host(nodelist) == first


def test_a_node_with_other_options_is_refused_by_name():
    place = Place(2, 0, "127.0.0.1", free_port())
    first = Nodes(place, 1, {"lr": 0.1}, 5.0)
    with ThreadPoolExecutor() as pool:
        other = pool.submit(Nodes, dataclasses.replace(place, node=1), 1, {"lr": 0.2}, 5.0)
        while (end := first.exchange([Row(STARTED, 5.0, 5.0)])) is None:
            time.sleep(0.05)
        with pytest.raises(ValueError, match=r"node 1 \(.*\) has other options than node 0: lr \(0.1, 0.2\)"):
            other.result()
    assert "has other options" in end.reason
    first.close()


def test_a_node_that_never_comes_is_named():
    first = Nodes(Place(2, 0, "127.0.0.1", free_port()), 1, {}, 1.0)
    assert first.exchange([Row(STARTED, 1.0, 1.0)]) is None
    assert "node 1 of 2 did not join within 1 s" in first.exchange([Row(STARTED, -0.1, 1.0)]).reason
    first.close()
    with pytest.raises(ValueError, match="node 0 did not start at 127.0.0.1:.* within 1 s"):
        Nodes(Place(2, 1, "127.0.0.1", free_port()), 1, {}, 1.0)


def test_the_others_end_when_the_first_launcher_is_gone():
    place = Place(2, 0, "127.0.0.1", free_port())
    first = Nodes(place, 1, {}, 5.0)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(Nodes, dataclasses.replace(place, node=1), 1, {}, 5.0)
        while not joining.done():
            assert first.exchange([Row(STARTED, 5.0, 5.0)]) is None
            time.sleep(0.05)
    second = joining.result()
    assert second.exchange([Row(STARTED, 5.0, 5.0)]) is None
    first.close()
    time.sleep(0.1)
    assert re.search(r"node 0 \(.*\) has ended: its launcher was killed", second.exchange([Row(STARTED, 5.0, 5.0)]).reason)
    second.close()
