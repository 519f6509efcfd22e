"""Text metrics against counts made by hand (golden/), and the mistakes that others made."""

import math
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from speechlm.metrics.bootstrap import approximate_randomisation, interval, paired_bootstrap
from speechlm.metrics.normalise import NORMALISERS, normalise
from speechlm.metrics.protocol import Rules
from speechlm.metrics.scoring import Output, score_texts
from speechlm.metrics.table import metric_of
from speechlm.metrics.text import make_metric

GOLDEN = Path(__file__).with_name("golden")


def golden(name: str) -> tuple[dict, dict, np.ndarray]:
    """Return {id: reference}, {id: hypothesis} and the counts of a file."""
    lines = [
        line for line in (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert len(lines) >= 20
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    refs, hyps = ({f"u{i:02}": line[column] for i, line in enumerate(cells)} for column in (0, 1))
    return refs, hyps, np.array([[int(number) for number in line[2].split()] for line in cells])


def score(metric: str, refs: dict, hyps: dict, lang: str = "en", **rules):
    """Return the score of one metric, and the lines."""
    normaliser = "lower-nopunct-v2" if metric in ("WER", "CER") else "none"
    [found], lines = score_texts(
        Rules([metric], **{"normaliser": normaliser} | rules), Output("s2tt", lang, hyps, refs)
    )
    return found, lines


@pytest.mark.parametrize(
    "name, lang, errors, length", [("wer", "en", 13 + 11 + 10, 75), ("cer", "zh", 8 + 10 + 10, 80)]
)
def test_error_rates_match_counts_made_by_hand(name, lang, errors, length):
    refs, hyps, counts = golden(name)
    found, lines = score("WER", refs, hyps, lang)
    assert found.name == name.upper() and (found.counts_NC == counts).all()
    assert found.value == pytest.approx(100 * errors / length)
    assert [(line["errors"], line["ref_len"]) for line in lines] == [(sum(row[:3]), row[3]) for row in counts.tolist()]
    averaged = np.mean([line[found.name] for line in lines])
    assert abs(averaged - found.value) > 1  # a mean over utterances is another figure


def test_bleu_matches_ngrams_counted_by_hand():
    refs, hyps, counts = golden("bleu")
    found, lines = score("BLEU", refs, hyps)
    lengths, hits = counts[:, :2].sum(axis=0), counts[:, 2:].sum(axis=0)
    assert (found.counts_NC[:, :6] == counts).all()
    totals = [sum(max(0, length - n) for length in counts[:, 0]) for n in range(4)]
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    wanted = 100 * penalty * math.exp(sum(math.log(hit / total) for hit, total in zip(hits, totals)) / 4)
    assert found.value == pytest.approx(wanted, abs=1e-9)
    assert abs(np.mean([line["BLEU"] for line in lines]) - wanted) > 1  # averaged sentence BLEU is no corpus BLEU
    wrong_shape = sacrebleu.corpus_bleu(list(hyps.values()), [[ref] for ref in refs.values()])
    assert (
        wrong_shape.score == pytest.approx(100) and found.value < 60
    )  # [[a], [b]] scores the first pair only, without an error
    assert "nrefs:1" in found.protocol and "tok:13a" in found.protocol and "norm:none" in found.protocol


def test_the_famous_wrong_shape():
    """Two utterances of which one is right: 50 as it should be, 100 if the references are passed as one list each."""
    hyps, refs = {"a": "one two three four", "b": "x1 x2 x3 x4"}, {"a": "one two three four", "b": "y1 y2 y3 y4"}
    value = score("BLEU", refs, hyps)[0].value
    assert value == pytest.approx(
        100 * (4 / 8 * 3 / 6 * 2 / 4 * 1 / 2) ** 0.25
    )  # 50: half of the n-grams of each order
    assert sacrebleu.corpus_bleu(list(hyps.values()), [[ref] for ref in refs.values()]).score == pytest.approx(100)


def test_chrf_matches_ngrams_counted_by_hand():
    refs, hyps, counts = golden("chrf")
    found, _ = score("chrF", refs, hyps)
    assert (found.counts_NC[:, :12] == counts).all() and not found.counts_NC[:, 12:].any()
    sums = counts.sum(axis=0).reshape(4, 3)  # of each order: in the hypotheses, in the references, in both
    precision, recall = np.mean([both / hyp for hyp, _, both in sums]), np.mean([both / ref for _, ref, both in sums])
    assert found.value == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))  # F with beta 2


def test_chinese_is_scored_by_character():
    refs, hyps = {"a": "医生今天卖那本书"}, {"a": "医生今天买那本书"}
    found, _ = score("BLEU", refs, hyps, "zh")
    by_word, _ = score("BLEU", refs, hyps, "zh", tokenise="13a")
    assert "tok:zh" in found.protocol and found.counts_NC[0, 0] == 8
    assert found.value == pytest.approx(
        100 * (7 / 8 * 5 / 7 * 3 / 6 * 1 / 5) ** 0.25
    )  # hits: 7 characters, 5 pairs, 3 triples, 1 four
    assert by_word.value == 0  # one long "word" that is wrong


def test_utterances_are_paired_by_id_and_none_is_left_out():
    refs, hyps, _ = golden("wer")
    found, lines = score("WER", refs, hyps)
    other, other_lines = score("WER", refs, dict(reversed(hyps.items())))
    assert other.value == found.value and other_lines == lines
    for metric in ("WER", "BLEU", "chrF"):
        with pytest.raises(
            ValueError, match="2 of 22 utterances without a hypothesis: u03, u05. Decode the whole test set again"
        ):
            score(metric, refs, {key: hyp for key, hyp in hyps.items() if key not in ("u03", "u05")})
        with pytest.raises(ValueError, match="no reference: stranger"):
            score(metric, refs, hyps | {"stranger": "x"})
        nothing, _ = score(metric, refs, dict.fromkeys(refs, ""))
        assert nothing.value == (100 if metric == "WER" else 0) and len(nothing.counts_NC) == 22
    with pytest.raises(ValueError, match="empty after normalising"):
        score("WER", {"a": "...", "b": "!"}, {"a": "x", "b": "y"})


