"""The order of training: exact shares, whole passes, nothing lost by packing, and a position that can be restored."""

import time
from collections import Counter

import numpy as np
import pytest

from speechlm.train.mixture import Draw, LeftOut, Mixture, Packer, shuffled

SIZES = {"asr": 30, "tts": 7}
WEIGHTS = {"asr": 0.75, "tts": 0.25}


def length(draw: Draw) -> int:
    return 5 + (draw.index * 7) % 13


def packer(rows: int = 3, row_length: int = 40) -> Packer:
    return Packer(Mixture(SIZES, WEIGHTS, seed=1), length, rows, row_length)


def test_each_task_has_exactly_its_share():
    mixture = Mixture(SIZES, WEIGHTS, seed=1)
    counts = Counter(mixture.draw().task for _ in range(400))
    assert counts == {"asr": 300, "tts": 100}


def test_a_pass_takes_every_item_once_and_the_next_in_another_order():
    mixture = Mixture(SIZES, {"asr": 1.0}, seed=1)
    first, second = [[mixture.draw().index for _ in range(30)] for _ in range(2)]
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


def test_rows_are_never_overfull_and_no_draw_is_lost():
    pack = packer()
    plans = [pack.next_plan() for _ in range(20)]
    assert all(sum(map(length, row)) <= 40 for plan in plans for row in plan)
    used = Counter(draw for plan in plans for row in plan for draw in row)
    assert max(used.values()) == 1
    assert sum(used.values()) + len(pack.state()["waiting"]) == sum(pack.state()["drawn"].values())


def test_examples_longer_than_a_row_are_counted_and_cost_no_share():
    """Most of asr is too long for rows of 14: it is drawn again until it has its three quarters."""
    pack = packer(row_length=14)
    used = Counter(draw.task for _ in range(200) for row in pack.next_plan() for draw in row)
    used += Counter(task for task, _, _ in pack.state()["waiting"])
    assert abs(used["asr"] - 0.75 * used.total()) <= 1
    left_out, state = LeftOut.of(pack.state()), pack.state()
    assert used == Counter(state["drawn"]) - left_out.counts and left_out.longest == {"asr": 17}
    percent = 100 * left_out.counts["asr"] / state["drawn"]["asr"]
    said = f"longer than row_length 14: {left_out.counts['asr']} of {state['drawn']['asr']} asr ({percent:.1f} %, the longest 17 positions)"
    assert said in left_out.told(state["drawn"], 14)


def test_a_task_that_never_fits_is_an_error_though_another_does():
    pack = Packer(Mixture(SIZES, WEIGHTS, seed=1), lambda draw: 50 if draw.task == "tts" else length(draw), 3, 40)
    with pytest.raises(ValueError, match="none of the first 101 examples of tts fits a row, the longest has 50"):
        [pack.next_plan() for _ in range(200)]


def test_restored_state_goes_on_as_if_never_stopped():
    undisturbed, stopped, resumed = packer(), packer(), packer()
    for _ in range(5):
        undisturbed.next_plan(), stopped.next_plan()
    resumed.restore(stopped.state())
    assert [resumed.next_plan() for _ in range(5)] == [undisturbed.next_plan() for _ in range(5)]


def test_restoring_takes_the_same_time_however_far_the_run_is():
    began, resumed = time.process_time(), packer()
    resumed.restore({"drawn": {"asr": 750_000_000, "tts": 250_000_000}, "waiting": [("asr", 3, 749_999_999)], "too_long": {}})
    plan = resumed.next_plan()
    assert time.process_time() - began < 0.1
    assert Draw("asr", 3, 749_999_999) in plan[0]
    assert {draw.number for row in plan for draw in row if draw.task == "tts"} >= {250_000_000}


def test_a_task_without_examples_is_an_error():
    with pytest.raises(ValueError, match="no training examples for s2st"):
        Mixture(SIZES, {"s2st": 1.0}, seed=1)


def test_rows_shorter_than_every_example_are_an_error():
    with pytest.raises(ValueError, match="Raise row_length"):
        packer(row_length=4).next_plan()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1000, 1024, 1025])
def test_an_order_computed_place_by_place_is_a_permutation(size):
    orders = [[shuffled(position, size, key) for position in range(size)] for key in (1, 2)]
    assert [sorted(order) for order in orders] == [list(range(size))] * 2
    assert size < 10 or orders[0] != orders[1]


def test_an_order_computed_place_by_place_looks_random():
    """Neighbours are as far from each other as in a random order (a third of the size), and no place is preferred."""
    size = 10_007
    order = np.array([shuffled(position, size, 5) for position in range(size)])
    assert abs(np.abs(np.diff(order)).mean() / size - 1 / 3) < 0.01
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 0.03


def test_a_large_task_starts_at_once_and_small_ones_keep_their_order():
    began, mixture = time.process_time(), Mixture({"asr": 10**12, "tts": 4}, WEIGHTS, seed=1)
    draws = [mixture.draw() for _ in range(1000)]
    assert time.process_time() - began < 1.0
    assert len({draw.index for draw in draws if draw.task == "asr"}) == 750
    assert [draw.index for draw in draws if draw.task == "tts"][:8] == [3, 2, 1, 0, 2, 0, 3, 1]
