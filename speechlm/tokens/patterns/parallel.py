"""Parallel: all codes of a frame in one row, predicted at once (the paper's pattern).

codes (T=3, K=3)      grid (S=3, C=3)
a0 a1 a2              a0 a1 a2
b0 b1 b2      <->     b0 b1 b2
c0 c1 c2              c0 c1 c2
"""

import numpy as np

COLUMN_0_ENDS_FIRST = False
DEPTH = False


def columns(num_codebooks: int) -> int:
    """Return C, the columns of the grid."""
    return num_codebooks


def rows(num_frames: int, num_codebooks: int) -> int:
    """Return S, the rows that T frames of K codebooks take."""
    return num_frames


def cell(row: int, column: int, num_codebooks: int) -> tuple[int, int]:
    """Return (frame, codebook) of a cell of the grid."""
    return row, column


def apply(codes_TK: np.ndarray) -> np.ndarray:
    """Return grid_SC."""
    return codes_TK


def revert(grid_SC: np.ndarray, num_codebooks: int) -> np.ndarray:
    """Return codes_TK; rows that hold no whole frame are dropped."""
    return grid_SC[(grid_SC >= 0).all(axis=1)]
