"""Keys and values of a fixed number of slots, each at a position of its own.

Letters in shapes: B slots (the first that are in use), L positions, H heads, D width of a head, P rows of prefixes.
"""

import torch
from torch import Tensor


class SlotCache:
    """What transformers' attention layers call as their cache: `update` writes, and returns what to attend to.

    Column p of a slot holds position p, so the mask of a step follows from the slot's position: what an earlier
    example left behind lies at positions that are not reached yet. `fill` or `step` says first where the next rows go.
    """

    is_compileable = True

    def __init__(self, slots: int, length: int):
        self.slots, self.length = slots, length
        self.layers: list[
            tuple[Tensor, Tensor]
        ] = []  # keys_BLHD, values_BLHD of each layer, made when it is first filled

    def fill(self, slot_B: Tensor) -> "SlotCache":
        """The next rows are the beginnings of new examples, for these slots (a multiple of the rows' batch: each is
        repeated).
        """
        self._write, self._read = self._write_prefix, None
        self._slot_B = slot_B
        return self

    def step(self, position_B: Tensor, width: int) -> "SlotCache":
        """The next rows are one for each of the first slots, at its position, that sees `width` columns."""
        self._write, self._read = self._write_row, (len(position_B), width)
        self.position_B = position_B.clone()  # not a part of another tensor, whose size would matter to the compiler
        self._flat_B = torch.arange(len(position_B), device=position_B.device) * self.length + position_B
        return self

    def update(self, keys: Tensor, values: Tensor, layer: int, _arguments=None) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, H, P, D] of a layer; return those that its attention sees."""
        if layer == len(self.layers):
            self.layers.append(tuple(self._empty(new) for new in (keys, values)))
        for kept_BLHD, new in zip(self.layers[layer], (keys, values)):
            self._write(kept_BLHD, new.transpose(1, 2))
        if self._read is None:
            return keys, values
        return tuple(kept_BLHD.transpose(1, 2) for kept_BLHD in self.seen(layer))

    def steps(self, layer: int) -> bool:
        """Are the next rows of this layer one for each slot, after a prefix?"""
        return self._read is not None and layer < len(self.layers)

    def seen(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return keys_BLHD and values_BLHD that a step sees, and writes into."""
        slots, width = self._read
        return tuple(kept_BLHD[:slots, :width] for kept_BLHD in self.layers[layer])

    def get_seq_length(self, _layer: int = 0) -> int:
        """Asked for by layers that scale their positions; ours are given."""
        return 0

    def copy(self, source_B: Tensor, target: Tensor | slice, columns: slice) -> None:
        """Copy columns of slots to others, all at once."""
        for kept_BLHD in (kept for layer in self.layers for kept in layer):
            kept_BLHD[target, columns] = kept_BLHD[source_B, columns]

    def _empty(self, new: Tensor) -> Tensor:
        return new.new_zeros(self.slots, self.length, new.shape[1], new.shape[3])

    def _write_prefix(self, kept_BLHD: Tensor, new_BPHD: Tensor) -> None:
        repeats = len(self._slot_B) // len(new_BPHD)
        kept_BLHD[self._slot_B, : new_BPHD.shape[1]] = new_BPHD.repeat_interleave(repeats, dim=0)

    def _write_row(self, kept_BLHD: Tensor, new_B1HD: Tensor) -> None:
        kept_BLHD.flatten(0, 1).index_copy_(0, self._flat_B, new_B1HD.squeeze(1))
