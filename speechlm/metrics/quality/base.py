"""What scoring needs of a measure of sound."""

from importlib import import_module
from types import ModuleType
from typing import Protocol

import numpy as np

SILENCE_PEAK = 1e-4  # -80 dB of full scale
SHORTEST_SEC = 0.025


class Measure(Protocol):
    """`against` is what a recording is compared with: "" (nothing), "speaker" (another recording of the speaker) or
    "original" (the recording that it was made from, sample by sample).

    `rate_hz` is what both are resampled to (0: the rate of the recording measured). `lowest` stands for silence and for
    outputs too short to hear, which count as the worst and are never left out; None: silence is measured like the rest.
    """

    names: tuple[str, ...]
    signature: str
    against: str
    rate_hz: int
    lowest: float | None

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        """Return {name: value}."""


def measure_one(measure: Measure, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
    """Return a recording's values, `lowest` if there is nothing to hear."""
    silent = len(made_T) < SHORTEST_SEC * rate_hz or np.abs(made_T).max() < SILENCE_PEAK
    if silent and measure.lowest is not None:
        return dict.fromkeys(measure.names, measure.lowest)
    return {name: float(value) for name, value in measure.measure(made_T, other_T, rate_hz).items()}


def need(module: str, what: str) -> ModuleType:
    """Import a package of the extra `quality`; raise ValueError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{what} needs a package that is not installed ({error}). Install it: pip install 'speechlm[quality]'"
        ) from None
