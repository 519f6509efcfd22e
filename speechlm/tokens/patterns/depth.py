"""Depth: the rows of `parallel`; within a row a small transformer predicts each code from those to its left.

codes (T=3, K=3)      grid (S=3, C=3)            who predicts row b
a0 a1 a2              a0 a1 a2
b0 b1 b2      <->     b0 b1 b2        backbone -> b0 -> b1 -> b2  (speechlm/model/depth.py)
c0 c1 c2              c0 c1 c2
Source: Lee et al., "Autoregressive Image Generation using Residual Quantization" (RQ-Transformer), arXiv 2203.01941;
Défossez et al., "Moshi", arXiv 2410.00037.
"""

from speechlm.tokens.patterns.parallel import apply, cell, columns, revert, rows

__all__ = ["apply", "cell", "columns", "revert", "rows"]

COLUMN_0_ENDS_FIRST = False
DEPTH = True
