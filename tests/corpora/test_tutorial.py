"""egs/TUTORIAL.md: every command of it, in a copy of the repository, to a model that speaks."""

import json

import soundfile

from tests.corpora.document import copy_repository, run_commands
from tests.corpora.recipe import ROOT


def test_the_tutorial_ends_with_a_model_that_speaks(tmp_path):
    clone = copy_repository(tmp_path / "clone", "egs/mini_cvss/local")
    said = run_commands((ROOT / "egs/TUTORIAL.md").read_text(encoding="utf-8"), clone)
    recipe = clone / "egs/my_voice"
    assert "GPU hours" in said and "WER" in said
    rows = json.loads((recipe / "exp/results.json").read_text())
    assert {("asr", "sft", 4), ("tts", "sft", 4)} <= {(row["task"], row["model"], row["n"]) for row in rows}
    assert (recipe / "exp/report/index.html").is_file() and soundfile.info(recipe / "good_morning.wav").frames > 0
