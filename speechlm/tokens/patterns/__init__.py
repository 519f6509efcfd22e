"""Codebook patterns: how the K codes of each frame are laid out over the rows of a sequence.

A pattern is one small module with two inverse functions; a new one is a new file and a line in PATTERNS. S rows, C
columns:
    columns(K) -> C
    rows(T, K) -> S                   T may be an array
    cell(s, c, K) -> (t, k)          the frame and codebook of row s, column c; there may be no such frame
    apply(codes_TK) -> grid_SC       FILL marks a cell that holds no code
    revert(grid_SC, K) -> codes_TK   an incomplete last frame is dropped
    COLUMN_0_ENDS_FIRST              is column 0 through (and filled up) before the last frame is complete?
    DEPTH                            do columns 1.. see the columns before them in their own row (a depth transformer)?
"""

from types import ModuleType

from speechlm.tokens.patterns import delay, depth, flatten, parallel

PATTERNS: dict[str, ModuleType] = {"parallel": parallel, "delay": delay, "flatten": flatten, "depth": depth}
PATTERN = "parallel"  # if none is named


def get_pattern(name: str) -> ModuleType:
    """Return the pattern module called `name`; ValueError lists those there are."""
    if name not in PATTERNS:
        raise ValueError(f"pattern {name!r} is unknown. Expected one of {', '.join(PATTERNS)}.")
    return PATTERNS[name]
