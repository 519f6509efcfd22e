"""What decoding is told, and what it gives."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DecodeOptions:
    """`temperature` 0 is greedy, above it samples; `beam` is for text only. `max_rows` bounds the output: tokens of text, frames of speech.

    `batch_size` is how many are decoded at once, and changes no output; nor does the order: a sample depends on `seed` and the number of its example.
    """

    beam: int = 1
    length_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    max_rows: int = 200
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self):
        if self.beam > 1 and self.temperature > 0:
            raise ValueError(f"decoding options: beam {self.beam} and temperature {self.temperature}: expected a beam, or to sample, not both.")

    @classmethod
    def from_dict(cls, values: dict, source: str) -> "DecodeOptions":
        """Build from a config; ValueError names unknown keys."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"{source}: unknown decoding options {sorted(unknown)}. Expected some of {sorted(cls.__dataclass_fields__)}.")
        return cls(**values)


@dataclass(frozen=True)
class Generated:
    """`output`: the text ids, or the codes_TK (int32); `ended`: did the model end it, or was it cut at `max_rows`?; `whole`: or does more follow?"""

    output: list[int] | np.ndarray
    ended: bool
    whole: bool = True
