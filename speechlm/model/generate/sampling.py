"""Choosing from logits: the best, or a sample that depends on the seed, the example and the place alone.

A generator that all examples draw from would make a sample depend on who is decoded beside it. Here each choice has a
random number of its own, a hash of where it is made, so that a batch, its order and its size change nothing.
"""

import torch
from torch import Tensor

from speechlm.model.generate.options import DecodeOptions

WORD = 2**32 - 1


class Chooser:
    """Chooses one of the last dimension of logits."""

    def __init__(self, options: DecodeOptions):
        self.temperature, self.top_k, self.seed = options.temperature, options.top_k, options.seed

    def __call__(self, logits: Tensor, slots: dict[str, Tensor], column: int) -> Tensor:
        """Return the indices_B chosen from logits_BC of a column, or indices_BJ from logits_BJC of it and those after
        it.

        `slots` has the `number` of each example and the `step` it is at.
        """
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        logits = logits.float() / self.temperature
        if self.top_k:
            least = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        summed = logits.softmax(dim=-1).cumsum(dim=-1)
        number, step = (slots[name].view(-1, *[1] * (logits.ndim - 2)) for name in ("number", "step"))
        columns = column + torch.arange(logits.shape[1], device=logits.device) if logits.ndim == 3 else column
        chance = uniform(self.seed, number, number >> 32, step, columns).unsqueeze(-1)
        return (summed <= chance * summed[..., -1:]).sum(dim=-1)


def uniform(seed: int, *place: Tensor | int) -> Tensor:
    """Return numbers in [0, 1) that are as if random, one for each seed and place (integers that broadcast)."""
    mixed: Tensor | int = seed & WORD
    for word in place:
        mixed = scramble((mixed + 0x9E3779B9) ^ (word & WORD))
    return (mixed >> 9).float() * 2.0**-23  # so few bits that a sum times it stays below the sum


def scramble(word: Tensor) -> Tensor:
    """Return a permutation of the 32-bit integers (held in 64 bits) in which each bit depends on all bits.

    The constants are those of "lowbias32", Wellons, nullprogram.com/blog/2018/07/31.
    """
    word = word & WORD
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & WORD
    return word ^ (word >> 16)
