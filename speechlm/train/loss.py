"""The loss of a packed batch: never the logits of all of it at once, and nothing that waits for a GPU.

Letters in shapes: B rows, L positions, K columns, D model width, N positions whose next row counts, F of them before a
frame (with codes in later columns), J heads of C choices each, R = J C rows of their table, P predictions (a position
has one for each column), S figures.
"""

import argparse
import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechlm.model.segments import use_segments
from speechlm.model.speechlm import SpeechLM, is_speech
from speechlm.tasks import TASK_NUMBERS

TEXT = 0  # kind of a prediction; code k is 1 + k, and the ends of speech, where they are a kind of their own, the last
CHUNK_LOGITS, CHUNK_ROWS = {"cpu": 2**22, "cuda": 2**28}, 4096  # at most, at a time


class Predictions(NamedTuple):
    """Cross-entropies in nats, the weights they count with, their kinds, and which of the N positions they
    belong to.
    """

    nats_P: Tensor
    weight_P: Tensor
    kind_P: Tensor
    row_P: Tensor


class TrainingModel(nn.Module):
    """Token-weighted loss of a packed batch (`speechlm.train.iterator.pack`).

    `stream_weights`: weight of the loss of each codebook; text and special tokens weigh `text_weight`. With a
    text_weight of 0 only speech is learned: the text head stands still, what is within speech is predicted among what
    can be there, and the ends of speech, a figure `end` of their own, weigh as its codes; `text` is only measured. The
    losses of `tasks` are reported one by one.
    """

    def __init__(self, speechlm: SpeechLM, stream_weights: list[float], text_weight: float, tasks: Iterable[str] = ()):
        super().__init__()
        K = speechlm.vocab.num_codebooks
        if len(stream_weights) != K:
            raise ValueError(
                f"stream_weights has {len(stream_weights)} values, the codec has {K} codebooks: expected one each"
            )
        self.speechlm, self.tasks, self.learn_text = speechlm, sorted(tasks), text_weight > 0
        self.compiled = self.by_segments = False  # until `prepare`
        ends = [] if self.learn_text else ["end"]
        self.figures = [
            "loss",
            "text",
            *(f"code{k}" for k in range(K)),
            *ends,
            *(f"task.{name}" for name in self.tasks),
            "positions",
        ]
        self._constant("scales", torch.tensor([text_weight, *stream_weights, *(stream_weights[0] for _ in ends)]))
        self._constant("starts", torch.tensor(speechlm.vocab.codebook_starts))
        self._constant("task_numbers", torch.tensor([TASK_NUMBERS[name] for name in self.tasks], dtype=torch.long))
        ids = torch.arange(speechlm.first_size)
        of_speech = is_speech(speechlm.vocab, ids)
        self._constant("speech_ids", ids[of_speech])
        self._constant(
            "choices", torch.where(of_speech, of_speech.cumsum(0) - 1, -1)
        )  # the place of an id among speech_ids
        if not self.learn_text:
            freeze_text_head(speechlm.llm)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    @property
    def first_choices(self) -> int:
        """Among how many ids a code of column 0 is predicted."""
        return self.speechlm.first_size if self.learn_text else len(self.speech_ids)

    def forward(  # noqa: PLR0913 (the arrays of a batch, by name)
        self,
        ids_BLK: Tensor,
        position_BL: Tensor,
        segment_BL: Tensor,
        loss_BL: Tensor,
        task_BL: Tensor,
        hidden_BL: Tensor,
        place_N: Tensor,
        frame_F: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return (the sum of the weighted losses in nats, table_S2: of each of `figures` its weighted sum and its sum
        of weights).
        """
        shown_BLK = ids_BLK.masked_fill(hidden_BL[..., None], self.speechlm.vocab.pad_id)  # a hidden frame adds nothing
        hidden_ND = self._hidden(shown_BLK, position_BL, segment_BL, place_N)
        target_NK = ids_BLK.flatten(0, 1)[place_N + 1]
        weight_N, task_N = loss_BL.flatten()[place_N + 1], task_BL.flatten()[place_N + 1]
        first, predictions = self._first_column(hidden_ND, target_NK[:, 0], weight_N)
        later, others = self._later_columns(
            hidden_ND.index_select(0, frame_F), target_NK[frame_F], weight_N[frame_F], frame_F
        )
        found = Predictions(*map(torch.cat, zip(predictions, others, strict=True)))
        positions = (segment_BL >= 0).sum().double()
        return first + later, self._table(found, weight_N, task_N, positions)

    def _hidden(self, ids_BLK: Tensor, position_BL: Tensor, segment_BL: Tensor, place_N: Tensor) -> Tensor:
        """Return the hidden states at some places; by segments, rows and their padding are of no use: all is one
        row.
        """
        if not self.by_segments:
            return self.speechlm.hidden(ids_BLK, None, position_BL).flatten(0, 1).index_select(0, place_N)
        used_M = (segment_BL.flatten() >= 0).nonzero().squeeze(1)
        ids_1MK, position_1M = ids_BLK.flatten(0, 1)[None, used_M], position_BL.flatten()[None, used_M]
        hidden_MD = self.speechlm.hidden(ids_1MK, None, position_1M).squeeze(0)
        return hidden_MD.index_select(0, torch.searchsorted(used_M, place_N))

    @torch.no_grad()
    def _table(self, found: Predictions, weight_N: Tensor, task_N: Tensor, positions: Tensor) -> Tensor:
        nats_P, row_weight_P = (
            found.nats_P * found.weight_P,
            F.pad(weight_N, (0, len(found.nats_P) - len(weight_N))),
        )  # once a row
        loss_P = self.scales[found.kind_P] * nats_P
        whole_S2 = torch.stack([loss_P.sum(dtype=torch.double), weight_N.sum(dtype=torch.double)])[None]
        kinds_S2 = sums(nats_P, found.weight_P, found.kind_P, torch.arange(len(self.scales), device=nats_P.device))
        tasks_S2 = sums(loss_P, row_weight_P, task_N[found.row_P], self.task_numbers)
        return torch.cat([whole_S2, kinds_S2, tasks_S2, torch.stack([positions, torch.ones_like(positions)])[None]])

    def prepare(self, device: str, compiled: str) -> None:
        """Choose what is fast on a device: FlexAttention on GPUs, attention by segments on the CPU; `compiled` layers
        and loss, "true", "false" or "auto" (on GPUs).

        In training only: decoding brings masks and shapes of its own.
        """
        llm, on_gpu = self.speechlm.llm, device == "cuda"
        if on_gpu and llm._supports_flex_attn and not getattr(llm.config, "attention_dropout", 0.0):  # which it has not
            llm.set_attn_implementation("flex_attention")
        self.compiled = compiled == "true" or (compiled == "auto" and on_gpu)
        self.by_segments = not on_gpu and not self.compiled and use_segments(llm)  # of other shapes each time
        if self.compiled:
            for (
                layer
            ) in llm.get_decoder().layers:  # not the module: its hooks (gradient checkpointing, sharding) stay outside
                layer.forward = torch.compile(layer.forward, dynamic=False)

    def mean_loss(self, **batch: Tensor) -> Tensor:
        """Return the loss of a batch per weighted row."""
        total, table_S2 = self(**batch)
        return total / table_S2[0, 1].clamp(min=1e-6)

    def _first_column(self, hidden_ND: Tensor, target_N: Tensor, weight_N: Tensor) -> tuple[Tensor, Predictions]:
        kind_N, row_N = (
            torch.bucketize(target_N.contiguous(), self.starts, right=True),
            torch.arange(len(target_N), device=target_N.device),
        )
        if not self.learn_text:
            kind_N = torch.where((kind_N == TEXT) & (self.choices[target_N] >= 0), len(self.scales) - 1, kind_N)
        scale_N = self.scales[kind_N] * weight_N
        learn = self._first_nats if self.learn_text else self._first_nats_of_speech
        total, nats_N = learn(hidden_ND, target_N, scale_N)
        return total, Predictions(nats_N, weight_N, kind_N, row_N)

    def _first_nats(self, hidden_ND: Tensor, target_N: Tensor, scale_N: Tensor) -> tuple[Tensor, Tensor]:
        hidden_ND, table_RD = self.speechlm.first_table(hidden_ND)
        total, nats_N1 = self._nats(hidden_ND, table_RD, target_N[:, None], scale_N[:, None], self.speechlm.logit_cap)
        return total, nats_N1.squeeze(1)

    def _first_nats_of_speech(self, hidden_ND: Tensor, target_N: Tensor, scale_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same with gradients for what is within speech alone, predicted among `speech_ids`; text is only
        measured.
        """
        choice_N = self.choices[target_N]
        speech_P, text_P = rows_of(choice_N >= 0), rows_of(choice_N < 0)
        table_RD = self.speechlm.new_head.weight[self.speech_ids - self.speechlm.vocab.text_size]
        target_P1, scale_P1 = (
            choice_N.clamp(min=0)[speech_P, None],
            torch.where(choice_N >= 0, scale_N, 0)[speech_P, None],
        )
        total, nats_P1 = self._nats(hidden_ND[speech_P], table_RD, target_P1, scale_P1, self.speechlm.logit_cap)
        with torch.no_grad():
            _, text_nats_P = self._first_nats(hidden_ND[text_P], target_N[text_P], torch.zeros_like(scale_N[text_P]))
            both_2N = torch.zeros((2, len(target_N)), device=target_N.device)
            both_2N[0].index_copy_(0, text_P, text_nats_P), both_2N[1].index_copy_(0, speech_P, nats_P1.squeeze(1))
        return total, torch.where(choice_N >= 0, both_2N[1], both_2N[0])

    def _later_columns(
        self, hidden_FD: Tensor, target_FK: Tensor, weight_F: Tensor, frame_F: Tensor
    ) -> tuple[Tensor, Predictions]:
        """Return the same of the codes of columns 1..K-1, for frames `hidden_FD` is before."""
        target_FJ = target_FK[:, 1:]
        here_FJ, kind_J = (
            target_FJ != self.speechlm.vocab.pad_id,
            torch.arange(2, 2 + target_FJ.shape[1], device=target_FK.device),
        )
        weight_FJ = weight_F[:, None] * here_FJ
        choice_FJ = torch.where(here_FJ, target_FJ - self.starts[1 : 1 + target_FJ.shape[1]], 0)
        total, nats = hidden_FD.new_zeros(()), [torch.zeros_like(weight_FJ[:, :0])]
        for columns, own_FD, table_RD in self.speechlm.code_tables(hidden_FD, target_FK):
            scale_FJ = self.scales[kind_J[columns]] * weight_FJ[:, columns]
            part, found = self._nats(own_FD, table_RD, choice_FJ[:, columns], scale_FJ, cap=None)
            total, nats = total + part, [*nats, found]
        nats_FJ = torch.cat(nats, dim=1)
        spread = [nats_FJ, weight_FJ, kind_J.expand_as(weight_FJ), frame_F[:, None].expand_as(weight_FJ)]
        return total, Predictions(*(each.flatten() for each in spread))

    def _nats(
        self, hidden_ND: Tensor, table_RD: Tensor, target_NJ: Tensor, scale_NJ: Tensor, cap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Return (the sum of the scaled cross-entropies, which has a gradient; the cross-entropies nats_NJ)."""
        device = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
        return ChunkedNats.apply(hidden_ND.to(dtype), table_RD.to(dtype), target_NJ, scale_NJ, cap, self.compiled)


class ChunkedNats(torch.autograd.Function):
    """Cross-entropies of N rows by J heads, chunk by chunk: the gradients of a chunk are made while its logits are
    there.
    """

    @staticmethod
    def forward(ctx, hidden_ND, table_RD, target_NJ, scale_NJ, cap, compiled):
        N, rows, given = len(hidden_ND), chunk_rows(hidden_ND, table_RD), (hidden_ND, target_NJ, scale_NJ)
        if compiled:  # all chunks have one shape
            given = [F.pad(each, (0, 0, 0, -N % rows)) for each in given]
        learns = any(ctx.needs_input_grad[:2])
        slope_RD = torch.zeros(table_RD.shape, dtype=torch.float32, device=table_RD.device) if learns else None
        step = compiled_chunk() if compiled else chunk
        found = [step(*part, table_RD, slope_RD, cap) for part in zip(*(each.split(rows) for each in given))]
        nats_NJ = torch.cat([nats for nats, _ in found])[:N]
        if learns:
            ctx.slopes = torch.cat([slope for _, slope in found])[:N], slope_RD
        ctx.dtype = table_RD.dtype
        ctx.mark_non_differentiable(nats_NJ)
        return (nats_NJ * scale_NJ).sum(), nats_NJ

    @staticmethod
    def backward(ctx, slope, _):
        (slope_ND, slope_RD), ctx.slopes = ctx.slopes, None  # once
        return slope_ND.mul_(slope), slope_RD.mul_(slope).to(ctx.dtype), None, None, None, None


def chunk(
    hidden_nD: Tensor, target_nJ: Tensor, scale_nJ: Tensor, table_RD: Tensor, slope_RD: Tensor | None, cap: float | None
):
    """Return the cross-entropies nats_nJ and, if gradients are wanted, that of `hidden_nD`; that of the table is added
    to `slope_RD`.
    """
    logits_nJC = (hidden_nD @ table_RD.T).float().unflatten(1, (target_nJ.shape[1], -1))
    if cap is not None:
        logits_nJC = cap * torch.tanh(logits_nJC / cap)
    log_share_nJC, target_nJ1 = logits_nJC.log_softmax(dim=-1), target_nJ.unsqueeze(2)
    nats_nJ1 = -log_share_nJC.gather(2, target_nJ1)
    if slope_RD is None:
        return nats_nJ1.squeeze(2), None
    slope_nJC = (
        log_share_nJC.exp_().scatter_add_(2, target_nJ1, torch.full_like(nats_nJ1, -1)).mul_(scale_nJ.unsqueeze(2))
    )
    if cap is not None:
        slope_nJC.mul_(1 - (logits_nJC / cap).square())
    slope_nR = slope_nJC.to(table_RD.dtype).flatten(1)
    slope_RD.add_(slope_nR.T @ hidden_nD)
    return nats_nJ1.squeeze(2), slope_nR @ table_RD


@cache
def compiled_chunk():
    """Return `chunk`, compiled when it is first called."""
    return torch.compile(chunk, dynamic=False)


def chunk_rows(hidden_ND: Tensor, table_RD: Tensor) -> int:
    """Return how many rows have their logits at the same time: a power of two, the same for every batch."""
    rows = CHUNK_LOGITS.get(hidden_ND.device.type, 2**28) // len(table_RD)
    return 2 ** int(math.log2(min(max(rows, 1), CHUNK_ROWS)))


def rows_of(mask_N: Tensor) -> Tensor:
    """Return the rows for which a mask holds; on a GPU all, since their number would have to be waited for."""
    return (
        mask_N.nonzero().squeeze(1) if mask_N.device.type == "cpu" else torch.arange(len(mask_N), device=mask_N.device)
    )


def sums(values_P: Tensor, weight_P: Tensor, class_P: Tensor, classes_C: Tensor) -> Tensor:
    """Return the sums [C, 2] (float64) of values and weights in each class."""
    pairs_2P = torch.stack([values_P, weight_P]).double()
    return torch.where(class_P == classes_C[:, None, None], pairs_2P, 0).sum(-1)


def freeze_text_head(llm: nn.Module) -> None:
    """Leave the text head out of the training; where it is the embedding, texts that are read still train it."""
    head = llm.get_output_embeddings()
    if head.weight is not llm.get_input_embeddings().weight:
        head.requires_grad_(False)


def training_model(speechlm: SpeechLM, args: argparse.Namespace) -> TrainingModel:
    """Add the losses' weights, as the options give them."""
    if args.gradient_checkpointing:
        speechlm.llm.gradient_checkpointing_enable({"use_reentrant": False})
    K = speechlm.vocab.num_codebooks
    weights = [*args.stream_weights, *args.stream_weights[-1:] * K][:K]
    return TrainingModel(speechlm, weights, args.text_weight, args.mixture)
