"""The order of training: tasks mixed by weight, each in shuffled passes over its items, packed to batches.

Everything follows from a seed and a few counters, so the position in the data is restored at once, however far the
run is, and does not depend on the number of loader workers or of processes.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from speechlm.tasks.examples import stable_hash

ROUNDS = 6  # of the Feistel network


@dataclass(frozen=True)
class Draw:
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
            f"{count} of {among[task]} {task} ({100 * count / among[task]:.1f} %, the longest {self.longest.get(task, 0)} positions)"
            for task, count in sorted(self.counts.items())
        ]
        return f"left out, because longer than row_length {row_length}: {', '.join(parts)}" if parts else ""


class Mixture:
    """An endless stream of draws in which each task has exactly its share (weights need not sum to 1).

    `drawn` counts the draws of each task. Those that are longer than a row (`leave_out`) don't count in its share.
    The order of a task with more than LARGE items is computed place by place: no start waits for it, and it takes no memory.
    """

    LARGE, HOPELESS = 2**20, 100

    def __init__(self, sizes: dict[str, int], weights: dict[str, float], seed: int):
        self._tasks = sorted(name for name, weight in weights.items() if weight > 0)
        empty = [name for name in self._tasks if not sizes.get(name)]
        if not self._tasks or empty:
            raise ValueError(
                f"mixture {weights}: no training examples for {', '.join(empty) or 'any task'}. Expected utterances that have all "
                "parts of each task: see the sets and languages given, or take the task out of the config's mixture."
            )
        total = sum(weights[name] for name in self._tasks)
        self._shares = {name: weights[name] / total for name in self._tasks}
        self._sizes, self._seed = sizes, seed
        self._orders: dict[str, tuple[int, np.ndarray]] = {}
        self.drawn: Counter[str] = Counter()
        self.left_out = LeftOut()

    def draw(self) -> Draw:
        """Return the next draw: the task that is furthest behind its share."""
        used = {name: self.drawn[name] - self.left_out.counts[name] for name in self._tasks}
        total = sum(used.values()) + 1
        task = max(self._tasks, key=lambda name: self._shares[name] * total - used[name])
        number = self.drawn[task]
        self.drawn[task] += 1
        cycle, position = divmod(number, self._sizes[task])
        return Draw(task, self._shuffled(task, cycle, position), number)

    def leave_out(self, draw: Draw, length: int) -> None:
        """Take back a draw that is too long; ValueError if all of many of its task are."""
        self.left_out.add(draw.task, length)
        if self.left_out.counts[draw.task] > self.HOPELESS and self.left_out.counts[draw.task] == self.drawn[draw.task]:
            raise ValueError(
                f"row_length: none of the first {self.drawn[draw.task]} examples of {draw.task} fits a row, the longest "
                f"has {self.left_out.longest[draw.task]} positions. Raise row_length in the config."
            )

    def _shuffled(self, task: str, cycle: int, position: int) -> int:
        """Return what stands at a position of a task's order in one pass."""
        size, key = self._sizes[task], stable_hash(self._seed, task, cycle)
        if size > self.LARGE:
            return shuffled(position, size, key)
        if self._orders.get(task, (None,))[0] != cycle:
            self._orders[task] = cycle, np.random.default_rng(key).permutation(size)
        return int(self._orders[task][1][position])


def shuffled(position: int, size: int, key: int) -> int:
    """Return the image of a position in a permutation of `size` numbers, which is computed for this position alone.

    A Feistel network over a rectangle of at least `size` places, whose two sides need not be powers of two; what falls
    outside is sent through again. Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002.
    """
    width = math.isqrt(size - 1) + 1
    height = -(-size // width)
    while True:
        column, row = position % width, position // width
        for number in range(ROUNDS):
            if number % 2:
                row = (row + _scramble(key, number, column)) % height
            else:
                column = (column + _scramble(key, number, row)) % width
        position = row * width + column
        if position < size:
            return position


def _scramble(key: int, number: int, value: int) -> int:
    return int.from_bytes(hashlib.blake2b(b"%d %d %d" % (key, number, value), digest_size=8).digest(), "big")


Plan = list[list[Draw]]  # the draws of each row of a batch


class Packer:
    """Fills batches of `rows` rows of `row_length` positions, first fit; a draw that does not fit waits for the next batch.

    `length(draw)` gives an example's number of positions. An example longer than a row is left out.
    """

    MAX_WAITING = 16

    def __init__(self, mixture: Mixture, length: Callable[[Draw], int], rows: int, row_length: int):
        self._mixture, self._length = mixture, length
        self._rows, self.row_length = rows, row_length
        self._waiting: list[Draw] = []

    def state(self) -> dict:
        """Return the position in the data, as plain values."""
        waiting = [(d.task, d.index, d.number) for d in self._waiting]
        left_out = self._mixture.left_out
        return {
            "drawn": dict(self._mixture.drawn),
            "waiting": waiting,
            "too_long": dict(left_out.counts),
            "longest": dict(left_out.longest),
        }

    def restore(self, state: dict) -> None:
        self._mixture.drawn = Counter(state["drawn"])
        self._waiting = [Draw(*fields) for fields in state["waiting"]]
        self._mixture.left_out = LeftOut.of(state)

    def next_plan(self) -> Plan:
        plan: Plan = [[] for _ in range(self._rows)]
        room = [self.row_length] * self._rows
        waiting, self._waiting = self._waiting, []
        while len(self._waiting) < self.MAX_WAITING:
            draw = waiting.pop(0) if waiting else self._mixture.draw()
            length = self._length(draw)
            if length > self.row_length:
                self._mixture.leave_out(draw, length)
                continue
            row = next((r for r in range(self._rows) if room[r] >= length), None)
            if row is None:
                self._waiting.append(draw)
            else:
                plan[row].append(draw)
                room[row] -= length
        self._waiting += waiting
        return plan
