"""The grammar gives natural pairs that never repeat, and its mistakes are named."""

import random
from pathlib import Path

import pytest

from speechlm.data.grammar import Grammar

GRAMMAR = Path(__file__).resolve().parents[2] / "egs/mini_cvss/local/grammar.yaml"


def test_sentences_are_distinct_in_every_language_and_agree_in_gender():
    sentences = Grammar(GRAMMAR).sample_distinct(2000, random.Random(1))
    for lang in ("en", "es", "zh"):
        assert len({s[lang] for s in sentences}) == 2000
    house = [s for s in sentences if "white house" in s["en"]]
    assert house and all("casa blanca" in s["es"] and "白色的房子" in s["zh"] for s in house)


def test_the_same_seed_gives_the_same_sentences():
    one, two = (Grammar(GRAMMAR).sample_distinct(50, random.Random(3)) for _ in range(2))
    assert one == two


def test_too_many_sentences_are_refused(tmp_path):
    (tmp_path / "g.yaml").write_text("languages: [en]\nrules: {sentence: [{en: hello}]}")
    with pytest.raises(ValueError, match="found 1 distinct sentences, expected 2"):
        Grammar(tmp_path / "g.yaml").sample_distinct(2, random.Random(1))


def test_mistakes_in_the_grammar_are_named(tmp_path):
    (tmp_path / "g.yaml").write_text("languages: [en, es]\nrules: {sentence: [{en: '{thing} here'}]}")
    with pytest.raises(ValueError, match="lacks es.*no rule is named thing"):
        Grammar(tmp_path / "g.yaml")
    for rules in ("{sentence: [{en: '{a}'}], a: [{en: x}, {en: '{b}'}], b: [{en: '{a}'}]}", "{sentence: [{en: '{sentence}'}]}"):
        (tmp_path / "g.yaml").write_text(f"languages: [en]\nrules: {rules}")
        with pytest.raises(ValueError, match="g.yaml: .*it stands for itself"):
            Grammar(tmp_path / "g.yaml")
