"""Batches for the trainer, built from plans by loader workers.

Letters in shapes: B rows, L positions of a row, K columns (the codebooks; with the pattern flatten, one).
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import repeat

import numpy as np
import torch

from speechlm.tasks import TASK_NUMBERS
from speechlm.tasks.examples import ExampleBuilder, Item, Items, PromptIndex
from speechlm.tokens.sequence import Sequence, hide_frames
from speechlm.train.loader import Workers
from speechlm.train.mixture import Draw, LeftOut, Mixture, Packer, Plan

Batch = dict[str, torch.Tensor]
PLANS_AHEAD = 8
PROMPT_STEP = 7919  # from the prompt of one draw to that of the next


class Corpus:
    """The examples of all tasks, by task name and index; `hide_target` is the share of the target's frames that are
    hidden.
    """

    def __init__(
        self,
        items: dict[str, Items],
        prompts: PromptIndex,
        builder: ExampleBuilder,
        condition_weight: float,
        hide_target: float = 0.0,
    ):
        self._items, self._prompts, self._builder, self._condition_weight = items, prompts, builder, condition_weight
        self._hide_target = hide_target

    def sizes(self) -> dict[str, int]:
        return {task: len(items) for task, items in self._items.items()}

    def unprompted(self) -> dict[str, int]:
        """Return how many examples of each task have no voice prompt although the task has one: nothing else of the
        voice is there.
        """
        return {task: count for task, items in self._items.items() if (count := self._prompts.alone(items))}

    def lengths(self, task: str, index_M: np.ndarray, number_M: np.ndarray) -> np.ndarray:
        """Return the positions of M examples of a task: items `index_M`, drawn as its `number_M`-th."""
        return self._builder.rows(self._items[task].task, self._sizes(task, index_M, number_M))

    def frames(self, task: str, index_M: np.ndarray) -> np.ndarray:
        """Return how many frames of the utterance's own speech some examples have; prompts are other utterances'."""
        kinds = [part.split(":")[0] for part in self._items[task].task.parts]
        sizes = self._sizes(task, index_M, index_M)
        return sum(
            [each for kind, each in zip(kinds, sizes, strict=True) if kind == "speech"],
            np.zeros(len(index_M), np.int64),
        )

    def targets(self, task: str, index_M: np.ndarray) -> np.ndarray:
        """Return the lengths of what is to be said or written: frames of speech, tokens of text."""
        return self._sizes(task, index_M, index_M)[-1]

    def _sizes(self, task: str, index_M: np.ndarray, number_M: np.ndarray) -> list[np.ndarray]:
        """Return, of each part of a task, its sizes in M examples: tokens or frames; of a prompt all its frames, -1 if
        there is none.
        """
        items = self._items[task]
        sizes = [np.zeros(len(index_M), np.int64) for _ in items.task.parts]
        for here_P, utterance_P, pair in items.locate(index_M):
            for part, found_M in zip(items.task.parts, sizes, strict=True):
                kind, side = part.split(":")
                lang = pair[side == "tgt"]
                if kind == "prompt":
                    found_M[here_P] = self._prompts.frames(
                        items.records, utterance_P, lang, number_M[here_P] * PROMPT_STEP
                    )
                else:
                    found_M[here_P] = items.records.sizes(kind, lang, utterance_P)
        return sizes

    def sequence(self, draw: Draw) -> Sequence:
        item = self._items[draw.task][draw.index]
        sequence = self._builder.sequence(item, self._prompt(item, draw.number), draw.number, self._condition_weight)
        if not self._hide_target:
            return sequence
        rng = np.random.default_rng([TASK_NUMBERS[draw.task], draw.index, draw.number])  # another draw, other frames
        return hide_frames(sequence, self._hide_target, self._builder.vocab, rng)

    def prefix(self, draw: Draw) -> np.ndarray:
        """Return ids_TK of the example up to its target: what decoding is given."""
        item = self._items[draw.task][draw.index]
        return self._builder.prefix(item, self._prompt(item, draw.number))

    def name(self, draw: Draw) -> str:
        item = self._items[draw.task][draw.index]
        return f"{draw.task}:{item.record.id}:{item.src}-{item.tgt}"

    def _prompt(self, item: Item, number: int):
        return self._prompts.for_item(item, number * PROMPT_STEP)


def pack(rows: list[list[Sequence]], row_length: int, pad_id: int, num_columns: int) -> Batch:
    """Lay sequences side by side in rows of one length.

    Returns ids_BLK int64; position_BL, counted from 0 in each example; segment_BL, the number of the example in its row
    (-1: padding), so that attention stays inside an example; loss_BL float32, the weight of each position in the loss;
    task_BL, the place of the example's task in TASKS (-1: none); place_N, the positions (of all B L) whose next one has
    a weight; frame_F, those among the N whose next one has codes in later columns; hidden_BL, what the model is not
    shown.
    """
    B, L = len(rows), row_length
    ids_BLK = np.full((B, L, num_columns), pad_id, dtype=np.int64)
    position_BL, segment_BL = np.zeros((B, L), dtype=np.int64), np.full((B, L), -1, dtype=np.int64)
    loss_BL, task_BL = np.zeros((B, L), dtype=np.float32), np.full((B, L), -1, dtype=np.int64)
    hidden_BL = np.zeros((B, L), dtype=bool)
    for b, sequences in enumerate(rows):
        start = 0
        for number, sequence in enumerate(sequences):
            end = start + len(sequence)
            assert end <= L, f"row {b} overflows: {end} > {L}"
            ids_BLK[b, start:end], loss_BL[b, start:end] = sequence.ids_TK, sequence.loss_T
            position_BL[b, start:end], segment_BL[b, start:end] = np.arange(len(sequence)), number
            task_BL[b, start:end] = TASK_NUMBERS.get(sequence.task, -1)
            if sequence.hidden_T is not None:
                hidden_BL[b, start:end] = sequence.hidden_T
            start = end
    place_N = np.flatnonzero(loss_BL) - 1  # the first position of an example has no weight
    frame_F = np.flatnonzero((ids_BLK.reshape(B * L, -1)[place_N + 1, 1:] != pad_id).any(axis=1))
    arrays = {
        "ids_BLK": ids_BLK,
        "position_BL": position_BL,
        "segment_BL": segment_BL,
        "loss_BL": loss_BL,
        "task_BL": task_BL,
        "hidden_BL": hidden_BL,
    }
    arrays |= {"place_N": place_N, "frame_F": frame_F}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class PlannedBatches:
    """Builds the batch of a plan."""

    def __init__(self, corpus: Corpus, row_length: int, pad_id: int, num_columns: int):
        self._corpus, self._layout = corpus, (row_length, pad_id, num_columns)

    def build(self, plan: Plan) -> Batch:
        return pack([[self._corpus.sequence(draw) for draw in row] for row in plan], *self._layout)


class TrainingIterator:
    """Endless (plan, batch) pairs of one process; `state` is the position after the last batch taken.

    With several processes, each plans the whole stream and takes every world-size-th batch. With workers, planning is
    in a process of its own.
    """

    def __init__(
        self, corpus: Corpus, packer: Packer, batches: PlannedBatches, rank: int, world: int, num_workers: int
    ):
        self.corpus, self._packer, self._batches = corpus, packer, batches
        self._rank, self._world, self._num_workers = rank, world, num_workers
        self.state = packer.state()

    def restore(self, state: dict) -> None:
        self._packer.restore(state)
        self.state = state

    def left_out(self) -> str:
        """Say which examples were longer than a row until here; "" if none."""
        return LeftOut.of(self.state).message(self.state["drawn"], self._packer.row_length)

    def __iter__(self) -> Iterator[tuple[Plan, Batch]]:
        builders = Workers(self._build, self._num_workers)
        with closing(self.plans()) as plans, closing(builders.results(plans)) as batches:
            for (plan, state), arrays in batches:
                self.state = state
                yield plan, {name: torch.from_numpy(array) for name, array in arrays.items()}

    def plans(self) -> Iterator[tuple[Plan, dict]]:
        """Yield what `plan` returns, made ahead by a process of its own if there are workers."""
        with closing(Workers(self.plan, min(1, self._num_workers), PLANS_AHEAD).results(repeat(None))) as planned:
            for _, made in planned:
                yield made

    def plan(self, _task: None = None) -> tuple[Plan, dict]:
        """Plan one batch of every process; return this one's, and the position after it."""
        plans = [self._packer.next_plan() for _ in range(self._world)]
        return plans[self._rank], self._packer.state()

    def _build(self, planned: tuple[Plan, dict]) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self._batches.build(planned[0]).items()}


