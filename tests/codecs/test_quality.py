"""Codec reports on codes whose statistics are known."""

import numpy as np
import pytest

from speechlm.codecs import load_codec
from speechlm.codecs.quality import measure, next_perplexity, perplexity


def test_perplexity_of_known_codes():
    assert perplexity(np.array([0, 1, 2, 3] * 5), 16) == pytest.approx(4.0)
    assert perplexity(np.zeros(9, int), 16) == 1.0


def test_codes_that_follow_from_the_one_before_are_predictable():
    cycle = [np.arange(100) % 4] * 4
    assert (
        next_perplexity(cycle, 4)
        < 1.1
        < next_perplexity([np.random.default_rng(n).integers(4, size=100) for n in range(4)], 4)
    )


def test_report(codec_folder, noise):
    codec = load_codec(str(codec_folder))
    report = measure(codec, [noise(0.5, seed=n) for n in range(3)])
    assert list(report.mel_error) == [1, 2, 4] and report.utterances == 3
    assert len(report.perplexity) == len(report.consistency) == 4
    assert "| mel error, first 4 codebooks |" in report.to_markdown()


def test_nothing_to_measure(codec_folder):
    with pytest.raises(ValueError, match="no recordings"):
        measure(load_codec(str(codec_folder)), [])
