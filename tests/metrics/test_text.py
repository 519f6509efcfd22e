"""Text metrics against values computed by hand, and the mistakes that others made."""

import pytest

from speechlm.metrics.text import bleu, character_error_rate, chrf, normalise, word_error_rate


def test_wer_is_over_the_corpus_and_empty_hypotheses_count():
    refs = {"a": "one two three four", "b": "five"}
    assert word_error_rate({"a": "one two four", "b": ""}, refs, "en").value == pytest.approx(100 * 2 / 5)
    assert word_error_rate({"b": "Five!", "a": "One, two. three FOUR"}, refs, "en").value == 0


def test_cer_of_chinese_ignores_spaces_and_punctuation():
    score = character_error_rate({"a": "医生 今天买书。"}, {"a": "医生今天卖书"}, "zh")
    assert score.value == pytest.approx(100 / 6)


def test_bleu_uses_every_reference():
    """References in the wrong shape score only the first pair, without an error: 100 instead of less."""
    hyps = {"a": "the cat sat on the mat", "b": "a wrong sentence of six words"}
    refs = {"a": "the cat sat on the mat", "b": "nothing at all like that one"}
    score = bleu(hyps, refs, "en")
    assert score.n == 2 and 30 < score.value < 60
    assert "nrefs:1" in score.signature and "tok:13a" in score.signature


def test_bleu_of_chinese_is_by_character():
    score = bleu({"a": "医生今天买那本书"}, {"a": "医生今天卖那本书"}, "zh")
    assert "tok:zh" in score.signature and score.value > 20
    assert chrf({"a": "x"}, {"a": "x"}).value == 100


@pytest.mark.parametrize("metric", [word_error_rate, bleu])
def test_missing_hypotheses_are_named(metric):
    with pytest.raises(ValueError, match="2 of 3 utterances without a hypothesis: b, c"):
        metric({"a": "x"}, {"a": "x", "b": "y", "c": "z"}, "en")
    with pytest.raises(ValueError, match="no reference: q"):
        metric({"a": "x", "q": "y"}, {"a": "x"}, "en")


def test_normaliser():
    assert normalise("Don’t  'quote' me, SEÑOR: ¿qué?", "en") == "don't quote me señor qué"
    assert normalise("你好， 世界！", "zh") == "你好世界"
