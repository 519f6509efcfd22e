"""Verdicts on hand-made figures: agrees, differs, and everything that leaves it undecided."""

from pathlib import Path

import numpy as np
import pytest

from speechlm.arms.figures import Figure, Measured
from speechlm.arms.orderings import judge, undominated
from speechlm.metrics.rows import Row
from speechlm.metrics.scoring import Mean

N = 100


def measured(*means, noise=1.0, keys=N, known=True):
    """Return a figure per seed whose utterances scatter by `noise` around its mean."""
    found = {}
    for seed, mean in enumerate(means, start=1):
        values = mean + noise * (np.random.default_rng(seed).permutation(np.linspace(-1, 1, keys)))
        metric = Mean("m", "p")
        row = Row("sft", "tts", "test", "m", float(values.mean()), keys, "p", protocol="p")
        lines = [(f"u{i}", "en") for i in range(keys)] if known else []
        found[seed] = Figure(row, Path(f"{mean}.json"), lines, metric.counts(list(values)), metric)
    return Measured(found)


@pytest.mark.parametrize(
    ("better", "worse", "lower", "word", "why"),
    [
        (measured(5, 6), measured(2, 3), False, "agrees", ""),
        (measured(2, 3), measured(5, 6), True, "agrees", ""),
        (measured(2, 3), measured(5, 6), False, "differs", ""),
        (measured(5, 6), measured(2, 5.5), False, "undecided", "within the noise of the seeds"),
        (measured(5, 6, noise=50), measured(2, 3), False, "undecided", "within the noise of the utterances"),
        (measured(5), measured(2), False, "undecided", "one seed"),
        (measured(5, 6, known=False), measured(2, 3), False, "undecided", "no values of single utterances"),
        (measured(5, 6), None, False, "not measured", "an arm has no figure yet"),
    ],
)
def test_verdicts(better, worse, lower, word, why):
    verdict = judge(better, worse, lower)
    assert (verdict.word, verdict.why) == (word, why)
    if verdict.interval:
        assert verdict.interval[0] <= verdict.gain <= verdict.interval[1]


def test_other_utterances_are_not_compared():
    with pytest.raises(ValueError, match="different utterances"):
        judge(measured(5, 6), measured(2, 3, keys=50), False)


def test_the_mean_has_an_interval_and_a_spread():
    both = measured(4, 6)
    assert both.mean == pytest.approx(5) and both.spread == pytest.approx(2**0.5)
    assert both.interval[0] < 5 < both.interval[1]


def test_undominated_points():
    assert undominated({"a": (1, 5), "b": (5, 1), "c": (2, 6), "d": (1, 5)}) == {"a", "b", "d"}
