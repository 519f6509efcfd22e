"""From segments to the grid of ids that the model reads, and back.

An ASR example with K = 3 codebooks in C = 3 columns, as most patterns have (pad is '.', codes written as c0 c1 c2):

    column 0     <asr> <en> <speech> c0 c0 c0 </speech> <text> the dog </text>
    column 1       .    .      .     c1 c1 c1     .       .     .   .     .
    column 2       .    .      .     c2 c2 c2     .       .     .   .     .
    loss (SFT)     0    0      0     0  0  0      0       0     1   1     1

`loss` is the weight with which predicting that row counts: 1 in the target, `condition_weight` before it (0: SFT as
drawn, 1: every row counts as in the paper's CPT). The first row never counts: nothing comes before it.
"""

from dataclasses import dataclass, replace

import numpy as np

from speechlm.tokens.patterns import get_pattern
from speechlm.tokens.vocabulary import SPEECH_END, SPEECH_START, TEXT_END, TEXT_START, Vocabulary


@dataclass(frozen=True)
class Segment:
    """A run of rows. `target` says whether it is (part of) what the task produces."""

    ids_TK: np.ndarray
    target: bool = False


def special_segment(names: list[str], vocab: Vocabulary) -> Segment:
    """Special tokens, one a row."""
    return Segment(_column([vocab.special_id(name) for name in names], vocab))


def plain_text_segment(ids: list[int], vocab: Vocabulary, target: bool = True) -> Segment:
    """Text as the LLM itself reads it, without our boundary tokens."""
    return Segment(_column(ids, vocab), target)


def text_segment(ids: list[int], vocab: Vocabulary, target: bool = False) -> list[Segment]:
    """<text> ids </text>; the start token is given, the rest is the target."""
    return _bounded(TEXT_START, _column(ids, vocab), TEXT_END, vocab, target)


def speech_segment(codes_TK: np.ndarray, vocab: Vocabulary, target: bool = False) -> list[Segment]:
    """<speech> frames </speech>, the frames laid out by the vocabulary's pattern."""
    return _bounded(SPEECH_START, _frames(codes_TK, vocab), SPEECH_END, vocab, target)


def frames_segment(codes_TK: np.ndarray, vocab: Vocabulary) -> Segment:
    """Frames that are to be continued, without boundaries; ValueError if the pattern mixes rows of neighbouring
    frames.
    """
    half = len(codes_TK) // 2
    rows_SC = _frames(codes_TK, vocab)
    if not np.array_equal(np.concatenate([_frames(codes_TK[:half], vocab), _frames(codes_TK[half:], vocab)]), rows_SC):
        raise ValueError(
            f"the pattern {vocab.pattern} cannot continue given speech: list other utterances as prompts, or train with"
            " parallel"
        )
    return Segment(rows_SC)


def _frames(codes_TK: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    if codes_TK.ndim != 2 or codes_TK.shape[1] < vocab.num_codebooks:
        raise ValueError(
            f"codes have shape {codes_TK.shape}, expected [T, >= {vocab.num_codebooks}]: extract them with this codec"
        )
    grid_SC = get_pattern(vocab.pattern).apply(codes_TK[:, : vocab.num_codebooks] + np.asarray(vocab.codebook_starts))
    return np.where(grid_SC >= 0, grid_SC, vocab.pad_id)


def grid_to_codes(ids_SC: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """Undo `speech_segment` for the rows between its boundaries; return int32 codes_TK."""
    grid_SC = np.where(ids_SC == vocab.pad_id, -1, ids_SC)
    ids_TK = get_pattern(vocab.pattern).revert(grid_SC, vocab.num_codebooks)
    return (ids_TK - np.asarray(vocab.codebook_starts)).astype(np.int32)


@dataclass(frozen=True)
class Sequence:
    """One example: `ids_TK` int64, `loss_T` float32, the weight of each row in the loss, its task's name, and
    `hidden_T` bool, the rows that the model predicts and is not shown (None: no row).
    """

    ids_TK: np.ndarray
    loss_T: np.ndarray
    task: str = ""
    hidden_T: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids_TK)


def join(segments: list[Segment], condition_weight: float, task: str = "") -> Sequence:
    """Concatenate segments to one sequence; rows outside the target weigh `condition_weight`."""
    ids_TK = np.concatenate([s.ids_TK for s in segments])
    loss_T = np.concatenate(
        [np.full(len(s.ids_TK), 1.0 if s.target else condition_weight, dtype=np.float32) for s in segments]
    )
    loss_T[0] = 0
    return Sequence(ids_TK, loss_T, task)


def hide_frames(sequence: Sequence, share: float, vocab: Vocabulary, rng: np.random.Generator) -> Sequence:
    """Hide a share of the frames that count fully in the loss (the target's, if `condition_weight` is below 1): a model
    that is shown all of them learns sentences by their beginnings before it learns to listen.

    As the words that Bowman et al. 2016 hide from a decoder (arXiv 1511.06349, section 3.1), and the dropout in the
    prenet of Tacotron 2 (arXiv 1712.05884, section 2.2).
    """
    frames_T = (sequence.ids_TK[:, 0] >= vocab.codes_start) & (sequence.loss_T == 1)
    return replace(sequence, hidden_T=frames_T & (rng.random(len(sequence)) < share))


def _bounded(start: str, ids_TK: np.ndarray, end: str, vocab: Vocabulary, target: bool) -> list[Segment]:
    inner = np.concatenate([ids_TK, special_segment([end], vocab).ids_TK])
    return [special_segment([start], vocab), Segment(inner, target)]


def _column(ids: list[int], vocab: Vocabulary) -> np.ndarray:
    """Put ids into column 0 of [len(ids), C], padding elsewhere."""
    ids_TK = np.full((len(ids), vocab.num_columns), vocab.pad_id, dtype=np.int64)
    ids_TK[:, 0] = ids
    return ids_TK
