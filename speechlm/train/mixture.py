"""The order of training: tasks mixed by weight, each in shuffled passes over its items, packed to batches.

Everything follows from a seed and a few counters, so the position in the data is restored at once, however far the
run is, and does not depend on the number of loader workers or of processes.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from speechlm.tasks.examples import stable_hash

ROUNDS = 6  # of the Feistel network


class Draw(NamedTuple):
    """One example of the stream: item `index` of `task`, drawn as that task's `number`-th."""

    task: str
    index: int
    number: int


class LeftOut:
    """Examples that are longer than a row: how many of each task, and the positions of its longest."""

    def __init__(self, counts: Mapping[str, int] | None = None, longest: Mapping[str, int] | None = None):
        self.counts, self.longest = Counter(counts), dict(longest or {})

    @classmethod
    def of(cls, state: Mapping) -> "LeftOut":
        """Return what a position in the data (`Packer.state`) holds."""
        return cls(state["too_long"], state.get("longest"))

    def add(self, task: str, length: int) -> None:
        self.counts[task] += 1
        self.longest[task] = max(length, self.longest.get(task, 0))

    def told(self, among: Mapping[str, int], row_length: int) -> str:
        """Say it in a line; `among` is how many examples of each task there were with these. "" if there are none."""
        parts = [
            f"{count} of {among[task]} {task} ({100 * count / among[task]:.1f} %, the longest"
            f" {self.longest.get(task, 0)} positions)"
            for task, count in sorted(self.counts.items())
        ]
        return f"left out, because longer than row_length {row_length}: {', '.join(parts)}" if parts else ""


Lengths = Callable[
    [str, np.ndarray, np.ndarray], np.ndarray
]  # of a task's items, drawn as its numbers: positions of each example


class Mixture:
    """An endless stream of draws in which each task has exactly its share (weights need not sum to 1).

    `drawn` counts the draws of each task. Those that are longer than a row (`left_out`) don't count in its share. Draws
    of a task are looked
    up AHEAD at a time, as arrays.
    """

    AHEAD, HOPELESS = 512, 100

    def __init__(self, sizes: dict[str, int], weights: dict[str, float], seed: int):
        self._tasks = sorted(name for name, weight in weights.items() if weight > 0)
        empty = [name for name in self._tasks if not sizes.get(name)]
        if not self._tasks or empty:
            raise ValueError(
                f"mixture {weights}: no training examples for {', '.join(empty) or 'any task'}. Expected utterances"
                " that have all parts of each task: see the sets and languages given, or take the task out of the"
                " config's mixture."
            )
        total = sum(weights[name] for name in self._tasks)
        self._shares = [weights[name] / total for name in self._tasks]
        self._sizes, self._seed = sizes, seed
        self._orders: dict[str, tuple[int, Order]] = {}
        self._ahead: dict[str, tuple[int, list[int], list[int]]] = {}
        self.restore({}, LeftOut())

    def restore(self, drawn: Mapping[str, int], left_out: LeftOut) -> None:
        """Go on from where so many were drawn of each task, and these left out."""
        self.drawn, self.left_out = Counter(drawn), left_out
        self._used = [self.drawn[name] - left_out.counts[name] for name in self._tasks]

    def draw(self, lengths: Lengths, row_length: int) -> tuple[Draw, int]:
        """Return the next draw that fits a row, and its length: of the task that is furthest behind its share."""
        used, total = self._used, sum(self._used) + 1
        behind = [share * total - count for share, count in zip(self._shares, used)]
        which = behind.index(max(behind))
        task, drawn = self._tasks[which], self.drawn
        while True:
            number = drawn[task]
            drawn[task] = number + 1
            index, length = self._look_up(task, number, lengths)
            if length <= row_length:
                used[which] += 1
                return Draw(task, index, number), length
            self._leave_out(task, length)

    def _look_up(self, task: str, number: int, lengths: Lengths) -> tuple[int, int]:
        """Return the item that a task's draw is, and its length."""
        start, indexes, found = self._ahead.get(task, (0, (), ()))
        if not 0 <= number - start < len(indexes):
            start, number_M = number, np.arange(number, number + self.AHEAD)
            index_M = self._items(task, number_M)
            indexes, found = index_M.tolist(), lengths(task, index_M, number_M).tolist()
            self._ahead[task] = start, indexes, found
        return indexes[number - start], found[number - start]

    def _leave_out(self, task: str, length: int) -> None:
        """Take back a draw that is too long; ValueError if all of many of its task are."""
        self.left_out.add(task, length)
        if self.left_out.counts[task] > self.HOPELESS and self.left_out.counts[task] == self.drawn[task]:
            raise ValueError(
                f"row_length: none of the first {self.drawn[task]} examples of {task} fits a row, the longest "
                f"has {self.left_out.longest[task]} positions. Raise row_length in the config."
            )

    def _items(self, task: str, number_M: np.ndarray) -> np.ndarray:
        """Return what a task's draws are: whole passes, each in an order of its own."""
        cycle_M, position_M = np.divmod(number_M, self._sizes[task])
        index_M = np.empty_like(position_M)
        for cycle in np.unique(cycle_M).tolist():
            here_M = cycle_M == cycle
            if self._orders.get(task, (None,))[0] != cycle:
                self._orders[task] = cycle, Order(self._sizes[task], stable_hash(self._seed, task, cycle))
            index_M[here_M] = self._orders[task][1].at(position_M[here_M])
        return index_M


