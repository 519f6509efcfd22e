"""Patterns are exact inverses, and lay out the grid that their docstrings draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from speechlm.tokens.patterns import PATTERNS, delay, flatten, get_pattern

codes = st.tuples(st.integers(1, 12), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 255))
)


@pytest.mark.parametrize("name", PATTERNS)
@given(codes_TK=codes)
def test_revert_undoes_apply(name, codes_TK):
    pattern = get_pattern(name)
    K = codes_TK.shape[1]
    grid_SC = pattern.apply(codes_TK)
    assert grid_SC.shape == (pattern.rows(*codes_TK.shape), pattern.columns(K))
    assert np.array_equal(pattern.revert(grid_SC, K), codes_TK)


@pytest.mark.parametrize("name", PATTERNS)
@given(codes_TK=codes)
def test_cell_says_which_code_stands_where(name, codes_TK):
    pattern, (T, K) = get_pattern(name), codes_TK.shape
    grid_SC = pattern.apply(codes_TK)
    for (row, column), code in np.ndenumerate(grid_SC):
        frame, k = pattern.cell(row, column, K)
        assert code == (codes_TK[frame, k] if 0 <= frame < T else -1)


@pytest.mark.parametrize("name", PATTERNS)
@given(codes_TK=codes, data=st.data())
def test_an_output_that_was_cut_off_loses_only_its_last_frames(name, codes_TK, data):
    pattern, K = get_pattern(name), codes_TK.shape[1]
    grid_SC = pattern.apply(codes_TK)
    cut = data.draw(st.integers(0, len(grid_SC)))
    found_TK = pattern.revert(grid_SC[:cut], K)
    assert np.array_equal(found_TK, codes_TK[: len(found_TK)])
    assert pattern.rows(len(found_TK), K) <= cut < pattern.rows(len(found_TK) + 1, K) or len(found_TK) == len(codes_TK)


def test_delay_shifts_codebook_k_by_k_rows():
    grid_SC = delay.apply(np.array([[1, 2, 3], [4, 5, 6]]))
    assert grid_SC.tolist() == [[1, -1, -1], [4, 2, -1], [-1, 5, 3], [-1, -1, 6]]


def test_flatten_has_one_column():
    assert flatten.apply(np.array([[1, 2, 3], [4, 5, 6]])).tolist() == [[1], [2], [3], [4], [5], [6]]


def test_unknown_pattern_names_those_there_are():
    with pytest.raises(ValueError, match="parallel, delay, flatten, depth"):
        get_pattern("zigzag")
