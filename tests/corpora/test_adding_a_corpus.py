"""CONTRIBUTING.md, "Adding a corpus": its files are written and its commands are run, word by word, in a copy of the repository."""

import json
import re
import shutil
import subprocess

import pytest

from tests.corpora.recipe import ROOT
from tests.corpora.voice import save, say
from tests.corpora.warm import warm_python
from tests.shell.shell import run

PARTS = (
    "egs/TEMPLATE",
    "utils",
    "tools/new_recipe.sh",
    "tools/install.sh",
    "tools/requirements.lock",
    "setup.py",
    "speechlm",
    "CONTRIBUTING.md",
)
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLIPS = 30


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository, installed."""
    clone = tmp_path / "clone"
    for part in PARTS:
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, clone / part)
    venv = clone / "tools/venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy2(warm_python(clone), venv / "bin/python")
    wanted = subprocess.run("cat setup.py tools/requirements.lock | cksum", shell=True, cwd=clone, capture_output=True, text=True)
    (venv / ".speechlm_installed").write_text(wanted.stdout)
    return clone


def make_ljspeech(folder):
    words = "printing then as now in the only sense with which we are at present concerned".split()
    lines = []
    for i in range(CLIPS):
        key, text = f"LJ001-{i:04d}", f"{words[i % len(words)]} {i + 1}"
        lines.append(f"{key}|{text}|{text}.\n")
        save(folder / "LJSpeech-1.1/wavs" / f"{key}.wav", say(text, "en"), 22050)
    (folder / "LJSpeech-1.1/metadata.csv").write_text("".join(lines))


def test_the_example_of_contributing_ends_with_scores(clone, tmp_path):
    make_ljspeech(tmp_path)
    text = (clone / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Adding a corpus") : text.index("## Rules")]
    blocks = BLOCK.findall(section)
    assert [language for language, path, _ in blocks if not path] == ["bash", "bash"]
    said = ""
    for _, path, content in blocks:
        if path:
            (clone / path).write_text(content, encoding="utf-8")
        else:
            done = run(["bash", "-euo", "pipefail", "-c", content], clone, LJSPEECH=str(tmp_path))
            assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
            said += done.stdout
    assert "train: 26 (12052)" in said and "GPU hours" in said and "WER" in said
    rows = json.loads((clone / "egs/ljspeech/exp/results.json").read_text())
    assert {("asr", "sft", 2), ("tts", "sft", 2), ("tts", "originals", 2)} <= {(row["task"], row["model"], row["n"]) for row in rows}
