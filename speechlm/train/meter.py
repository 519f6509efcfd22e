"""Weighted means over batches, processes and steps, each figure by its own weight."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


class Meter:
    """`table_S2` holds, of each of `figures`, the weighted sum and the sum of weights: a figure over 1 row counts as 1
    row, beside one over 99.

    It stays where the figures are computed; only `means` and `sums` wait for a GPU.
    """

    def __init__(self, figures: Sequence[str], device: str = "cpu"):
        self.figures, self.table_S2 = list(figures), torch.zeros((len(figures), 2), dtype=torch.double, device=device)

    def add(self, table_S2: Tensor) -> None:
        self.table_S2 += table_S2

    def means(self) -> dict[str, float]:
        """Return the mean of each figure that has a weight."""
        return {name: total / weight for name, (total, weight) in self.sums().items() if weight}

    def sums(self) -> dict[str, tuple[float, float]]:
        """Return (weighted sum, sum of weights) by figure, for a checkpoint."""
        return {name: tuple(pair) for name, pair in zip(self.figures, self.table_S2.tolist(), strict=True)}

    def restore(self, sums: Mapping[str, Iterable[float]]) -> None:
        """Go on from what `sums` returned."""
        self.table_S2.copy_(
            torch.tensor([list(sums.get(name, (0.0, 0.0))) for name in self.figures], dtype=torch.double)
        )
