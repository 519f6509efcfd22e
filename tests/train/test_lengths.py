"""What a row_length leaves out is said before training, and refused where it is much."""

import argparse
import logging

import numpy as np
import pytest

from speechlm.train.lengths import SAMPLE, check_lengths, measure


class Recordings:
    """`short` examples of 20 positions and 10 frames, then `long` ones of 150 and 130; texts of 30 positions."""

    def __init__(self, short: int, long: int):
        self.short, self.long, self.asked = short, long, 0

    def sizes(self) -> dict[str, int]:
        return {"asr": self.short + self.long, "lm": 50, "s2st": 0}

    def lengths(self, task: str, index_M, number_M) -> np.ndarray:
        self.asked += len(index_M)
        return np.full(len(index_M), 30) if task == "lm" else np.where(index_M < self.short, 20, 150)

    def targets(self, task: str, index_M) -> np.ndarray:
        return np.full(len(index_M), 4)

    def frames(self, task: str, index_M) -> np.ndarray:
        return np.zeros(len(index_M), int) if task == "lm" else np.where(index_M < self.short, 10, 130)


def options(row_length: int, max_left_out: float = 0.05) -> argparse.Namespace:
    mixture = {"asr": 1.0, "lm": 0.5, "s2st": 0.0}
    return argparse.Namespace(
        config="conf/asr.yaml", row_length=row_length, rows=8, mixture=mixture, max_left_out=max_left_out
    )


def test_few_long_examples_with_much_of_the_audio_are_refused():
    """4 % of the examples are 35 % of the audio; the message says what holds them."""
    said = (
        r"conf/asr.yaml: row_length 128 leaves out asr 4.0 % of the examples with 35.1 % of the audio "
        r"\(the longest 150 positions\). .* Set row_length: 152 \(or 152, .*rows: 6; or allow it by --max_left_out"
    )
    with pytest.raises(ValueError, match=said):
        check_lengths(Recordings(96, 4), options(128))


def test_what_is_allowed_is_said_and_what_fits_is_not(caplog):
    with caplog.at_level(logging.WARNING):
        check_lengths(Recordings(96, 4), options(152))
        assert not caplog.messages
        check_lengths(Recordings(96, 4), options(128, max_left_out=0.4))
    assert "leaves out asr 4.0 %" in caplog.text and "lm" not in caplog.text


def test_of_a_large_corpus_a_sample_is_looked_at():
    corpus = Recordings(900_000, 100_000)
    asr, lm = measure(corpus, ["asr", "lm", "s2st"])
    assert corpus.asked == SAMPLE + 50 and "1000 of 1000000 looked at" in asr.message(128)
    assert asr.left_out(128)[0] == pytest.approx(0.1, abs=0.03) and lm.left_out(29) == (1.0, 0.0)
