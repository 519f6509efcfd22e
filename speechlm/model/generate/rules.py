"""How the next row of each slot follows from its hidden state: speech, text, and text by beam search.

A rule keeps what it needs of each slot in tensors of fixed shape, changed in place: no step waits for the device, and
a CUDA graph can replay it. Letters in shapes: B slots, C columns of a row, J columns after column 0, K codebooks, N
codes of a codebook, V ids of text and its end, S rows of the output, T frames, G examples of W beams, M candidates for
these beams.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from speechlm.model.generate.options import DecodeOptions
from speechlm.model.generate.sampling import Chooser
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.patterns import get_pattern
from speechlm.tokens.sequence import grid_to_codes
from speechlm.tokens.vocabulary import SPEECH_END, TEXT_END

State = dict[str, Tensor]


class Rule(ABC):
    """Of one model and options. `width` slots are one example, whose output has at most `rows` rows."""

    width = 1

    def __init__(self, model: SpeechLM, options: DecodeOptions, rows: int):
        self.model, self.vocab, self.options, self.rows = model, model.vocab, options, rows
        self.device = model.new_head.weight.device
        self.choose = Chooser(options)

    def start(self) -> State:
        """Return what the slots of an example begin with, by name, each of `width` values.

        row (the one that is run next), number (of the example), step (rows made), length (of the output; `max_rows`
        until its end is chosen), done, out (the rows made, and last a dump).
        """
        row_C = torch.full((self.vocab.num_columns,), self.vocab.pad_id)
        zero, length = torch.tensor(0), torch.tensor(self.options.max_rows)
        out_SC = torch.zeros(self.rows + 1, self._out_columns(), dtype=torch.long)
        one = {"row": row_C, "number": zero, "step": zero, "length": length, "done": torch.tensor(False), "out": out_SC}
        return {name: value.expand(self.width, *value.shape) for name, value in one.items()}

    @abstractmethod
    def next(self, hidden_BD: Tensor, slots: State) -> Tensor | None:
        """Choose each slot's next row; return the slots that they go on from, if not from their own."""

    @abstractmethod
    def output(self, slot: dict[str, np.ndarray], steps: int) -> list[int] | np.ndarray:
        """Return what the first slot of an example holds after so many steps."""

    def ended(self, slot: dict[str, np.ndarray]) -> bool:
        """Did the model end the output?"""
        return bool(slot["length"] < self.options.max_rows)

    def _out_columns(self) -> int:
        return 1

    def _put(self, slots: State, row_BC: Tensor) -> None:
        """Append a row to each slot; beyond the end of the output it goes to the dump."""
        slots["row"][:, : row_BC.shape[1]] = row_BC
        place_B11 = slots["step"].clamp(max=self.rows).view(-1, 1, 1)
        slots["out"].scatter_(1, place_B11.expand(-1, 1, row_BC.shape[1]), row_BC.unsqueeze(1))


