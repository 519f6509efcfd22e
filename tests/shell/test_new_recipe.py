"""tools/new_recipe.sh: a recipe that runs once its tables are there."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from shell import ROOT, run


@pytest.fixture
def clone(tmp_path):
    """The parts of the repository that a new recipe needs."""
    for part in (
        "egs/TEMPLATE",
        "utils",
        "tools/new_recipe.sh",
        "speechlm/data",
        "speechlm/bin",
        "speechlm/__init__.py",
    ):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy2)(ROOT / part, tmp_path / part)
    return tmp_path


def write_corpus(folder: Path, columns: list[str]) -> None:
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(1600, np.float32), 16000)
    values = {"id": "u1", "speaker": "ana", "wav": "a.wav", "text": "hola que tal"}
    for name in ("train", "dev", "test"):
        lines = ["\t".join(columns), "\t".join(values[c.split(".")[0]] for c in columns)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def first_stage(recipe: Path, *options: str):
    path = f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"
    return run([recipe / "run.sh", "--python", sys.executable, "--stop_stage", "1", *options], recipe, PATH=path)


@pytest.mark.parametrize(
    ("options", "suffixes"), [([], [""]), (["--src_lang", "fr", "--tgt_lang", "en"], [".fr", ".en"])]
)
def test_a_new_recipe_makes_data_directories(clone, options, suffixes):
    done = run([clone / "tools/new_recipe.sh", "mine", *options], clone)
    assert done.returncode == 0, done.stderr
    recipe = clone / "egs/mine"
    write_corpus(clone / "corpus", ["id", "speaker"] + [kind + s for s in suffixes for kind in ("wav", "text")])
    done = first_stage(recipe, "--local_data_opts", f"--corpus {clone / 'corpus'}")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {"utt2spk", "spk2utt"} | {name + s for s in suffixes for name in ("wav.scp", "text")}
    assert {p.name for p in (recipe / "data/train").iterdir()} == expected
    assert "@" not in (recipe / "run.sh").read_text().replace('"$@"', "")


def test_a_new_recipe_asks_for_its_corpus(clone):
    run([clone / "tools/new_recipe.sh", "mine"], clone)
    done = first_stage(clone / "egs/mine")
    assert done.returncode == 1 and "the corpus is not known" in done.stdout
    done = first_stage(clone / "egs/mine", "--local_data_opts", "--corpus /nowhere")
    assert done.returncode == 1 and "/nowhere/train.tsv: no such table" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "found the name ''"),
        (["../x"], "found the name '../x'"),
        (["TEMPLATE"], "found the name 'TEMPLATE'"),
        (["ok", "--src_lang", "english"], "languages are codes"),
        (["ok", "--lang", "en"], "there is no option --lang. Nearest: --src_lang --tgt_lang."),
    ],
)
def test_mistakes_are_refused(clone, arguments, message):
    before = sorted(p.name for p in (clone / "egs").iterdir())
    done = run([clone / "tools/new_recipe.sh", *arguments], clone)
    assert done.returncode == 2 and message in done.stderr
    assert sorted(p.name for p in (clone / "egs").iterdir()) == before


def test_an_existing_recipe_is_kept(clone):
    run([clone / "tools/new_recipe.sh", "mine"], clone)
    done = run([clone / "tools/new_recipe.sh", "mine"], clone)
    assert done.returncode == 2 and "exists already" in done.stderr
