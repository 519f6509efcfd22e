"""CONTRIBUTING.md, "Adding a corpus": its files are written and its commands are run, word by word, in a copy of the
repository.
"""

import json

from tests.corpora.document import copy_repository, run_commands, write_files
from tests.corpora.recipe import ROOT
from tests.corpora.voice import save, say

CLIPS = 30


def make_ljspeech(folder):
    words = "printing then as now in the only sense with which we are at present concerned".split()
    lines = []
    for i in range(CLIPS):
        key, text = f"LJ001-{i:04d}", f"{words[i % len(words)]} {i + 1}"
        lines.append(f"{key}|{text}|{text}.\n")
        save(folder / "LJSpeech-1.1/wavs" / f"{key}.wav", say(text, "en"), 22050)
    (folder / "LJSpeech-1.1/metadata.csv").write_text("".join(lines))


def test_the_example_of_contributing_ends_with_scores(tmp_path):
    clone = copy_repository(tmp_path / "clone")
    make_ljspeech(tmp_path)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Adding a corpus") : text.index("## Rules")]
    start, rest = section.split("```bash\n", 1)[1].split("```", 1)
    run_commands(f"```bash\n{start}```", clone)
    write_files(rest, clone)
    said = run_commands(rest, clone, LJSPEECH=str(tmp_path))
    assert "train: 26 (12052)" in said and "GPU hours" in said and "WER" in said
    rows = json.loads((clone / "egs/ljspeech/exp/results.json").read_text())
    assert {("asr", "sft", 2), ("tts", "sft", 2), ("tts", "originals", 2)} <= {
        (row["task"], row["model"], row["n"]) for row in rows
    }
