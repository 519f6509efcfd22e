"""The order of training: exact shares, whole passes, nothing lost by packing, and a position that can be restored."""

import hashlib
import math
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from speechlm.tasks.examples import stable_hash
from speechlm.train.mixture import Draw, LeftOut, Mixture, Order, Packer, Turns

SIZES = {"asr": 30, "tts": 7}
WEIGHTS = {"asr": 0.75, "tts": 0.25}


def lengths(task: str, index_M: np.ndarray, number_M: np.ndarray) -> np.ndarray:
    return 5 + (index_M * 7) % 13


def length(draw: Draw) -> int:
    return int(lengths(draw.task, np.array([draw.index]), np.array([draw.number]))[0])


def packer(rows: int = 3, row_length: int = 40) -> Packer:
    return Packer(Mixture(SIZES, WEIGHTS, 1, lengths, row_length), rows)


def take(sizes: dict[str, int], count: int, weights: dict[str, float] = WEIGHTS) -> list[Draw]:
    """Return the first draws of a mixture, all of which fit."""
    return [draw for draw, _ in islice(Mixture(sizes, weights, 1, lengths, 1000).stream, count)]


class OneByOne:
    """The order of training as its definition says it, one draw after the other."""

    def __init__(self, sizes: dict[str, int], seed: int, large: int):
        self.sizes, self.seed, self.large, self.drawn, self.too_long, self.waiting = (
            sizes,
            seed,
            large,
            Counter(),
            Counter(),
            [],
        )

    def draw(self) -> Draw:
        used = {name: self.drawn[name] - self.too_long[name] for name in sorted(WEIGHTS)}
        total = sum(used.values()) + 1
        task = max(sorted(WEIGHTS), key=lambda name: WEIGHTS[name] * total - used[name])
        number = self.drawn[task]
        self.drawn[task] += 1
        cycle, position = divmod(number, self.sizes[task])
        return Draw(task, self.shuffled(task, position, stable_hash(self.seed, task, cycle)), number)

    def shuffled(self, task: str, position: int, key: int) -> int:
        size = self.sizes[task]
        if size <= self.large:
            return int(np.random.default_rng(key).permutation(size)[position])
        width = math.isqrt(size - 1) + 1
        height = -(-size // width)
        while True:
            column, row = position % width, position // width
            for number in range(6):
                if number % 2:
                    row = (row + self.scramble(key, number, column)) % height
                else:
                    column = (column + self.scramble(key, number, row)) % width
            position = row * width + column
            if position < size:
                return position

    @staticmethod
    def scramble(key: int, number: int, value: int) -> int:
        return int.from_bytes(hashlib.blake2b(b"%d %d %d" % (key, number, value), digest_size=8).digest(), "big")

    def next_plan(self, rows: int, row_length: int) -> list[list[Draw]]:
        plan, room = [[] for _ in range(rows)], [row_length] * rows
        waiting, self.waiting = self.waiting, []
        while len(self.waiting) < 16:
            draw = waiting.pop(0) if waiting else self.draw()
            if length(draw) > row_length:
                self.too_long[draw.task] += 1
                continue
            row = next((r for r in range(rows) if room[r] >= length(draw)), None)
            if row is None:
                self.waiting.append(draw)
            else:
                plan[row].append(draw)
                room[row] -= length(draw)
        self.waiting += waiting
        return plan


@pytest.mark.parametrize("large", [10**6, 20])
def test_the_order_is_that_of_drawing_one_by_one(large, monkeypatch):
    """Over several passes, with examples that are too long; permutations as a whole, and computed place by place."""
    monkeypatch.setattr(Order, "LARGE", large)
    monkeypatch.setattr(Mixture, "FIRST", 7), monkeypatch.setattr(Mixture, "MOST", 20)  # many portions
    one_by_one, pack = OneByOne(SIZES, 1, large), packer(row_length=14)
    for _ in range(60):
        assert pack.next_plan() == one_by_one.next_plan(3, 14)
        state = pack.state()
        assert state["drawn"] == one_by_one.drawn and state["too_long"] == one_by_one.too_long
        assert state["waiting"] == [tuple(draw) for draw in one_by_one.waiting]
    assert one_by_one.too_long.total() > 30 and one_by_one.drawn["tts"] > 3 * SIZES["tts"]


@pytest.mark.parametrize(
    "weights",
    [
        [1.0],
        [0.15, 0.15, 0.15, 0.15, 0.15, 0.05, 0.05],
        [0.1, 0.2, 0.7],
        [0.3, 0.3, 0.4],
        [1.0, 2.0, 4.0],
        [1 / 3, 1 / 3, 1 / 3],
        [0.123457, 0.3337, 1.7, 0.01],  # no cycle to be guessed
        [0.5, 1e-9],
    ],
)
def test_turns_guessed_at_once_are_those_of_the_definition(weights):
    """Wherever they begin, in portions of any size, over roundings of many magnitudes."""
    shares = [weight / sum(weights) for weight in weights]
    for start in (0, 1, 999, 10**6 + 1, 10**12 + 7):
        used = [round(start * share) for share in shares]
        turns, used_T, found, expected = Turns(weights), np.array(used), [], []
        for count in (1, 5, 3000, 17, 1000):
            found += turns.next(used_T, count).tolist()
        for total in range(sum(used) + 1, sum(used) + 1 + len(found)):
            expected.append(max(range(len(used)), key=lambda t: shares[t] * total - used[t]))
            used[expected[-1]] += 1
        assert found == expected and used_T.tolist() == used


def test_each_task_has_exactly_its_share():
    counts = Counter(draw.task for draw in take(SIZES, 400))
    assert counts == {"asr": 300, "tts": 100}


def test_a_pass_takes_every_item_once_and_the_next_in_another_order():
    draws = [draw.index for draw in take(SIZES, 60, {"asr": 1.0})]
    first, second = draws[:30], draws[30:]
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
    said = (
        f"longer than row_length 14: {left_out.counts['asr']} of {state['drawn']['asr']} asr ({percent:.1f} %, the"
        " longest 17 positions)"
    )
    assert said in left_out.message(state["drawn"], 14)


def test_a_task_that_never_fits_is_an_error_though_another_does():
    longer = lambda task, *where: lengths(task, *where) + (50 if task == "tts" else 0)  # noqa: E731
    with pytest.raises(ValueError, match="none of the first 101 examples of tts fits a row, the longest has 6"):
        Packer(Mixture(SIZES, WEIGHTS, 1, longer, 40), 3).next_plan()


def test_restored_state_goes_on_as_if_never_stopped():
    """Wherever it is stopped: within what was made ahead, at its end, and after it; also before anything was drawn."""
    undisturbed, plans, states = packer(row_length=14), [], []
    for _ in range(400):
        states.append(undisturbed.state())
        plans.append(undisturbed.next_plan())
    for place in (0, 1, 100, 110, 111, 250):
        resumed = packer(row_length=14)
        resumed.next_plan()
        resumed.restore(states[place])
        for plan, state in zip(plans[place : place + 100], states[place : place + 100]):
            assert resumed.state() == state and resumed.next_plan() == plan


def test_restoring_takes_the_same_time_however_far_the_run_is():
    began, resumed = time.process_time(), packer()
    resumed.restore(
        {"drawn": {"asr": 750_000_000, "tts": 250_000_000}, "waiting": [("asr", 3, 749_999_999)], "too_long": {}}
    )
    plan = resumed.next_plan()
    assert time.process_time() - began < 0.1
    assert Draw("asr", 3, 749_999_999) in plan[0]
    assert {draw.number for row in plan for draw in row if draw.task == "tts"} >= {250_000_000}


def test_a_task_without_examples_is_an_error():
    with pytest.raises(ValueError, match="no training examples for s2st"):
        Mixture(SIZES, {"s2st": 1.0}, 1, lengths, 40)


def test_rows_shorter_than_every_example_are_an_error():
    with pytest.raises(ValueError, match="Raise row_length"):
        packer(row_length=4).next_plan()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1000, 1024, 1025])
def test_an_order_computed_place_by_place_is_a_permutation(size):
    orders = [Order(size, key, large=True).at(np.arange(size)).tolist() for key in (1, 2)]
    assert [sorted(order) for order in orders] == [list(range(size))] * 2
    assert size < 10 or orders[0] != orders[1]


def test_an_order_computed_place_by_place_looks_random():
    """Neighbours are as far from each other as in a random order (a third of the size), and no place is preferred."""
    size = 10_007
    order = Order(size, 5, large=True).at(np.arange(size))
    assert abs(np.abs(np.diff(order)).mean() / size - 1 / 3) < 0.01
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 0.03


def test_a_large_task_starts_at_once_and_small_ones_keep_their_order():
    began = time.process_time()
    draws = take({"asr": 10**12, "tts": 4}, 1000)
    assert time.process_time() - began < 1.0
    assert len({draw.index for draw in draws if draw.task == "asr"}) == 750
    assert [draw.index for draw in draws if draw.task == "tts"][:8] == [3, 2, 1, 0, 2, 0, 3, 1]
