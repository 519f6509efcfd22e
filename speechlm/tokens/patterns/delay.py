"""Delay: codebook k is shifted down by k rows, so that it sees the k codes before it in its own frame.

    codes (T=3, K=3)      grid (S=T+K-1=5, K=3)
    a0 a1 a2              a0  .  .
    b0 b1 b2              b0 a1  .
    c0 c1 c2      <->     c0 b1 a2
                           . c1 b2
                           .  . c2
Source: Copet et al., "Simple and Controllable Music Generation" (MusicGen), arXiv 2306.05284.
"""

import numpy as np

FILL = -1


def rows(num_frames: int, num_codebooks: int) -> int:
    """Return S, the rows that T frames of K codebooks take."""
    return num_frames + num_codebooks - 1 if num_frames else 0


def apply(codes_TK: np.ndarray) -> np.ndarray:
    """Return grid_SK."""
    T, K = codes_TK.shape
    grid_SK = np.full((rows(T, K), K), FILL, dtype=codes_TK.dtype)
    for k in range(K):
        grid_SK[k : k + T, k] = codes_TK[:, k]
    return grid_SK


def revert(grid_SK: np.ndarray) -> np.ndarray:
    """Return codes_TK; rows that hold no whole frame are dropped."""
    S, K = grid_SK.shape
    T = max(0, S - K + 1)
    codes_TK = np.stack([grid_SK[k : k + T, k] for k in range(K)], axis=1)
    return codes_TK[(codes_TK >= 0).all(axis=1)]
