"""Weighted means over batches, processes and steps, each figure by its own weight."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Meter:
    """`sums` holds (weighted sum, sum of weights) by name: a figure over 1 row counts as 1 row, beside one over 99."""

    def __init__(self, sums: Mapping[str, Iterable[float]] | None = None):
        self.sums = defaultdict(lambda: (0.0, 0.0), {name: tuple(pair) for name, pair in (sums or {}).items()})

    def add(self, sums: Mapping[str, Tensor | tuple[float, float]]) -> None:
        """Count further (weighted sum, sum of weights); a name stays, even if it has no weight yet."""
        pairs = {name: pair for name, pair in sums.items() if isinstance(pair, Tensor)}
        values = torch.stack(list(pairs.values())).tolist() if pairs else []  # one transfer from a GPU
        for name, (total, weight) in {**sums, **dict(zip(pairs, values))}.items():
            self.sums[name] = self.sums[name][0] + total, self.sums[name][1] + weight

    def means(self) -> dict[str, float]:
        """Return the mean of each name that has a weight."""
        return {name: total / weight for name, (total, weight) in self.sums.items() if weight}