class SpeechRule(Rule):
    """Frames by the vocabulary's pattern. Where column 0 ends first (delay), its end is padding, and the other columns
    then finish.
    """

    def __init__(self, model: SpeechLM, options: DecodeOptions):
        self.pattern, K = get_pattern(model.vocab.pattern), model.vocab.num_codebooks
        super().__init__(model, options, self.pattern.rows(options.max_rows, K))
        [self.codes] = set(self.vocab.codebook_sizes)
        self.end = self.vocab.pad_id if self.pattern.COLUMN_0_ENDS_FIRST else self.vocab.special_id(SPEECH_END)
        self.rows_T = torch.tensor(
            [self.pattern.rows(frames, K) for frames in range(options.max_rows + 1)], device=self.device
        )
        self.starts_K = torch.tensor(self.vocab.codebook_starts, device=self.device)
        self.later_J = torch.arange(1, self.vocab.num_columns, device=self.device)

    def next(self, hidden_BD: Tensor, slots: State) -> None:
        first_B = self._first(hidden_BD, slots)
        codes_BJ = self.model.generate_codes(
            hidden_BD, first_B, lambda logits, column: self.choose(logits, slots, column)
        )
        frame_BJ, _ = self.pattern.cell(slots["step"].unsqueeze(1), self.later_J, self.vocab.num_codebooks)
        exists_BJ = (frame_BJ >= 0) & (frame_BJ < slots["length"].unsqueeze(1))
        later_BJ = torch.where(exists_BJ, codes_BJ + self.starts_K[self.later_J], self.vocab.pad_id)
        self._put(slots, torch.cat([first_B.unsqueeze(1), later_BJ], dim=1))
        slots["done"].copy_(slots["step"] + 1 >= self.rows_T[slots["length"]])

    def output(self, slot: dict[str, np.ndarray], steps: int) -> np.ndarray:
        rows = self.pattern.rows(int(slot["length"]), self.vocab.num_codebooks)
        return grid_to_codes(slot["out"][: min(rows, steps)], self.vocab)

    def _out_columns(self) -> int:
        return self.vocab.num_columns

    def _first(self, hidden_BD: Tensor, slots: State) -> Tensor:
        """Return the ids of column 0: of the codes of its codebook, and at the start of a frame also the end, which
        sets `length`.
        """
        step_B, length_B = slots["step"], slots["length"]
        frame_B, k = self.pattern.cell(step_B, 0, self.vocab.num_codebooks)
        k_B = k + torch.zeros_like(step_B)
        logits_BV = self.model.new_logits(hidden_BD).float()
        codes_BKN = logits_BV[:, self.vocab.codes_start - self.vocab.text_size :].unflatten(1, (-1, self.codes))
        codes_BN = codes_BKN[torch.arange(len(k_B), device=self.device), k_B]
        end_B = logits_BV[:, self.end - self.vocab.text_size].where(k_B == 0, -torch.inf)
        choice_B = self.choose(torch.cat([codes_BN, end_B.unsqueeze(1)], dim=1), slots, 0)
        length_B.copy_(torch.where((choice_B == self.codes) & (length_B > frame_B), frame_B, length_B))
        return torch.where(
            length_B > frame_B, choice_B.clamp(max=self.codes - 1) + self.starts_K[k_B], self.vocab.pad_id
        )


class TextRule(Rule):
    """One token after the other."""

    def __init__(self, model: SpeechLM, options: DecodeOptions):
        super().__init__(model, options, options.max_rows)
        self.end = self.vocab.special_id(TEXT_END)

    def next(self, hidden_BD: Tensor, slots: State) -> None:
        choice_B = self.choose(self._logits(hidden_BD), slots, 0)
        step_B, length_B = slots["step"], slots["length"]
        ends_B = (choice_B == self.vocab.text_size) & (length_B > step_B)
        length_B.copy_(torch.where(ends_B, step_B, length_B))
        self._put(slots, choice_B.unsqueeze(1))
        slots["done"].copy_((step_B >= length_B) | (step_B + 1 >= self.rows))

    def output(self, slot: dict[str, np.ndarray], steps: int) -> list[int]:
        return slot["out"][: min(int(slot["length"]), steps), 0].tolist()

    def _logits(self, hidden_BD: Tensor) -> Tensor:
        """Return logits_BV: the text tokens, and last the end of the text."""
        return torch.cat([self.model.text_logits(hidden_BD), self.model.new_logits(hidden_BD, self.end)], dim=1).float()


