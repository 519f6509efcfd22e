"""Scores of speech: the judge writes down what it hears, and that text is scored.

The transcript and the reference are both normalised. BLEU of a transcript is called ASR-BLEU.
"""

from dataclasses import replace
from pathlib import Path
from typing import Mapping

from speechlm.data.kaldi import write_table
from speechlm.metrics.judge import Judge
from speechlm.metrics.text import NORMALISER, Score, bleu, chrf, error_rate, normalise, pair_up


def transcribe(judge: Judge, wavs: Mapping[str, str | Path], lang: str, keep: str | Path) -> dict[str, str]:
    """Return {utterance id: what the judge heard}, also written to the Kaldi file `keep` for a person to read."""
    if judge.config.language != lang:
        raise ValueError(
            f"the speech is in {lang!r}, the judge understands {judge.config.language!r}. Give --judge for {lang}, or train one."
        )
    heard = dict(zip(wavs, judge.transcribe(list(wavs.values()))))
    write_table(keep, heard)
    return heard


def intelligibility(heard: Mapping[str, str], refs: Mapping[str, str], judge: Judge) -> list[Score]:
    """Return the WER (or CER) of the transcripts against what should have been said."""
    score = error_rate(heard, refs, judge.config.language)
    return [replace(score, signature=f"{score.signature}|{judge.signature}")]


def asr_bleu(heard: Mapping[str, str], refs: Mapping[str, str], judge: Judge) -> list[Score]:
    """Return ASR-BLEU and ASR-chrF of the transcripts of translated speech."""
    lang = judge.config.language
    pair_up(heard, refs)
    hyps, wanted = ({key: normalise(text, lang) for key, text in texts.items()} for texts in (heard, refs))
    scores = [bleu(hyps, wanted, lang), chrf(hyps, wanted)]
    return [replace(s, metric=f"ASR-{s.metric}", signature=f"{s.signature}|norm:{NORMALISER}|{judge.signature}") for s in scores]