def fixed_batches(corpus: Corpus, rows: int, row_length: int, per_task: int) -> tuple[list[Plan], LeftOut]:
    """Return plans over the first `per_task` examples of every task, the same every time, and those longer than
    a row.
    """
    plans: list[Plan] = []
    rows_now: Plan = [[]]
    room, left_out = row_length, LeftOut()
    for task, size in sorted(corpus.sizes().items()):
        index_M = np.arange(min(size, per_task))
        for i, length in enumerate(corpus.lengths(task, index_M, index_M).tolist()):
            if length > row_length:
                left_out.add(task, length)
                continue
            if length > room:
                rows_now.append([])
                room = row_length
            rows_now[-1].append(Draw(task, i, i))
            room -= length
    for start in range(0, len(rows_now), rows):
        plans.append(rows_now[start : start + rows])
    return plans, left_out


def make_training_iterator(
    corpus: Corpus, weights: dict[str, float], layout: dict, seed: int, process: tuple[int, int], num_workers: int
) -> TrainingIterator:
    """`layout`: rows, row_length, pad_id, num_columns; `process`: (rank, world size)."""
    mixture = Mixture(corpus.sizes(), weights, seed, corpus.lengths, layout["row_length"])
    packer = Packer(mixture, layout["rows"])
    batches = PlannedBatches(corpus, layout["row_length"], layout["pad_id"], layout["num_columns"])
    return TrainingIterator(corpus, packer, batches, *process, num_workers)
