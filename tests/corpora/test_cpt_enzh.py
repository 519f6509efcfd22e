"""The CPT mixture over what other recipes prepared: both directions, general and translated text, LAMBADA."""

import json
import re
import sys

import pytest

from speechlm.data.corpora.text import cut, read_texts, write_general, write_translations
from speechlm.data.kaldi import read_table, require_valid
from tests.corpora.gigast import make_gigaspeech
from tests.corpora.recipe import ROOT, TINY, run_recipe
from tests.corpora.warm import warm_python
from tests.shell.shell import run

PASSAGES = ["we walked to the sea and looked at the sea", "the cat sat on the mat"]


def write_files(folder):
    """Write general text, translations and LAMBADA; return the options of local/data.sh."""
    (folder / "en.jsonl").write_text("".join(json.dumps({"text": f"line {i}\nof a text"}) + "\n" for i in range(5)))
    for name, lines in (
        ("zh.txt", ["很长的文字"]),
        ("mt.en", ["hello there", "", "good day"]),
        ("mt.zh", ["你好", "空", "早上好"]),
    ):
        (folder / name).write_text("".join(f"{line}\n" for line in lines * 2), encoding="utf-8")
    (folder / "lambada.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PASSAGES))
    files = f"--general_text en:{folder}/en.jsonl,zh:{folder}/zh.txt --mt_text en:{folder}/mt.en,zh:{folder}/mt.zh"
    return f"{files} --lambada {folder}/lambada.jsonl"


def test_the_recipe_runs_over_the_codes_of_another(tmp_path):
    speech, translations, spoken = make_gigaspeech(tmp_path)
    local = f"--gigaspeech {speech} --gigast {translations} --gigas2s {spoken} --downloads {tmp_path} --partial true"
    other = [word for name in ("data", "dump", "exp") for word in (f"--{name}dir", tmp_path / "gigast" / name)]
    done = run(
        [
            ROOT / "egs/gigast/run.sh",
            *TINY,
            "--python",
            warm_python(),
            *other,
            "--stop_stage",
            "3",
            "--local_data_opts",
            local,
        ],
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = tmp_path / "gigast/dump/codec_16k"
    rows = run_recipe(
        "cpt_enzh", tmp_path, write_files(tmp_path), "--train_sets", codes / "train", "--dev_set", codes / "dev"
    )
    assert {row["metric"] for row in rows if row["model"] == "cpt"} >= {"ppl", "final_word_acc", "final_word_ppl"}
    assert {(row["test_set"], row["n"]) for row in rows} == {("lambada.en", 2)}
    sizes = re.findall(r"train examples: (\{.*\})", (tmp_path / "exp/run.log").read_text())[-1]
    assert json.loads(sizes.replace("'", '"')) == {
        "continuation": 8, "asr": 8, "tts": 8, "s2tt": 8, "t2st": 8, "lm": 5 + 2, "mt_text": 2 * 4,
    }, "four utterances with both sides spoken, used in both directions; text from the text sets alone"  # fmt: skip


def test_general_text_is_cut_and_translations_stay_together(tmp_path, capsys):
    write_files(tmp_path)
    write_general({"en": [tmp_path / "en.jsonl"], "zh": [tmp_path / "zh.txt"]}, tmp_path / "data")
    write_translations({"en": tmp_path / "mt.en", "zh": tmp_path / "mt.zh"}, tmp_path / "data")
    for name in ("general_en", "general_zh", "mt_text"):
        require_valid(tmp_path / "data" / name)
    assert list(read_table(tmp_path / "data/general_en/text.en").values()) == [f"line {i} of a text" for i in range(5)]
    assert "4 pairs, 2 left out" in capsys.readouterr().out
    pieces = list(cut("word " * 1000 + "字" * 5000))
    assert max(len(piece.split()) for piece in pieces) <= 400 and max(map(len, pieces)) <= 2500
    assert "".join("".join(pieces).split()) == "word" * 1000 + "字" * 5000


def test_mistakes_are_named(tmp_path, monkeypatch):
    write_files(tmp_path)
    with pytest.raises(ValueError, match="(?s)mt.en: 6 lines.*zh.txt: 2 lines; expected two files with as many lines"):
        write_translations({"en": tmp_path / "mt.en", "zh": tmp_path / "zh.txt"}, tmp_path / "data")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(ValueError, match='bad.jsonl:2: not a JSON object with "text"'):
        list(read_texts(tmp_path / "bad.jsonl"))
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as where it is not installed
    with pytest.raises(ValueError, match=r"speechlm\[parquet\]"):
        list(read_texts(tmp_path / "x.parquet"))
