"""Protocols: those that are shipped are sound, several cover a recipe's tasks, and what is wrong in a file is said."""

import pytest

from speechlm.metrics.protocol import FOLDER, Rules, load_protocol, rules_for
from speechlm.metrics.quality import MEASURES
from speechlm.metrics.recognisers import KINDS
from speechlm.metrics.scoring import Output, score_texts


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_shipped_protocols_name_what_exists(name):
    for task, rules in load_protocol(name).items():
        assert (task in ("tts", "s2st")) == bool(rules.recogniser)
        assert not rules.recogniser or rules.recogniser.split(":")[0] in KINDS
        assert {spec.split(":")[0] for spec in (*rules.quality, *rules.codec_quality)} <= set(MEASURES)


def test_the_first_protocol_that_covers_a_task_is_taken():
    assert rules_for(["cvss_whisper", "mini"], "s2st").protocol == "cvss_whisper"
    assert rules_for(["cvss_whisper", "mini"], "tts").protocol == "mini"
    assert rules_for(["mini"], "s2st", "whisper:folder").recogniser == "whisper:folder"
    assert rules_for(["mini"], "asr", "whisper:folder").recogniser == ""  # what is recognised is the model's own output
    with pytest.raises(
        ValueError, match="covost2_bleu: does not cover task tts. Add one that does: libritts_cross_sentence, .*mini"
    ):
        rules_for(["covost2_bleu"], "tts")
    with pytest.raises(ValueError, match="found no such protocol and no such file. Expected one of aishell_cer, "):
        load_protocol("whisper_protocol")


@pytest.mark.parametrize(
    "content, message",
    [
        ("asr: {metrics: [WER]}", "expected a description and the rules"),
        ("description: x\nsinging: {metrics: [WER]}", "unknown tasks .*singing"),
        ("description: x\nasr: {metrics: [MER]}", "asr: metric MER; expected some of WER"),
        (
            "description: x\nasr: {metrics: [WER], normaliser: upper}",
            "normaliser upper; expected some of lower-nopunct-v2",
        ),
        ("description: x\nasr: {metrics: [WER], normalizer: none}", "unknown keys .*normalizer"),
        ("description: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_protocol_is_explained(tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_protocol(str(tmp_path / "mine.yaml"))


def test_hypothesis_and_reference_may_be_normalised_differently():
    rules = load_protocol("cvss_fairseq")["s2st"]
    output = Output("s2st", "en", {"a": "HELLO THERE"}, {"a": "hello there"})
    [score], [line] = score_texts(rules, output, "ctc:x")
    assert line["hyp_norm"] == "hello there" and line["hyp"] == "HELLO THERE" and score.name == "ASR-BLEU"
    assert score.protocol.endswith("norm:lower,ref:already_lower|ctc:x")
    with pytest.raises(ValueError, match="CVSS's normalised texts"):
        score_texts(rules, Output("s2st", "en", {"a": "x"}, {"a": "Hello there"}))
    chinese = score_texts(load_protocol("covost2_bleu")["s2tt"], Output("s2tt", "zh", {"a": "你好"}, {"a": "你好"}))[0]
    assert "tok:zh" in chinese[0].protocol and chinese[1].name == "chrF"
    assert Rules(["WER"]).signature == "norm:none"
