"""Scores of texts against texts, over a whole corpus: WER, CER, BLEU, chrF.

A metric turns each utterance into a row of counts (`counts_NC`: N utterances, C counts), and sums of such rows into a
value: that of the corpus, of one utterance, or of a resampled corpus. A value is never a mean over utterances.
"""

from importlib.metadata import version
from importlib.util import find_spec
from typing import Mapping, Protocol

import jiwer
import numpy as np
import sacrebleu.metrics

from speechlm.data.languages import CHINESE, by_character, language


class TextMetric(Protocol):
    """What scoring needs of a metric of texts; `signature` is complete once `counts` was called."""

    name: str

    @property
    def signature(self) -> str: ...

    def counts(self, hyps: list[str], refs: list[str]) -> np.ndarray:
        """Return counts_NC, one row per utterance."""

    def value(self, sums_RC: np.ndarray) -> np.ndarray:
        """Return the value of each of R corpora, from the sums of their rows."""

    def one(self, counts_C: np.ndarray) -> float:
        """Return the value of one utterance by itself, to find bad ones; it is in no table."""


class ErrorRate:
    """WER or CER in percent: all errors over all words or characters of the references, by jiwer.

    The counts are substitutions, deletions, insertions, length of the reference.
    """

    def __init__(self, name: str):
        self.name = name
        self.signature = f"jiwer:{version('jiwer')}|corpus"

    def counts(self, hyps: list[str], refs: list[str]) -> np.ndarray:
        process = jiwer.process_words if self.name == "WER" else jiwer.process_characters
        output = process(refs, hyps)
        rows = []
        for words, alignment in zip(output.references, output.alignments, strict=True):
            counted = dict.fromkeys(("substitute", "delete", "insert", "equal"), 0)
            for chunk in alignment:
                counted[chunk.type] += max(
                    chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
                )
            rows.append([counted["substitute"], counted["delete"], counted["insert"], len(words)])
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def value(self, sums_RC: np.ndarray) -> np.ndarray:
        return 100 * (sums_RC[:, :3].sum(axis=1) / np.maximum(sums_RC[:, 3], 1))

    def one(self, counts_C: np.ndarray) -> float:
        return float(self.value(counts_C[None])[0])


class SacreBleu:
    """BLEU or chrF by sacreBLEU; the counts are its own sufficient statistics."""

    def __init__(self, name: str, tokenise: str = "13a"):
        self.name = name
        self.metric = sacrebleu.metrics.BLEU(tokenize=tokenise) if name == "BLEU" else sacrebleu.metrics.CHRF()
        sentence = sacrebleu.metrics.BLEU(tokenize=tokenise, effective_order=True)  # else a short sentence has 0
        self.sentence = sentence if name == "BLEU" else self.metric

    @property
    def signature(self) -> str:
        return str(self.metric.get_signature())

    def counts(self, hyps: list[str], refs: list[str]) -> np.ndarray:
        """sacreBLEU wants one list per set of references, each as long as the hypotheses: [[ref of 1, ref of 2,
        ...]].
        """
        return np.array(self.metric._extract_corpus_statistics(hyps, [refs]), dtype=np.float64)

    def value(self, sums_RC: np.ndarray) -> np.ndarray:
        """The last formula is sacreBLEU's, called for each corpus: 7 ms for a thousand."""
        return np.array([self.metric._compute_score_from_stats(sums_C.tolist()).score for sums_C in sums_RC])

    def one(self, counts_C: np.ndarray) -> float:
        return float(self.sentence._compute_score_from_stats(counts_C.tolist()).score)


METRICS = ("WER", "CER", "BLEU", "chrF")


def make_metric(name: str, lang: str, tokenise: str = "auto") -> TextMetric:
    """Return a metric; WER of a language written without spaces is CER. `tokenise` is BLEU's ("auto": by language)."""
    if name in ("WER", "CER"):
        return ErrorRate("CER" if by_character(lang) else name)
    return SacreBleu(name, bleu_tokeniser(lang) if tokenise == "auto" else tokenise)


def bleu_tokeniser(lang: str) -> str:
    """Return sacreBLEU's tokeniser for a language: 13a, or one for those written without spaces. Japanese is cut into
    words with MeCab alone.
    """
    if not by_character(lang):
        return "13a"
    if language(lang) in CHINESE:
        return "zh"
    return "ja-mecab" if language(lang) == "ja" and find_spec("MeCab") and find_spec("ipadic") else "char"


def pair_up(hyps: Mapping[str, str], refs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return [(hypothesis, reference)] in the order of the references; raise ValueError naming what has no partner.

    An empty hypothesis counts, as everything wrong. Utterances are never left out.
    """
    if not refs:
        raise ValueError("no references to score against. Check the text file of the reference directory.")
    for found, wanted, message in (
        (hyps, refs, "without a hypothesis"),
        (refs, hyps, "with a hypothesis but no reference"),
    ):
        missing = [key for key in wanted if key not in found]
        if missing:
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            fix = "Decode the whole test set again: python -m speechlm.bin.decode"
            raise ValueError(f"{len(missing)} of {len(wanted)} utterances {message}: {names}. {fix}")
    return [(hyps[key], ref) for key, ref in refs.items()]
