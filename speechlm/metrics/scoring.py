"""From hypotheses and references to figures: one value per metric with its confidence interval, and one line per
utterance.
"""

from dataclasses import dataclass, field

import numpy as np

from speechlm.data.audio import Span
from speechlm.metrics.bootstrap import interval
from speechlm.metrics.protocol import Rules
from speechlm.metrics.rows import Row
from speechlm.metrics.text import TextMetric, make_metric, pair_up
from speechlm.tasks import TASKS


@dataclass(frozen=True)
class Output:
    """A system's output for a test set in one language: {id: text} for people to read, {id: path} if it speaks.

    `voices`: another recording of each utterance's speaker. `originals`: what each recording was made from, if it was.
    """

    task: str
    lang: str
    hyps: dict[str, str]
    refs: dict[str, str]
    speakers: dict[str, str] = field(default_factory=dict)
    wavs: dict[str, str] = field(default_factory=dict)
    voices: dict[str, Span] = field(default_factory=dict)
    originals: dict[str, Span] = field(default_factory=dict)


class Mean:
    """A measure of each utterance, averaged over utterances; the counts are its value and 1."""

    def __init__(self, name: str, signature: str):
        self.name, self.signature = name, signature

    def counts(self, values: list[float]) -> np.ndarray:
        return np.stack([np.array(values, dtype=np.float64), np.ones(len(values))], axis=1)

    def value(self, sums_RC: np.ndarray) -> np.ndarray:
        return sums_RC[:, 0] / sums_RC[:, 1]

    def one(self, counts_C: np.ndarray) -> float:
        return float(counts_C[0])


class Perplexity:
    """exp(nats per token) of texts; the counts are each text's nats and tokens."""

    def __init__(self, name: str, signature: str):
        self.name, self.signature = name, signature

    def counts(self, values: list[list[float]]) -> np.ndarray:
        return np.array(values, dtype=np.float64).reshape(-1, 2)

    def value(self, sums_RC: np.ndarray) -> np.ndarray:
        return np.exp(sums_RC[:, 0] / sums_RC[:, 1])

    def one(self, counts_C: np.ndarray) -> float:
        return float(self.value(counts_C[None])[0])


@dataclass(frozen=True)
class Score:
    """One metric over a test set: the counts of each utterance, and what makes the figure comparable."""

    name: str
    metric: TextMetric | Mean | Perplexity
    counts_NC: np.ndarray
    protocol: str

    @property
    def value(self) -> float:
        return float(self.metric.value(self.counts_NC.sum(axis=0)[None])[0])

    def to_row(self, rules: Rules, model: str, task: str, test_set: str, made_by: str) -> Row:
        """Return the row of the table; `made_by` says how the output was made (codec, decoding)."""
        low, high = interval(self.counts_NC, self.metric.value)
        signature = "|".join(part for part in (f"protocol:{rules.protocol}", self.protocol, made_by) if part)
        return Row(
            model, task, test_set, self.name, self.value, len(self.counts_NC), signature, low, high, self.protocol
        )


def score_texts(rules: Rules, output: Output, recogniser: str = "") -> tuple[list[Score], list[dict]]:
    """Return the scores of what was written, or of what a recogniser (its signature) heard; and the lines, in the order
    of the references.
    """
    pairs = [rules.normalise(hyp, ref, output.lang) for hyp, ref in pair_up(output.hyps, output.refs)]
    hyps, refs = [hyp for hyp, _ in pairs], [ref for _, ref in pairs]
    if not any(refs):
        raise ValueError("the references are empty after normalising. Check their text, or the protocol's normaliser.")
    lines, scores = [_line(output, key, *pair) for key, pair in zip(output.refs, pairs)], []
    for metric in (make_metric(name, output.lang, rules.tokenise) for name in rules.metrics):
        counts_NC = metric.counts(hyps, refs)
        name = f"ASR-{metric.name}" if TASKS[output.task].speaks and metric.name in ("BLEU", "chrF") else metric.name
        scores.append(
            Score(name, metric, counts_NC, "|".join(filter(None, (metric.signature, rules.signature, recogniser))))
        )
        for line, counts_C in zip(lines, counts_NC):
            line |= {name: round(metric.one(counts_C), 3)}
            if metric.name in ("WER", "CER"):
                line |= {"errors": int(counts_C[:3].sum()), "ref_len": int(counts_C[3])}
    return scores, lines


def _line(output: Output, key: str, hyp_norm: str, ref_norm: str) -> dict:
    line = {"id": key, "lang": output.lang}
    if key in output.speakers:
        line["speaker"] = output.speakers[key]
    line |= {"ref": output.refs[key], "hyp": output.hyps[key], "ref_norm": ref_norm, "hyp_norm": hyp_norm}
    if key in output.wavs:
        line["wav"] = str(output.wavs[key])
    return line
