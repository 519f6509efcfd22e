"""Scoring commands: rows with signatures, combined languages, and a table with the ceilings first."""

import argparse
import json
import sys
from dataclasses import asdict, replace

import pytest

from speechlm.bin import results, score, tasks
from speechlm.data.kaldi import write_data_dir, write_table
from speechlm.metrics.protocol import rules_for
from speechlm.metrics.rows import Row, read_lines, read_rows, write_rows
from speechlm.metrics.scoring import Output, score_texts
from speechlm.metrics.table import LOWER_IS_BETTER
from speechlm.report.experiment import Experiments
from speechlm.report.listen import Corpus, Recordings
from speechlm.report.page import Heard, payload
from speechlm.tasks import TASKS, Task


@pytest.fixture
def decoded(tmp_path):
    """A parallel test set, and recognised text of both its sides with one error in es."""
    texts = {"es": {"a": "el perro", "b": "la casa"}, "en": {"a": "the dog", "b": "the house"}}
    write_data_dir(tmp_path / "ref", {f"text.{side}": text for side, text in texts.items()})
    for side, text in texts.items():
        write_table(tmp_path / f"hyp_{side}" / "text", text | ({"b": ""} if side == "es" else {}))
        (tmp_path / f"hyp_{side}" / "decode.json").write_text(json.dumps({"temperature": 0.5, "model": "/some/path"}))
    return tmp_path


