"""Flatten: the codes of a frame one after the other, in one column: each sees all before it, for K times the rows.

codes (T=3, K=3)      grid (S=T*K=9, C=1), here on its side
a0 a1 a2
b0 b1 b2      <->     a0 a1 a2 b0 b1 b2 c0 c1 c2
c0 c1 c2
Source: Borsos et al., "AudioLM", arXiv 2209.03143 (its coarse and fine acoustic tokens).
"""

import numpy as np

COLUMN_0_ENDS_FIRST = False
DEPTH = False


def columns(num_codebooks: int) -> int:
    """Return C, the columns of the grid."""
    return 1


def rows(num_frames: int, num_codebooks: int) -> int:
    """Return S, the rows that T frames of K codebooks take."""
    return num_frames * num_codebooks


def cell(row: int, column: int, num_codebooks: int) -> tuple[int, int]:
    """Return (frame, codebook) of a cell of the grid."""
    return row // num_codebooks, row % num_codebooks  # divmod knows no tensors


def apply(codes_TK: np.ndarray) -> np.ndarray:
    """Return grid_SC."""
    return codes_TK.reshape(-1, 1)


def revert(grid_SC: np.ndarray, num_codebooks: int) -> np.ndarray:
    """Return codes_TK; rows that hold no whole frame are dropped."""
    T = len(grid_SC) // num_codebooks
    codes_TK = grid_SC[: T * num_codebooks].reshape(T, num_codebooks)
    return codes_TK[(codes_TK >= 0).all(axis=1)]
