"""Parallel: all codes of a frame in one row (the paper's pattern).

codes (T=3, K=3)      grid (S=3, K=3)
a0 a1 a2              a0 a1 a2
b0 b1 b2      <->     b0 b1 b2
c0 c1 c2              c0 c1 c2
"""

import numpy as np


def rows(num_frames: int, num_codebooks: int) -> int:
    """Return S, the rows that T frames of K codebooks take."""
    return num_frames


def apply(codes_TK: np.ndarray) -> np.ndarray:
    """Return grid_SK."""
    return codes_TK


def revert(grid_SK: np.ndarray) -> np.ndarray:
    """Return codes_TK; rows that hold no whole frame are dropped."""
    return grid_SK[(grid_SK >= 0).all(axis=1)]
