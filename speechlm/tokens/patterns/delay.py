"""Delay: codebook k is shifted down by k rows, so that it sees the k codes before it in its own frame.

    codes (T=3, K=3)      grid (S=T+K-1=5, C=3)
    a0 a1 a2              a0  .  .
    b0 b1 b2              b0 a1  .
    c0 c1 c2      <->     c0 b1 a2
                           . c1 b2
                           .  . c2
Source: Copet et al., "Simple and Controllable Music Generation" (MusicGen), arXiv 2306.05284.
"""

import numpy as np

FILL = -1
COLUMN_0_ENDS_FIRST = True
DEPTH = False


def columns(num_codebooks: int) -> int:
    """Return C, the columns of the grid."""
    return num_codebooks


def rows(num_frames: int, num_codebooks: int) -> int:
    """Return S, the rows that T frames of K codebooks take."""
    return (num_frames + num_codebooks - 1) * (num_frames > 0)  # also of an array


def cell(row: int, column: int, num_codebooks: int) -> tuple[int, int]:
    """Return (frame, codebook) of a cell of the grid."""
    return row - column, column


def apply(codes_TK: np.ndarray) -> np.ndarray:
    """Return grid_SC."""
    T, K = codes_TK.shape
    grid_SC = np.full((rows(T, K), K), FILL, dtype=codes_TK.dtype)
    for k in range(K):
        grid_SC[k : k + T, k] = codes_TK[:, k]
    return grid_SC


def revert(grid_SC: np.ndarray, num_codebooks: int) -> np.ndarray:
    """Return codes_TK; rows that hold no whole frame are dropped."""
    S, K = grid_SC.shape
    T = max(0, S - K + 1)
    codes_TK = np.stack([grid_SC[k : k + T, k] for k in range(K)], axis=1)
    return codes_TK[(codes_TK >= 0).all(axis=1)]
