"""The order of training: tasks mixed by weight, each in shuffled passes over its items, packed to batches.

Everything follows from a seed and a few counters, so the position in the data is restored at once, however far the
run is, and does not depend on the number of loader workers or of processes.
"""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, repeat
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

    def message(self, among: Mapping[str, int], row_length: int) -> str:
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


class Turns:
    """Whose turn it is, draw after draw: of the task that is furthest behind its share.

    With usual weights the turns come round in a cycle. So they are guessed to go on as in the cycle before, and all of
    a guess is checked at once: up to the first turn that differs, the definition's own arithmetic has confirmed it.
    """

    LONGEST, FIRST_GUESS = 1000, 8  # of a cycle; cycles guessed at first

    def __init__(self, weights: list[float]):
        self._shares = [weight / sum(weights) for weight in weights]
        self._cycle = math.lcm(*(Fraction(share).limit_denominator(self.LONGEST).denominator for share in self._shares))

    def next(self, used_T: np.ndarray, count: int) -> np.ndarray:
        """Return the tasks of the next draws [count]; adds them to those `used`."""
        found_M, done, cycles = np.empty(count, np.int64), 0, self.FIRST_GUESS
        while done < count:
            if (cycle := self._cycle) > self.LONGEST:
                cycle = count
            begin, done = done, min(done + cycle, count)
            found_M[begin:done] = self._one_by_one(used_T, done - begin)
            while done < count:
                guess_M = np.resize(found_M[done - cycle : done], min(cycles * cycle, count - done))
                right = self._confirm(used_T, guess_M)
                found_M[done : done + right] = guess_M[:right]
                done += right
                if right < len(guess_M):
                    cycles = self.FIRST_GUESS
                    break
                cycles *= 2
        return found_M

    def _one_by_one(self, used_T: np.ndarray, count: int) -> list[int]:
        used, found = used_T.tolist(), []
        for total in range(sum(used) + 1, sum(used) + 1 + count):
            behind = [share * total - number for share, number in zip(self._shares, used)]
            found.append(behind.index(max(behind)))
            used[found[-1]] += 1
        used_T[:] = used
        return found

    def _confirm(self, used_T: np.ndarray, guess_M: np.ndarray) -> int:
        """Return how much of the beginning of a guess is right, and add it to those `used`."""
        is_TM = guess_M == np.arange(len(used_T))[:, None]
        used_TM = used_T[:, None] + is_TM.cumsum(axis=1) - is_TM
        total_M = used_T.sum() + 1 + np.arange(len(guess_M))
        wrong = np.flatnonzero((np.array(self._shares)[:, None] * total_M - used_TM).argmax(axis=0) != guess_M)
        right = int(wrong[0]) if len(wrong) else len(guess_M)
        used_T += is_TM[:, :right].sum(axis=1)
        return right


class Ahead:
    """What is known of a task beyond what was drawn: `fitting_3F`, the draws that fit a row (index, number and length),
    and number and length of those too long.
    """

    def __init__(self, number: int):
        self.end, self.fitting_3F, self.too_long = number, np.zeros((3, 0), np.int64), deque()

    def add(self, found_3M: np.ndarray, row_length: int) -> None:
        fits_M = found_3M[2] <= row_length
        self.end += len(fits_M)
        self.fitting_3F = np.concatenate([self.fitting_3F, found_3M[:, fits_M]], axis=1)
        self.too_long.extend(found_3M[1:, ~fits_M].T.tolist())

    def take(self, count: int) -> np.ndarray:
        taken, self.fitting_3F = np.split(self.fitting_3F, [count], axis=1)
        return taken

    def too_long_before(self, number: int) -> Iterator[int]:
        """Yield the lengths of those too long that were drawn before a number, once."""
        while self.too_long and self.too_long[0][0] < number:
            yield self.too_long.popleft()[1]


