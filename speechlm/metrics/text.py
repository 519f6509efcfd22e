"""Scores of texts against texts, over a whole corpus: WER, CER, BLEU, chrF. Each comes with its signature.

Hypotheses and references are {utterance id: text}. An utterance without a hypothesis is an error that names it;
an empty hypothesis counts, as everything wrong. Utterances are never left out.
"""

import unicodedata
from dataclasses import dataclass
from importlib.metadata import version
from typing import Mapping

import jiwer
import sacrebleu.metrics

NORMALISER = "lower-nopunct-v1"
NO_SPACES = ("zh", "ja")  # languages written without spaces: scored by character


@dataclass(frozen=True)
class Score:
    """One figure, the number of utterances it is over, and how it was computed."""

    metric: str
    value: float
    n: int
    signature: str


def normalise(text: str, lang: str) -> str:
    """Return `text` in NFKC, lower case, without punctuation and symbols, single-spaced (zh: without spaces).

    An apostrophe within a word stays (don't). Used for WER and CER, never for BLEU of texts.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = "".join(c if _is_word_character(text, i) else " " for i, c in enumerate(text))
    return ("" if lang in NO_SPACES else " ").join(kept.split())


def _is_word_character(text: str, i: int) -> bool:
    if text[i] == "'":
        return text[i - 1 : i].isalnum() and text[i + 1 : i + 2].isalnum()
    return unicodedata.category(text[i])[0] in "LMN"


def word_error_rate(hyps: Mapping[str, str], refs: Mapping[str, str], lang: str) -> Score:
    """Return the corpus WER in percent (all errors over all reference words) after normalising both sides."""
    pairs = [(normalise(h, lang), normalise(r, lang)) for h, r in pair_up(hyps, refs)]
    value = jiwer.wer([r for _, r in pairs], [h for h, _ in pairs])
    return Score("WER", 100 * value, len(pairs), f"jiwer:{version('jiwer')}|norm:{NORMALISER}|corpus")


def character_error_rate(hyps: Mapping[str, str], refs: Mapping[str, str], lang: str) -> Score:
    """Return the corpus CER in percent after normalising both sides."""
    pairs = [(normalise(h, lang), normalise(r, lang)) for h, r in pair_up(hyps, refs)]
    value = jiwer.cer([r for _, r in pairs], [h for h, _ in pairs])
    return Score("CER", 100 * value, len(pairs), f"jiwer:{version('jiwer')}|norm:{NORMALISER}|corpus")


def bleu(hyps: Mapping[str, str], refs: Mapping[str, str], lang: str) -> Score:
    """Return corpus BLEU as it stands, cased and punctuated; `lang` "zh" is scored by character (tokenize=zh)."""
    metric = sacrebleu.metrics.BLEU(tokenize={"zh": "zh", "ja": "char"}.get(lang, "13a"))
    return _sacrebleu("BLEU", metric, pair_up(hyps, refs))


def chrf(hyps: Mapping[str, str], refs: Mapping[str, str]) -> Score:
    """Return corpus chrF as it stands."""
    return _sacrebleu("chrF", sacrebleu.metrics.CHRF(), pair_up(hyps, refs))


def _sacrebleu(name: str, metric: sacrebleu.metrics.base.Metric, pairs: list[tuple[str, str]]) -> Score:
    """sacreBLEU wants one list per set of references, each as long as the hypotheses: [[ref of 1, ref of 2, ...]]."""
    result = metric.corpus_score([h for h, _ in pairs], [[r for _, r in pairs]])
    return Score(name, result.score, len(pairs), str(metric.get_signature()))


def pair_up(hyps: Mapping[str, str], refs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return [(hypothesis, reference)] in the order of the references; raise ValueError naming what has no partner."""
    if not refs:
        raise ValueError("no references to score against. Check the text file of the reference directory.")
    for found, wanted, message in ((hyps, refs, "without a hypothesis"), (refs, hyps, "with a hypothesis but no reference")):
        missing = [key for key in wanted if key not in found]
        if missing:
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            mend = "Decode the whole test set again: python -m speechlm.bin.decode"
            raise ValueError(f"{len(missing)} of {len(wanted)} utterances {message}: {names}. {mend}")
    return [(hyps[key], ref) for key, ref in refs.items()]


def by_character(lang: str) -> bool:
    """Tell whether recognition in a language is scored by CER instead of WER."""
    return lang in NO_SPACES


def error_rate(hyps: Mapping[str, str], refs: Mapping[str, str], lang: str) -> Score:
    """Return CER for a language written without spaces, else WER."""
    return (character_error_rate if by_character(lang) else word_error_rate)(hyps, refs, lang)