def run(monkeypatch, command, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    command.main()


def score_rows(monkeypatch, folder, *arguments):
    common = ["--ref", folder / "ref", "--model", "m", "--test_set", "test", "--out", folder / "score.json"]
    run(monkeypatch, score, *common, *arguments)
    return {(r.test_set, r.metric): r for r in read_rows(folder / "score.json")}


def test_recognition_in_two_languages_has_a_combined_row(decoded, monkeypatch):
    hyps = [decoded / "hyp_es", decoded / "hyp_en"]
    rows = score_rows(monkeypatch, decoded, "--task", "asr", "--src_lang", "es+en", "--hyp", *hyps)
    assert {key: (row.value, row.n) for key, row in rows.items()} == {
        ("test.es", "WER"): (50, 2), ("test.en", "WER"): (0, 2), ("test.es+en", "WER"): (25, 4)
    }  # fmt: skip
    assert (
        "decode:temperature=0.5" in rows["test.es", "WER"].signature and "path" not in rows["test.es", "WER"].signature
    )


def test_translated_text_has_bleu_and_chrf(decoded, monkeypatch):
    rows = score_rows(
        monkeypatch, decoded, "--task", "s2tt", "--tgt_lang", "en", "--hyp", decoded / "hyp_en", "--codec", "codec_16k"
    )
    assert set(rows) == {("test", "BLEU"), ("test", "chrF")}
    assert "codec:codec_16k" in rows["test", "BLEU"].signature


def test_wrong_options_are_explained(decoded, monkeypatch):
    hyp = ["--hyp", decoded / "hyp_en"]
    for arguments, message in (
        (["--task", "tts", "--src_lang", "en"], "Give --tgt_lang"),
        (["--task", "asr", "--src_lang", "es+en"], "one folder for each language"),
    ):
        with pytest.raises(ValueError, match=message):
            score_rows(monkeypatch, decoded, *arguments, *hyp)


def test_the_table_puts_ceilings_first_and_numbers_signatures(tmp_path, monkeypatch, capsys):
    rows = [
        Row(name, "tts", "test", "WER", value, 2, sign)
        for name, value, sign in (("a", 9.0, "x|y"), ("originals", 1.0, "z"))
    ]
    rows[0] = replace(rows[0], low=8.5, high=9.25)
    write_rows(tmp_path / "exp/one/score.json", rows[:1])
    write_rows(tmp_path / "exp/two/score.json", rows[1:])
    run(monkeypatch, results, tmp_path / "exp", "--out", tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1] == ["tts", "test", "WER", "originals", "1.00", "2", "[1]"]
    assert "| tts | test | WER | a | 9.00 | 8.50 to 9.25 | 2 | [2] |" in (tmp_path / "RESULTS.md").read_text()
    assert read_rows(tmp_path / "results.json") == rows[::-1]


def test_conflicting_or_damaged_rows_are_refused(tmp_path):
    write_rows(tmp_path / "a/score.json", [Row("m", "asr", "t", "WER", 1.0, 1, "s")])
    write_rows(tmp_path / "b/score.json", [Row("m", "asr", "t", "WER", 2.0, 1, "s")])
    with pytest.raises(ValueError, match="differ on asr / t / WER / m"):
        results.collect([tmp_path])
    (tmp_path / "b/score.json").write_text('[{"model": "m"}]')
    with pytest.raises(ValueError, match="not a list of result rows"):
        results.collect([tmp_path])
    with pytest.raises(ValueError, match="no score.json"):
        results.collect(
            [tmp_path / "a" / "nothing.d"] if (tmp_path / "a" / "nothing.d").mkdir() else [tmp_path / "a" / "nothing.d"]
        )


def test_a_table_does_not_mix_protocols(tmp_path):
    for name, how in (("a", "mini"), ("b", "whisper")):
        signature = f"protocol:{how}|norm:{how}|codec:{name}"
        write_rows(
            tmp_path / name / "score.json", [Row(name, "tts", "t", "WER", 1.0, 1, signature, 0.5, 1.5, f"norm:{how}")]
        )
    with pytest.raises(
        ValueError,
        match="(?s)tts / t / WER was scored in two ways.*a/score.json: protocol:mini.*b/score.json: protocol:whisper",
    ):
        results.collect([tmp_path])
    assert [row.model for row in results.collect([tmp_path], "whisper")] == ["b"]
    old = asdict(Row("c", "tts", "t", "WER", 1.0, 1, "norm:mini"))
    (tmp_path / "b/score.json").write_text(
        json.dumps([{k: v for k, v in old.items() if k not in ("low", "high", "protocol")}])
    )
    with pytest.raises(ValueError, match="before there were protocols"):
        results.collect([tmp_path])


def test_scoring_twice_gives_identical_files_and_one_line_per_utterance(decoded, monkeypatch):
    write_table(decoded / "ref/utt2spk", {"a": "anna", "b": "bert"})

    def score_again():
        score_rows(
            monkeypatch,
            decoded,
            "--task",
            "asr",
            "--src_lang",
            "es+en",
            "--hyp",
            decoded / "hyp_es",
            decoded / "hyp_en",
        )
        return [(decoded / name).read_bytes() for name in ("score.json", "utterances.jsonl")]

    assert score_again() == score_again()
    lines = read_lines(decoded / "utterances.jsonl")
    assert [(line["id"], line["lang"]) for line in lines] == [("a", "en"), ("a", "es"), ("b", "en"), ("b", "es")]
    assert lines[3] == {
        "id": "b", "lang": "es", "speaker": "bert", "ref": "la casa", "hyp": "", "ref_norm": "la casa", "hyp_norm": "",
        "WER": 100.0, "errors": 2, "ref_len": 2,
    }  # fmt: skip


def test_text_to_speech_translation_is_scored_and_a_new_task_takes_one_entry(decoded, monkeypatch):
    """Rules come from the task that is scored alike (s2st for t2st); driver, ceiling, page and protocol find what TASKS
    says.
    """
    rules = rules_for(["mini"], "t2st", "judge:mine")
    assert rules.recogniser == "judge:mine" and rules.metrics == rules_for(["mini"], "s2st").metrics
    [bleu, _], _ = score_texts(rules, Output("t2st", "en", {"a": "the dog"}, {"a": "the dog"}))
    assert bleu.name == "ASR-BLEU"
    monkeypatch.setitem(
        TASKS, "spell", Task("spell", ("speech:src",), "text:src", "same", "wer", description="Spelling")
    )
    monkeypatch.setattr(tasks, "SCORED", (*tasks.SCORED, "spell"))
    options = argparse.Namespace(
        tasks=["spell", "t2st"], langs=["es", "en"], src_lang="es", tgt_lang="en", only=["spell=en"]
    )
    assert tasks.plan(options) == [["spell", "text", "en", "en", "-", "en"], ["t2st", "speech", "es", "en", "-", "es"]]
    assert rules_for(["mini"], "spell") == rules_for(["mini"], "asr")
    monkeypatch.setattr(score, "SCORED", (*score.SCORED, "spell"))
    hyp = decoded / "hyp_en"
    assert (
        score_rows(monkeypatch, decoded, "--task", "spell", "--src_lang", "en", "--hyp", hyp)["test", "WER"].value == 0
    )
    shown = payload(
        "",
        Experiments([], [], [], []),
        Corpus(None),
        Heard([], Recordings(Experiments([], [], [], []), Corpus(None), hyp, 0)),
    )
    assert shown["tasks"]["spell"] == {"description": "Spelling", "recognises": True}


def test_an_unknown_task_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", "tasks --tasks asr s2xx --langs en --src_lang en --tgt_lang en".split())
    with pytest.raises(ValueError, match="^--tasks: found 's2xx'; expected some of asr, tts, s2tt, t2st, s2st$"):
        tasks.main()


def test_less_is_better_of_every_perplexity():
    """One place says it for the page's arrows, its order of systems, its worst utterances, and the comparison
    of arms.
    """
    assert {
        "WER",
        "CER",
        "ppl",
        "perplexity",
        "word_perplexity",
        "bits_per_byte",
    } <= LOWER_IS_BETTER and "acc" not in LOWER_IS_BETTER


def test_outputs_that_did_not_end_are_marked_and_nested_options_stand_in_the_signature(decoded, monkeypatch, capsys):
    options = {"text": {"beam": 4, "max_rows": 40, "batch_size": 50}}
    (decoded / "hyp_es/decode.json").write_text(json.dumps(options | {"not_ended": ["b"]}))
    rows = score_rows(monkeypatch, decoded, "--task", "asr", "--hyp", decoded / "hyp_es", "--src_lang", "es")
    assert all("|decode:beam=4,max_rows=40|not_ended:1" in row.signature for row in rows.values())
    assert [line.get("not_ended") for line in read_lines(decoded / "utterances.jsonl")] == [None, True]
    run(monkeypatch, results, decoded / "score.json", "--out", decoded)
    warning = "warning: m asr test: 1 outputs (n = 2) did not end by themselves, and were cut at max_rows"
    assert warning in capsys.readouterr().out and warning in (decoded / "RESULTS.md").read_text()


def test_a_recogniser_that_does_not_understand_the_originals_is_named():
    rows = [
        Row("originals", "tts", name, "WER", value, 9, "judge:x", None, None, "mini")
        for name, value in (("test", 102.5), ("good", 5.0))
    ]
    [warning] = results.warnings([*rows, Row("sft", "tts", "test", "WER", 104.0, 9, "s", None, None, "mini")])
    assert warning.startswith(
        "warning: tts test: the recogniser does not understand the original recordings (WER 102.5)"
    )
