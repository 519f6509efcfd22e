"""The grammar gives natural pairs that never repeat, and its mistakes are named."""

import random
import re
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


def test_the_wide_grammar_agrees_in_every_language():
    sentences = Grammar(GRAMMAR.with_name("grammar_wide.yaml")).sample_distinct(6000, random.Random(1))
    right = {  # what must occur, and what must not
        "en": [
            r"\ban (?:old|expensive|umbrella)\b",
            r"\ba [aeiou]|\ban [^aeiou]|\b(?:I|we|they|ladies) (?:buys|has|wants)\b",
        ],
        "es": [
            r"\bla (?:casa|mesa|llave|silla) (?:blanca|roja|negra)\b",
            r"\b(?:el|un|este) (?:casa|mesa|llave|flor)\b|\bpuertas rojos\b",
        ],
        "fr": [
            r"\bl'horloge\b|\bcet oiseau\b",
            r"\b(?:le|la|ma|ce|je|ne|que) [aeéiouh]|\b(?:beau|nouveau|vieux) (?:arbre|oiseau)\b",
        ],
        "de": [
            r"\beinen (?:neuen|roten|alten|kleinen) ",
            r"\bden (?:Auto|Lampe|Haus|Tür)\b|\bdas (?:Hund|Tisch)\b|\bmein rote \w+",
        ],
        "it": [
            r"\bl'orologio\b|\bquest'albero\b",
            r"\b(?:il|la|questo|questa) [aeiou]|\bcasa bianco\b|\btazze nuovi\b",
        ],
    }
    for lang, (wanted, wrong) in right.items():
        texts = [s[lang] for s in sentences]
        assert len(set(texts)) == 6000 and any(re.search(wanted, text) for text in texts), lang
        assert not [text for text in texts if re.search(wrong, text)][:3], lang
    words = {word for s in sentences for word in s["en"].strip("?").split()}
    assert len(words) > 250, "at least twice the words of grammar.yaml"
    assert (
        sum(s["en"].endswith("?") for s in sentences) > 600
        and sum("{" in text for s in sentences for text in s.values()) == 0
    )


def test_a_rule_agrees_with_another(tmp_path):
    (tmp_path / "g.yaml").write_text(
        "languages: [en, es]\n"
        "spelling: {en: {'\\ba (?=o)': 'an '}}\n"
        "rules:\n"
        "  sentence: [{en: 'a {age} {who}', es: '{who} {age@who}'}, {en: 'old {who.p}', es: '{who.p} {age.p@who}'}]\n"
        "  who: [{en: queen, en.p: queens, es: reina, es.p: reinas, es.is: fx}]\n"
        "  age: [{en: old, es: viejo, es.f: vieja, es.p: viejos, es.p.f: viejas}]\n"
    )
    found = {tuple(s.values()) for s in Grammar(tmp_path / "g.yaml").sample_distinct(2, random.Random(1))}
    assert found == {("an old queen", "reina vieja"), ("old queens", "reinas viejas")}


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
    for rules, message in (
        ("{sentence: [{en: 'a {b@c}'}], b: [{en: b}]}", "no rule is named c"),
        ("{sentence: [{en: a, fr: b}]}", "has fr, not of en"),
        ("{sentence: [{en: a, en.is: m}, {en: b}]}", "lacks en.is, which others have"),
    ):
        (tmp_path / "g.yaml").write_text(f"languages: [en]\nrules: {rules}")
        with pytest.raises(ValueError, match=message):
            Grammar(tmp_path / "g.yaml")
    (tmp_path / "g.yaml").write_text("languages: [en]\nspelling: {en: {'(': a}}\nrules: {sentence: [{en: a}]}")
    with pytest.raises(ValueError, match="spelling: .*regular expressions"):
        Grammar(tmp_path / "g.yaml")
    for rules in (
        "{sentence: [{en: '{a}'}], a: [{en: x}, {en: '{b}'}], b: [{en: '{a}'}]}",
        "{sentence: [{en: '{sentence}'}]}",
    ):
        (tmp_path / "g.yaml").write_text(f"languages: [en]\nrules: {rules}")
        with pytest.raises(ValueError, match="g.yaml: .*it stands for itself"):
            Grammar(tmp_path / "g.yaml")