class Order:
    """A permutation of `size` numbers. One of more than LARGE is computed place by place: no start waits for it, and it
    takes little memory.

    A Feistel network over a rectangle of at least `size` places, whose two sides need not be powers of two; what falls
    outside is sent through again. Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002. What a
    round adds is kept: it has no more values than a side is long.
    """

    LARGE = 2**20

    def __init__(self, size: int, key: int, large: bool | None = None):
        self._size, self._key = size, key
        self._whole = (
            None if (size > self.LARGE if large is None else large) else np.random.default_rng(key).permutation(size)
        )
        self._width = math.isqrt(size - 1) + 1
        self._height = -(-size // self._width)
        self._added: list[np.ndarray] = []

    def at(self, position_M: np.ndarray) -> np.ndarray:
        """Return the numbers at some places."""
        if self._whole is not None:
            return self._whole[position_M]
        found_M = self._pass(position_M)
        while len(outside := np.flatnonzero(found_M >= self._size)):
            found_M[outside] = self._pass(found_M[outside])
        return found_M

    def _pass(self, position_M: np.ndarray) -> np.ndarray:
        row_M, column_M = np.divmod(position_M, self._width)
        for number in range(ROUNDS):
            if number % 2:
                row_M = (row_M + self._scramble(number, column_M)) % self._height
            else:
                column_M = (column_M + self._scramble(number, row_M)) % self._width
        return row_M * self._width + column_M

    def _scramble(self, number: int, value_M: np.ndarray) -> np.ndarray:
        """Return what a round adds, modulo the side that it is added to; a value is computed when it is first met."""
        if not self._added:
            self._added = [np.full(self._width, -1) for _ in range(ROUNDS)]
        added, side = self._added[number], self._height if number % 2 else self._width
        for value in np.unique(value_M[added[value_M] < 0]).tolist():
            content = b"%d %d %d" % (self._key, number, value)
            added[value] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") % side
        return added[value_M]


Plan = list[list[Draw]]  # the draws of each row of a batch


class Packer:
    """Fills batches of `rows` rows of `row_length` positions, first fit; a draw that does not fit waits for the next
    batch.
    """

    MAX_WAITING = 16

    def __init__(self, mixture: Mixture, lengths: Lengths, rows: int, row_length: int):
        self._mixture, self._lengths = mixture, lengths
        self._rows, self.row_length = rows, row_length
        self._waiting: list[tuple[Draw, int]] = []

    def state(self) -> dict:
        """Return the position in the data, as plain values."""
        left_out = self._mixture.left_out
        return {
            "drawn": dict(self._mixture.drawn),
            "waiting": [tuple(draw) for draw, _ in self._waiting],
            "too_long": dict(left_out.counts),
            "longest": dict(left_out.longest),
        }

    def restore(self, state: dict) -> None:
        self._mixture.restore(state["drawn"], LeftOut.of(state))
        draws = [Draw(*fields) for fields in state["waiting"]]
        one = lambda value: np.array([value])  # noqa: E731
        self._waiting = [(draw, int(self._lengths(draw.task, one(draw.index), one(draw.number))[0])) for draw in draws]

    def next_plan(self) -> Plan:
        plan: Plan = [[] for _ in range(self._rows)]
        room = [self.row_length] * self._rows
        waiting, self._waiting = self._waiting, []
        waiting.reverse()
        most = self.row_length
        while len(self._waiting) < self.MAX_WAITING:
            draw, length = waiting.pop() if waiting else self._mixture.draw(self._lengths, self.row_length)
            if length > most:
                self._waiting.append((draw, length))
                continue
            row = next(row for row, space in enumerate(room) if space >= length)
            plan[row].append(draw)
            room[row] -= length
            most = max(room)
        self._waiting += reversed(waiting)
        return plan
