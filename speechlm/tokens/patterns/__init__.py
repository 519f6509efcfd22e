"""Codebook patterns: how the K codes of each frame are laid out over the rows of a sequence.

A pattern is one small module with two inverse functions; a new one is a new file and a line in PATTERNS.
    apply(codes_TK) -> grid_SK    FILL marks a cell that holds no code
    revert(grid_SK) -> codes_TK   an incomplete last frame is dropped
    rows(T, K) -> S
"""

from types import ModuleType

from speechlm.tokens.patterns import delay, parallel

PATTERNS: dict[str, ModuleType] = {"parallel": parallel, "delay": delay}


def get_pattern(name: str) -> ModuleType:
    """Return the pattern module called `name`; ValueError lists those there are."""
    if name not in PATTERNS:
        raise ValueError(f"pattern {name!r} is unknown. Expected one of {', '.join(PATTERNS)}.")
    return PATTERNS[name]