def test_normalisers():
    assert normalise("Don’t  'quote' me, SEÑOR: ¿qué?", "en") == "don't quote me señor qué"
    assert normalise("你好， 世界！", "zh") == "你好世界"
    assert (
        NORMALISERS["whisper_english"]("Mr. Brown's colour isn't [noise] twenty-one, um, dogs", "en")
        == "mister brown is color is not 21 dogs"
    )
    assert NORMALISERS["whisper_basic"]("¿Qué? [ruido] Sí.", "es") == "qué sí"
    assert NORMALISERS["whisper_basic"]("你好。", "zh") == "你好"  # blanks are no characters of CER
    assert NORMALISERS["lower"](" HELLO, World! ", "en") == "hello, world!"
    assert NORMALISERS["already_lower"]("it's twenty one", "en") == "it's twenty one"
    with pytest.raises(ValueError, match="'A cat' has capitals.*CVSS's normalised texts"):
        NORMALISERS["already_lower"]("A cat", "en")
    with pytest.raises(ValueError, match="is for English, and the text is in 'es'"):
        NORMALISERS["whisper_english"]("hola", "es")


@pytest.mark.parametrize("lang", ["zh-CN", "zh_TW", "zh-Hant", "cmn-Hans", "yue", "ja", "th-TH", "lo", "km", "my"])
def test_languages_without_blanks_are_scored_by_character_whatever_their_tag(lang):
    refs, hyps = {"a": "กขคง จฉชซ"}, {"a": "กขคงจฉชญ"}
    wer, lines = score("WER", refs, hyps, lang)
    bleu, _ = score("BLEU", refs, hyps, lang)
    assert wer.name == "CER" and wer.value == pytest.approx(100 / 8) and lines[0]["hyp_norm"] == "กขคงจฉชญ"
    assert "tok:13a" not in bleu.protocol
    row = bleu.to_row(Rules(["BLEU"]), "m", "s2tt", "t", "")
    assert (
        metric_of(row).counts(["กขคงจฉชญ"], ["กขคง จฉชซ"]) == bleu.counts_NC
    ).all()  # the interval and the page compute it alike


def test_a_script_with_blanks_is_scored_by_word():
    assert score("WER", {"a": "ni hao"}, {"a": "ni hao"}, "zh-Latn")[0].name == "WER"
    assert score("WER", {"a": "안녕 하세요"}, {"a": "안녕 하세요"}, "ko-KR")[0].name == "WER"


@pytest.mark.parametrize(
    ("text", "lang", "wanted"),
    [
        ("co\u00adop\u200bera\u200dti\u2060on", "en", "cooperation"),
        ("\u200fשלום\u200e \u2067עולם\u2069\ufeff", "he", "שלום עולם"),
        ("می\u200cروم", "fa", "میروم"),
        ("IĞDIR İstanbul I\u0307zmir", "tr-TR", "ığdır istanbul izmir"),
        ("IŞIK", "az", "ışık"),
        ("TITLE", "en", "title"),
        ("caf´e l´eau ¨a x\u00af", "fr", "caf e l eau a x"),
        ("Straße STRASSE", "de", "strasse strasse"),
        ("ΟΔΟΣ οδός", "el", "οδοσ οδόσ"),
        ("العـــربية مُحَمَّد", "ar", "العـــربية مُحَمَّد"),  # neither vowel signs nor tatweel are dropped
        ("e\u0301té", "fr", "été"),
        ("* \u0301 ❤\ufe0f ok", "en", "ok"),
    ],
)
def test_normalisation_follows_unicode_and_the_language(text, lang, wanted):
    assert normalise(text, lang) == unicodedata.normalize("NFKC", wanted)


def test_the_interval_is_that_of_a_known_distribution_and_has_one_seed():
    """Half of 400 one-word utterances are wrong: the WER's standard error is sqrt(0.25 / 400) = 2.5 points."""
    refs = {f"u{i}": "a" for i in range(400)}
    found, _ = score("WER", refs, {key: "ab"[i % 2] for i, key in enumerate(refs)})
    low, high = interval(found.counts_NC, found.metric.value)
    assert low == pytest.approx(50 - 1.96 * 2.5, abs=0.8) and high == pytest.approx(50 + 1.96 * 2.5, abs=0.8)
    assert (low, high) == interval(found.counts_NC, found.metric.value)


@pytest.mark.parametrize("name", ["WER", "BLEU"])
def test_paired_tests_see_a_difference_that_single_intervals_hide(name):
    """B is right wherever A is, and in 8 further utterances of 200: the intervals of A and B overlap, the difference is
    certain.
    """
    metric, n = make_metric(name, "en"), 200
    refs = ["one two three four five"] * n
    a, b = (
        metric.counts([ref if i >= wrong else "x y z v w" for i, ref in enumerate(refs)], refs) for wrong in (60, 52)
    )
    intervals = [interval(counts, metric.value) for counts in (a, b)]
    assert max(low for low, _ in intervals) < min(high for _, high in intervals)
    low, high, p = paired_bootstrap(a, b, metric.value)
    assert low * high > 0 and p < 0.02 and approximate_randomisation(a, b, metric.value, 2000) < 0.02
    assert paired_bootstrap(a, a, metric.value) == (0, 0, 1) and approximate_randomisation(a, a, metric.value, 200) == 1
