"""The judge that the recipes ship or train: a small ESPnet CTC recogniser."""

from functools import cached_property

from speechlm.metrics.judge.recogniser import Judge, find_judge, fingerprint, judge_signature, read_config
from speechlm.metrics.recognisers.base import require_greedy


class JudgeRecogniser:
    """judge:judge_en (shipped) or judge:FOLDER."""

    def __init__(self, model: str, beam: int = 1, device: str = "cpu"):
        require_greedy("judge", beam)
        self.folder = find_judge(model)
        config = read_config(self.folder / "config.json")
        self.languages = (config.language,)
        self.signature = judge_signature(config, fingerprint(self.folder))

    @cached_property
    def judge(self) -> Judge:
        return Judge.load(self.folder)

    def transcribe(self, paths: list[str], lang: str) -> list[str]:
        return self.judge.transcribe(paths)
