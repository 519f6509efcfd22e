"""Confidence by resampling utterances (bootstrap), from sums of each utterance's counts.

R resamples, N utterances, C counts. The seed is fixed: the same scores give the same interval.
"""

from typing import Callable

import numpy as np

RESAMPLES = 1000
PERCENT = 95
SEED = 12345  # sacreBLEU's
AT_A_TIME = 4_000_000  # drawn utterances in memory

ValueOf = Callable[[np.ndarray], np.ndarray]  # sums_RC -> value_R


def resampled_sums(counts_NC: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """Return sums_RC: the counts of R corpora of N utterances, drawn with replacement."""
    rng, (n, _) = np.random.default_rng(SEED), counts_NC.shape
    rows = max(1, AT_A_TIME // n)
    sums = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn_RN = rng.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        times_RN = np.bincount(drawn_RN.ravel(), minlength=count * n).reshape(count, n)
        sums.append(times_RN.astype(np.float64) @ counts_NC)
    return np.concatenate(sums)


def interval(counts_NC: np.ndarray, value: ValueOf) -> tuple[float, float]:
    """Return the bounds between which 95 % of the values of resampled corpora lie."""
    return bounds(value(resampled_sums(counts_NC)))


def bounds(values_R: np.ndarray) -> tuple[float, float]:
    """Return the percentiles that leave 5 % outside, half on each side."""
    low, high = np.percentile(values_R, [(100 - PERCENT) / 2, (100 + PERCENT) / 2])
    return float(low), float(high)


def paired_bootstrap(a_NC: np.ndarray, b_NC: np.ndarray, value: ValueOf) -> tuple[float, float, float]:
    """Return low and high of value(b) - value(a), and the two-sided p-value of "there is no difference".

    Both systems are resampled with the same utterances. As in sacreBLEU, p is the share of resampled differences that
    are as far from their own mean as the real difference is from zero.
    """
    c = a_NC.shape[1]
    sums_RC = resampled_sums(np.concatenate([a_NC, b_NC], axis=1))
    difference_R = value(sums_RC[:, c:]) - value(sums_RC[:, :c])
    real = float(value(b_NC.sum(axis=0)[None])[0] - value(a_NC.sum(axis=0)[None])[0])
    away = np.abs(difference_R - difference_R.mean())
    return *bounds(difference_R), _p_value(away, abs(real))


def approximate_randomisation(
    a_NC: np.ndarray, b_NC: np.ndarray, value: ValueOf, trials: int = 10 * RESAMPLES
) -> float:
    """Return the two-sided p-value: how often systems that swapped utterances at random differ as much as the real
    ones.
    """
    rng, sums = np.random.default_rng(SEED), []
    total_C = (a_NC + b_NC).sum(axis=0)
    rows = max(1, AT_A_TIME // len(a_NC))
    for start in range(0, trials, rows):
        kept_RN = rng.integers(0, 2, (min(rows, trials - start), len(a_NC))).astype(np.float64)
        sums.append(kept_RN @ a_NC + (1 - kept_RN) @ b_NC)
    one_RC = np.concatenate(sums)
    real = float(value(b_NC.sum(axis=0)[None])[0] - value(a_NC.sum(axis=0)[None])[0])
    return _p_value(np.abs(value(total_C - one_RC) - value(one_RC)), abs(real))


def _p_value(differences_R: np.ndarray, real: float) -> float:
    """Add one to both counts (Noreen 1989), so that p is never 0; equal systems have p = 1."""
    return float((np.sum(differences_R >= real - 1e-12) + 1) / (len(differences_R) + 1))