class BeamRule(TextRule):
    """The text of the highest score: its log-probability (over text and </text>) divided by length ** length_penalty.

    An example ends when the best text that has ended beats every open one, however many have ended: short ones end
    first. In its first slot are kept its `best_out`, `best_length` and `best_score`; `score` is the open text's.
    """

    def __init__(self, model: SpeechLM, options: DecodeOptions):
        super().__init__(model, options)
        self.width = options.beam

    def start(self) -> State:
        state, worst_W = super().start(), torch.full((self.width,), -torch.inf)
        score_W = worst_W.clone()
        score_W[0] = 0  # all beams begin alike: only one of them counts
        return state | {
            "score": score_W,
            "best_score": worst_W,
            "best_out": state["out"],
            "best_length": state["step"],
        }

    def next(self, hidden_BD: Tensor, slots: State) -> Tensor:
        W = self.width
        logp_GWV = self._logits(hidden_BD).log_softmax(dim=1).unflatten(0, (-1, W))
        total_GWV = slots["score"].view(-1, W, 1) + logp_GWV
        score_GM, place_GM = total_GWV.flatten(1).topk(2 * W, dim=1)
        beam_GM, token_GM = place_GM // logp_GWV.shape[2], place_GM % logp_GWV.shape[2]
        ends_GM = (token_GM == self.vocab.text_size) & (score_GM > -torch.inf)
        self._finish(slots, score_GM, beam_GM, ends_GM)
        order_GM = torch.arange(2 * W, device=self.device) + 2 * W * ends_GM
        open_GW = order_GM.argsort(dim=1)[:, :W]
        source_B = (
            beam_GM.gather(1, open_GW) + W * torch.arange(len(order_GM), device=self.device).unsqueeze(1)
        ).flatten()
        source_B = torch.where(
            slots["done"], torch.arange(len(source_B), device=self.device), source_B
        )  # what is done stays as it is
        slots["out"].copy_(slots["out"][source_B])
        self._put(slots, token_GM.gather(1, open_GW).view(-1, 1))
        slots["score"].copy_(score_GM.gather(1, open_GW).flatten())
        self._end(slots)
        return source_B

    def _finish(self, slots: State, score_GM: Tensor, beam_GM: Tensor, ends_GM: Tensor) -> None:
        """Of the candidates that end, better than the W-th open one, and of those before them, keep the best."""
        W, step_G = self.width, slots["step"][:: self.width]
        ends_GM = ends_GM & ((~ends_GM).cumsum(dim=1) < W) & ~slots["done"][::W].unsqueeze(1)
        final_GM = torch.where(ends_GM, score_GM / (step_G + 1).unsqueeze(1) ** self.options.length_penalty, -torch.inf)
        final_G, which_G = final_GM.max(dim=1)
        slot_G = W * torch.arange(len(final_G), device=self.device) + beam_GM.gather(1, which_G.unsqueeze(1)).squeeze(1)
        better_G = final_G > slots["best_score"][::W]
        for name, new in {"best_score": final_G, "best_length": step_G, "best_out": slots["out"][slot_G]}.items():
            kept = slots[name][::W]
            kept.copy_(torch.where(better_G.view(-1, *[1] * (kept.ndim - 1)), new, kept))

    def _end(self, slots: State) -> None:
        """An example is done when no open text beats the best that has ended (log-probabilities only fall), or there is
        no more room.
        """
        W, best_G, made_G = self.width, slots["best_score"][:: self.width], slots["step"][:: self.width] + 1
        beaten_G = (best_G > -torch.inf) & (best_G >= slots["score"][::W] / made_G**self.options.length_penalty)
        done_G = beaten_G | (made_G >= self.rows)
        slots["done"].logical_or_(done_G.repeat_interleave(W))

    def output(self, slot: dict[str, np.ndarray], steps: int) -> list[int]:
        if self.ended(slot):
            return slot["best_out"][: int(slot["best_length"]), 0].tolist()
        return slot["out"][: min(self.rows, steps), 0].tolist()

    def ended(self, slot: dict[str, np.ndarray]) -> bool:
        return bool(slot["best_score"] > -np.inf)


def make_rule(model: SpeechLM, speaks: bool, options: DecodeOptions) -> Rule:
    """Return how to decode speech or text."""
    if speaks:
        return SpeechRule(model, options)
    return BeamRule(model, options) if options.beam > 1 else TextRule(model, options)
