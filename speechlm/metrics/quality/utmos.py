"""UTMOS (VoiceMOS 2022, strong learner): predicted naturalness from 1 to 5.

No package carries its weights. `utmos` takes SpeechMOS from torch.hub, `utmos:FOLDER` a clone of it, `utmos:FILE` a
TorchScript file that maps (wav_BT, rate) to values_B.
"""

from pathlib import Path

import numpy as np
import torch

from speechlm.data.files import file_digest

HUB, ENTRY = "tarepan/SpeechMOS:v1.2.0", "utmos22_strong"


class UTMOS:
    """Needs the network once, or a path."""

    names = ("utmos",)
    against, rate_hz, lowest = "", 16000, 1.0

    def __init__(self, model: str = "", device: str = "cpu"):
        self.device = device
        self.network = _load(model).to(device).eval()
        self.signature = f"utmos:{_name(model)}"

    @torch.inference_mode()
    def measure(self, made_T: np.ndarray, other_T: np.ndarray, rate_hz: int) -> dict[str, float]:
        return {"utmos": float(self.network(torch.from_numpy(made_T)[None].to(self.device), rate_hz)[0])}


def _name(model: str) -> str:
    return f"torchscript@{file_digest(model)[:12]}" if Path(model).is_file() else Path(model).name or HUB


def _load(model: str) -> torch.nn.Module:
    try:
        if Path(model).is_file():
            return torch.jit.load(model, map_location="cpu")
        if model:
            return torch.hub.load(model, ENTRY, source="local")
        return torch.hub.load(HUB, ENTRY, trust_repo=True, verbose=False)
    except Exception as error:  # no network, no such folder, no hubconf.py, not TorchScript: each its own exception
        raise ValueError(
            f"utmos:{model}: cannot be loaded ({str(error)[:200]}). With network access, `utmos` fetches {HUB}."
            " Without it, clone that repository elsewhere, copy it and the weights"
            " (~/.cache/torch/hub/checkpoints) here, and"
            " write utmos:FOLDER"
        ) from None