class Mixture:
    """An endless `stream` of draws that fit a row, with their lengths, in which each task has exactly its share
    (weights need not sum to 1).

    `drawn` counts the draws of each task; those that are longer than a row (`left_out`) don't count in its share. Draws
    are made as arrays, many at a time: `settle` counts those that were taken.
    """

    FIRST, MOST, AHEAD, HOPELESS = 512, 16384, 512, 100  # draws made at first and at most; looked up; AHEAD > HOPELESS

    def __init__(self, sizes: dict[str, int], weights: dict[str, float], seed: int, lengths: Lengths, row_length: int):
        self._tasks = sorted(name for name, weight in weights.items() if weight > 0)
        empty = [name for name in self._tasks if not sizes.get(name)]
        if not self._tasks or empty:
            raise ValueError(
                f"mixture {weights}: no training examples for {', '.join(empty) or 'any task'}. Expected utterances"
                " that have all parts of each task: see the sets and languages given, or take the task out of the"
                " config's mixture."
            )
        self._turns = Turns([weights[name] for name in self._tasks])
        self._sizes, self._seed, self.lengths, self.row_length = sizes, seed, lengths, row_length
        self._orders: dict[str, tuple[int, Order]] = {}
        self.restore({}, LeftOut())

    def restore(self, drawn: Mapping[str, int], left_out: LeftOut) -> None:
        """Go on from where so many were drawn of each task, and these left out."""
        self.drawn, self.left_out = Counter(drawn), left_out
        self._ahead = {name: Ahead(self.drawn[name]) for name in self._tasks}
        self._before, self._which_M, self._number_M = 0, *np.zeros((2, 0), np.int64)  # the portion made last
        self.stream = chain.from_iterable(self._portions())

    def settle(self, taken: int) -> None:
        """Count the draws of each task when so many have been taken from `stream` since the start or `restore`."""
        end_T, here = np.zeros(len(self._tasks), np.int64), slice(taken - self._before)
        end_T[self._which_M[here]] = self._number_M[here] + 1  # of each task its last one's
        for name, end in zip(self._tasks, end_T.tolist()):
            if end:
                self.drawn[name] = end
                for length in self._ahead[name].too_long_before(end):
                    self.left_out.add(name, length)

    def _portions(self) -> Iterator[Iterable[tuple[Draw, int]]]:
        """Yield the draws of the stream, many at a time."""
        used_T, count = np.array([self.drawn[name] - self.left_out.counts[name] for name in self._tasks]), self.FIRST
        while True:
            which_M, found_3M = self._turns.next(used_T, count), np.zeros((3, count), np.int64)
            for which, name in enumerate(self._tasks):
                here_P = np.flatnonzero(which_M == which)
                found_3M[:, here_P] = self._take(name, len(here_P))
            index_M, self._number_M, length_M = found_3M
            self._which_M = which_M
            names = np.array(self._tasks, dtype=object)[which_M].tolist()
            fields = zip(names, index_M.tolist(), self._number_M.tolist())
            yield zip(map(tuple.__new__, repeat(Draw), fields), length_M.tolist())
            self.settle(self._before + count)
            self._before += count
            count = min(2 * count, self.MOST)

    def _take(self, task: str, count: int) -> np.ndarray:
        """Return the next draws of a task that fit a row: index, number and length [3, count]."""
        ahead = self._ahead[task]
        while (missing := count - ahead.fitting_3F.shape[1]) > 0:
            number_M = np.arange(ahead.end, ahead.end + max(missing, self.AHEAD))
            index_M = self._items(task, number_M)
            length_M = self.lengths(task, index_M, number_M)
            if number_M[0] == 0:
                self._require_fitting(task, length_M[: self.HOPELESS + 1])
            ahead.add(np.stack([index_M, number_M, length_M]), self.row_length)
        return ahead.take(count)

    def _require_fitting(self, task: str, length_M: np.ndarray) -> None:
        """Raise ValueError if all of a task's first draws are longer than a row."""
        if length_M.min() > self.row_length:
            raise ValueError(
                f"row_length: none of the first {len(length_M)} examples of {task} fits a row, the longest "
                f"has {length_M.max()} positions. Raise row_length in the config."
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
        if len(new := value_M[added[value_M] < 0]):
            new = np.unique(new)
            contents = (b"%d %d %d" % (self._key, number, value) for value in new.tolist())
            digests = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
            added[new] = np.frombuffer(digests, ">u8") % side
        return added[value_M]


Plan = list[list[Draw]]  # the draws of each row of a batch


class Packer:
    """Fills batches of `rows` rows, first fit; a draw that does not fit waits for the next batch."""

    MAX_WAITING = 16

    def __init__(self, mixture: Mixture, rows: int):
        self._mixture, self._rows, self.row_length = mixture, rows, mixture.row_length
        self._waiting: list[tuple[Draw, int]] = []
        self._taken = 0  # from the mixture

    def state(self) -> dict:
        """Return the position in the data, as plain values."""
        self._mixture.settle(self._taken)
        left_out = self._mixture.left_out
        return {
            "drawn": dict(self._mixture.drawn),
            "waiting": [tuple(draw) for draw, _ in self._waiting],
            "too_long": dict(left_out.counts),
            "longest": dict(left_out.longest),
        }

    def restore(self, state: dict) -> None:
        self._mixture.restore(state["drawn"], LeftOut.of(state))
        draws, self._taken = [Draw(*fields) for fields in state["waiting"]], 0
        one = lambda value: np.array([value])  # noqa: E731
        lengths = [self._mixture.lengths(draw.task, one(draw.index), one(draw.number)) for draw in draws]
        self._waiting = [(draw, int(length[0])) for draw, length in zip(draws, lengths)]

    def next_plan(self) -> Plan:
        plan: Plan = [[] for _ in range(self._rows)]
        row, space = plan[0], self.row_length  # the last row that has anything, and its room
        begun, most, any_row = [], 0, self.row_length  # the room of those before it; the most of them, and of all
        waiting, late = iter(self._waiting), []
        for pair in chain(waiting, self._mixture.stream):
            length = pair[1]
            if length > any_row:
                if len(begun) + 1 == self._rows:
                    late.append(pair)
                    if len(late) == self.MAX_WAITING:
                        break
                    continue
                begun.append(space)
                most = max(most, space)
                row, space = plan[len(begun)], self.row_length
            if length > most:
                row.append(pair[0])
                space -= length
            else:
                first = next(i for i, room in enumerate(begun) if room >= length)
                plan[first].append(pair[0])
                begun[first] -= length
                most = max(begun)
            any_row = most if most > space else space
        late += waiting
        self._taken += sum(map(len, plan)) + len(late) - len(self._waiting)
        self._waiting = late
        return plan
