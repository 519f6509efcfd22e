"""The step loop: what one process does alone is told to the launcher, which would take a slow disk for a hang."""

import pytest

from speechlm.train import loop
from speechlm.train.loop import Run
from speechlm.train.meter import Meter
from tests.model.tiny import tiny_model


class SlowDisk:
    """Notes for how long the launcher waits (seconds) when something is written."""

    def __init__(self, monkeypatch):
        self.limit_sec, self.waited = 5.0, {}
        monkeypatch.setattr(loop, "beat", self._beat)

    def _beat(self, _progress: int, limit_sec: float) -> None:
        self.limit_sec = limit_sec

    def __call__(self, name: str):
        return lambda *_args, **_kwargs: self.waited.update({name: self.limit_sec})


@pytest.mark.parametrize(
    ("work", "writes"),
    [
        ("keep", {"copy_llm_files", "save_weights"}),
        ("save", {"write_cost", "save_checkpoint"}),
        ("report", {"write", "write_cost"}),
        ("validate", {"write"}),
    ],
)
def test_the_launcher_waits_for_every_write_of_one_process(tmp_path, monkeypatch, work, writes):
    disk, run = SlowDisk(monkeypatch), object.__new__(Run)
    for name in ("copy_llm_files", "save_weights", "save_checkpoint"):
        monkeypatch.setattr(loop, name, disk(name))
    model = type("Model", (), {"speechlm": tiny_model(), "state_dict": dict, "eval": lambda self: self, "figures": ["loss"]})()
    log, data = type("Log", (), {"write": staticmethod(disk("write"))}), type("Data", (), {"state": {"too_long": {}}})
    guard, options = type("Guard", (), {"state": dict}), type("Options", (), {"hang_sec": 5.0, "skip_steps": []})
    vars(run).update(folder=tmp_path, model=model, log=log, data=data, guard=guard(), options=options, optimizers=[], valid=[])
    vars(run).update(rank=0, step=3, progress=9, device="cpu", meter=Meter(["loss"]), write_cost=disk("write_cost"))
    getattr(run, work)()
    assert disk.waited == dict.fromkeys(writes, 100.0) and disk.limit_sec == 5.0
