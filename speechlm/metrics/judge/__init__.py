"""The judge: a small ESPnet CTC recogniser that transcribes generated speech for scoring."""

from speechlm.metrics.judge.recogniser import Judge

__all__ = ["Judge"]
