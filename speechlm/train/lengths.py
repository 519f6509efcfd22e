"""What a training's row_length leaves out, computed before it starts: the share of each task's examples and of their
audio.

If a task has more than SAMPLE examples, only SAMPLE of them, spread evenly, are looked at: texts must be tokenised to
be counted.
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from speechlm.tasks import get_task
from speechlm.tasks.examples import stable_hash
from speechlm.train.iterator import Corpus
from speechlm.train.mixture import Order

SAMPLE = 1000


@dataclass(frozen=True)
class Lengths:
    """Of N examples of a task: their positions in a row, the frames of audio in them (prompts aside), and the frames or
    tokens of their targets.
    """

    task: str
    positions_N: np.ndarray
    frames_N: np.ndarray
    targets_N: np.ndarray
    size: int  # of the whole task

    @property
    def heard_N(self) -> np.ndarray:
        """The frames of audio that each is given."""
        return self.frames_N - self.targets_N if get_task(self.task).speaks else self.frames_N

    def left_out(self, row_length: int) -> tuple[float, float]:
        """Return the shares of the examples and of the audio that are in longer examples."""
        longer_N = self.positions_N > row_length
        return longer_N.mean(), self.frames_N[longer_N].sum() / max(1, self.frames_N.sum())

    def needed(self, share: float) -> int:
        """Return the row_length that leaves out at most this share of both, rounded up to a multiple of 8."""
        candidates = np.unique(self.positions_N)
        fitting = next(length for length in candidates if max(self.left_out(length)) <= share)
        return math.ceil(fitting / 8) * 8

    def message(self, row_length: int) -> str:
        examples, audio = self.left_out(row_length)
        heard = f" with {100 * audio:.1f} % of the audio" if self.frames_N.any() else ""
        seen = f"{len(self.positions_N)} of {self.size} looked at, " if len(self.positions_N) < self.size else ""
        longest = f"{seen}the longest {self.positions_N.max()} positions"
        return f"{self.task} {100 * examples:.1f} % of the examples{heard} ({longest})"


def measure(corpus: Corpus, tasks: Iterable[str]) -> list[Lengths]:
    """Return the lengths of each task that has examples."""
    found = []
    for task in tasks:
        if not (size := corpus.sizes()[task]):
            continue
        key, count = stable_hash("lengths", task), min(size, SAMPLE)
        number_M = np.arange(count)
        index_M = number_M if count == size else Order(size, key).at(number_M)
        found.append(
            Lengths(
                task,
                corpus.lengths(task, index_M, number_M),
                corpus.frames(task, index_M),
                corpus.targets(task, index_M),
                size,
            )
        )
    return found


def check_lengths(corpus: Corpus, args) -> list[Lengths]:
    """Return the lengths, and say what args.row_length leaves out; ValueError if that is more than args.max_left_out of
    a task.
    """
    found = measure(corpus, [task for task, weight in args.mixture.items() if weight > 0])
    affected = [lengths for lengths in found if lengths.left_out(args.row_length)[0]]
    if not affected:
        return found
    shares = "; ".join(each.message(args.row_length) for each in affected)
    said = f"{args.config or 'the options'}: row_length {args.row_length} leaves out {shares}"
    if all(max(each.left_out(args.row_length)) <= args.max_left_out for each in affected):
        logging.warning(said)
        return found
    needed, every = (max(each.needed(share) for each in affected) for share in (args.max_left_out, 0.0))
    raise ValueError(
        f"{said}. Expected at most {100 * args.max_left_out:g} % of a task. Set row_length: {needed} (or {every}, "
        "for all that were looked at) and fewer rows, so that a batch stays as large: rows: "
        f"{max(1, args.rows * args.row_length // needed)}; or allow it by --max_left_out."
    )
