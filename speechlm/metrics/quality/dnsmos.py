"""DNSMOS: predicted opinion of noisy and synthetic speech (P.835 overall, P.808), by Microsoft's networks within
`speechmos`.
"""

from importlib.metadata import version

import numpy as np

from speechlm.metrics.quality.base import need


class DNSMOS:
    """Values from 1 to 5. Recordings are repeated to 9 s, the length that the networks know."""

    names = ("dnsmos_overall", "dnsmos_p808")
    against, rate_hz, lowest = "", 16000, 1.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.run = need("speechmos.dnsmos", "DNSMOS").run
        self.signature = f"dnsmos:speechmos-{version('speechmos')}"

    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        found = self.run(np.clip(made_T, -1, 1), rate_hz)
        return {"dnsmos_overall": found["ovrl_mos"], "dnsmos_p808": found["p808_mos"]}
