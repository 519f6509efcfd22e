"""Patterns are exact inverses, and lay out the grid that their docstrings draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from speechlm.tokens.patterns import PATTERNS, delay, get_pattern

codes = st.tuples(st.integers(1, 12), st.integers(1, 8)).flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 255)))


@pytest.mark.parametrize("name", PATTERNS)
@given(codes_TK=codes)
def test_revert_undoes_apply(name, codes_TK):
    pattern = get_pattern(name)
    grid_SK = pattern.apply(codes_TK)
    assert len(grid_SK) == pattern.rows(*codes_TK.shape)
    assert np.array_equal(pattern.revert(grid_SK), codes_TK)


def test_delay_shifts_codebook_k_by_k_rows():
    grid_SK = delay.apply(np.array([[1, 2, 3], [4, 5, 6]]))
    assert grid_SK.tolist() == [[1, -1, -1], [4, 2, -1], [-1, 5, 3], [-1, -1, 6]]


def test_delay_drops_a_frame_that_was_cut_off():
    grid_SK = delay.apply(np.array([[1, 2, 3], [4, 5, 6]]))[:-1]
    assert delay.revert(grid_SK).tolist() == [[1, 2, 3]]


def test_unknown_pattern_names_those_there_are():
    with pytest.raises(ValueError, match="parallel, delay"):
        get_pattern("zigzag")
