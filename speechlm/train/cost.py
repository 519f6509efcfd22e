"""What a training took: `cost.json`, one entry per session (a training that was stopped has several)."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from speechlm.data.files import atomic_write
from speechlm.data.machine import code_version, describe_machine
from speechlm.data.settings import read_json

NAME = "cost.json"


class Cost:
    """The sessions of a training folder; this one is written anew at each report, so that a kill loses little of it."""

    def __init__(self, folder: Path, step: int, processes: int, on_gpu: bool):
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())][:processes] if on_gpu else []
        self.path, self.began = folder / NAME, time.monotonic()
        self.before = read_json(self.path)["sessions"] if step and self.path.exists() else []
        self.session = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "first_step": step,
            "commit": code_version(),
            "machine": describe_machine(gpus),
            "processes": processes,
            "threads": torch.get_num_threads(),
            "gpus": len(gpus),
        }

    def write(self, step: int, parameters: int) -> None:
        """Record that `step` is done; hours are of cores (all threads), and of GPUs if there are any."""
        seconds = time.monotonic() - self.began
        sessions = [*self.before, self.session | {"last_step": step, "seconds": round(seconds, 1)}]
        total = {
            "steps": step,
            "parameters": parameters,
            "seconds": round(sum(s["seconds"] for s in sessions), 1),
            "core_hours": round(sum(s["seconds"] * s["processes"] * s["threads"] for s in sessions) / 3600, 4),
            "gpu_hours": round(sum(s["seconds"] * s["gpus"] for s in sessions) / 3600, 4),
        }
        with atomic_write(self.path) as stream:
            json.dump(total | {"sessions": sessions}, stream, indent=1)
