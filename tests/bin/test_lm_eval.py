"""Text tasks of lm-evaluation-harness on the exported LLM: the figures are those of our own code on the speech LLM."""

import json
import sys

import pytest

from speechlm.bin import lm_eval
from speechlm.metrics.rows import read_rows
from speechlm.model.perplexity import final_word
from speechlm.tokens.text import load_text_tokenizer
from speechlm.train.build import start_from_llm
from tests.model.llms import make_llm
from tests.model.test_llms import options

TEXTS = {
    "a": {"en": "the dog sees the small cat", "de": "der Hund sieht 12 Häuser"},
    "b": {"en": "a house and a dog", "de": "Haus"},
}
OWN_TASK = """\
task: two_words
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{q}}"
doc_to_choice: ["{{a}}", "{{b}}"]
doc_to_target: 0
metric_list:
  - metric: acc
"""


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Run the command on the LLM of a family; return its rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    lines = [json.dumps({"id": key, "speaker": "", "text": text, "codes": {}}) for key, text in TEXTS.items()]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")

    def run(llm, *options: str):
        monkeypatch.setattr(sys, "argv", ["lm_eval", "--llm", str(llm), "--out", "out/cpt/score.json", *options])
        lm_eval.main()
        return read_rows("out/cpt/score.json")

    return run


@pytest.mark.parametrize("family", ["qwen2.5", "llama2", "gemma"])
def test_the_harness_agrees_with_us(evaluate, tmp_path, family, capsys):
    folder = make_llm(tmp_path / "llm", family)
    asked = ("--tasks", "held_out_final_word", "--manifest", "manifest.jsonl")
    values = {row.metric: row.value for row in evaluate(folder, *asked)}
    text = load_text_tokenizer(str(folder))
    sentences = [one for texts in TEXTS.values() for one in texts.values() if " " in one]
    share, perplexity = final_word(start_from_llm(options(folder)).eval(), text, sentences)
    assert values == {"acc": pytest.approx(share / 100), "perplexity": pytest.approx(perplexity, rel=1e-4)}
    assert [row.n for row in evaluate(folder, *asked)] == [3, 3] and "already complete" in capsys.readouterr().out
    assert not list((tmp_path / "out/cpt").glob(".answers_*"))


def test_own_tasks_and_clear_errors(evaluate, tmp_path):
    folder = make_llm(tmp_path / "llm", "qwen2.5")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "data.jsonl").write_text('{"q": "the dog sees", "a": " the cat", "b": " house house"}\n' * 4)
    (tmp_path / "tasks/two.yaml").write_text(OWN_TASK.replace("FILE", str(tmp_path / "data.jsonl")))
    [row] = evaluate(folder, "--tasks", "two_words", "--task_files", "tasks", "--limit", "3")
    assert (
        (row.test_set, row.metric, row.n) == ("two_words", "acc", 3)
        and row.value in (0, 1)
        and "limit:3" in row.protocol
    )
    for asked, said in (
        (("--tasks", "no_such"), "no_such: lm-eval .* has no such task"),
        (("--tasks", "held_out_final_word"), "without --manifest"),
        (("--tasks", "two_words", "--task_files", "nowhere"), "no such folder"),
    ):
        with pytest.raises(ValueError, match=said):
            evaluate(folder, *asked)
    with pytest.raises(ValueError, match="no config.json there"):
        evaluate(tmp_path / "tasks", "--tasks", "two_words")
