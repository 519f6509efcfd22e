"""egs/TEMPLATE/arms.sh: the comparison from its pieces to the tables, with stand-ins for what takes long
(stand_in.py).
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from shell import ROOT, run, write_script

from speechlm.metrics.rows import read_rows

ARMS = ROOT / "egs/TEMPLATE/arms.sh"
STEPS = {"cpt": 800, "sft_asr": 80, "sft_s2st": 40}


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose trainings and scores are made up; `calls` lists its commands."""
    here = ROOT / "tests/shell/stand_in.py"
    write_script(tmp_path / "bin/python", f'exec "{sys.executable}" "{here}" "$@"\n')
    write_script(
        tmp_path / "run.sh",
        f'exec "{ROOT}/egs/TEMPLATE/speechlm.sh" --text_train_set t --text_test_set t --lm_eval_tasks'
        ' held_out_final_word "$@"\n',
    )
    write_script(tmp_path / "local/data.sh", "true\n")
    (tmp_path / "conf").mkdir()
    for name, steps in STEPS.items():
        mixture = 'mixture: {"asr": 0.4, "tts": 0.4, "continuation": 0.1, "lm": 0.1}\n' if name == "cpt" else ""
        (tmp_path / f"conf/{name}.yaml").write_text(f"max_steps: {steps}\n{mixture}")
    return tmp_path


def command(recipe, *options):
    fixed = ["--python", recipe / "bin/python", "--tasks", "asr s2st", "--protocol", "mini", "--probe", "10 50"]
    return [str(word) for word in (ARMS, *fixed, *options)]


def results(recipe):
    """Return the tables without what the runs took, and the figures."""
    page = (recipe / "exp/arms/RESULTS.md").read_text()
    return page.partition("## Runs")[0], json.loads((recipe / "exp/arms/figures.json").read_text())


def test_two_arms_to_tables_and_the_same_after_a_kill(recipe):
    options = ["--arms", "joint no_cpt", "--seeds", "1 2"]
    done = run(command(recipe, *options), recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    page, figures = results(recipe)
    assert "| CPT is necessary for s2st | s2st ASR-BLEU | joint before no_cpt |" in page and "**agrees**" in page
    assert "zero-shot" in page and "Not finished" not in page
    curve = {figure["model"] for figure in figures if figure["arm"] == "joint" and figure["metric"] == "s2st"}
    assert curve == {"cpt", "steps/4", "steps/20", "sft"}
    assert all((recipe / "exp/arms" / figure["file"]).is_file() for figure in figures)
    key = ("s2st", "joint", "sft")
    of_seeds = [one["value"] for one in figures if (one["metric"], one["arm"], one["model"]) == key]
    [mean] = [row for row in read_rows(recipe / "exp/arms/means.json") if (row.task, row.model) == ("s2st", "joint")]
    assert len(of_seeds) == 2 and mean.value == pytest.approx(sum(of_seeds) / 2)
    assert (recipe / "exp/arms/probe.png").stat().st_size > 5000 and (recipe / "exp/arms/loss_streams.png").exists()
    assert all((recipe / "exp/arms" / name).is_file() for name in re.findall(r"!\[.*?\]\((.*?)\)", page))
    calls = (recipe / "calls").read_text()
    assert "joint/conf/" not in calls and calls.count("--output_dir exp/arms/seed2/joint/cpt") == 1

    (recipe / "exp").rename(recipe / "before")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "start_new_session": True}
    for seconds, send, number in (
        (2.5, os.kill, signal.SIGTERM),
        (4, os.killpg, signal.SIGKILL),
    ):  # SIGKILL: nothing is left to end the rest
        killed = subprocess.Popen(command(recipe, *options), cwd=recipe, **quiet)
        time.sleep(seconds)
        send(killed.pid, number)
        killed.wait(60)
    done = run(command(recipe, *options), recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(recipe) == (page, figures)


def test_a_part_says_what_is_missing_and_a_changed_setting_redoes_its_pieces_alone(recipe):
    assert run(command(recipe, "--arms", "joint no_cpt", "--seeds", "1"), recipe).returncode == 0
    (recipe / "calls").unlink()
    (recipe / "conf/cpt.yaml").write_text((recipe / "conf/cpt.yaml").read_text().replace("800", "400"))
    done = run(command(recipe, "--arms", "joint no_cpt", "--seeds", "1", "--stage", "2", "--stop_stage", "2"), recipe)
    assert "finished: exp/arms/seed1/no_cpt" in done.stdout and "finished: exp/arms/seed1/joint" not in done.stdout
    done = run(command(recipe, "--arms", "joint random", "--seeds", "1 2", "--stage", "3"), recipe)
    assert done.returncode == 0 and "* random, seed 2: not started" in results(recipe)[0]


def test_arms_differ_in_what_their_files_say(recipe):
    done = run(
        command(
            recipe,
            "--arms",
            "replay_40 random joint_50",
            "--seeds",
            "1",
            "--stop_stage",
            "2",
            "--arms_nj",
            "1",
            "--tasks",
            "asr",
        ),
        recipe,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (recipe / "calls").read_text().splitlines()
    trained = [line for line in calls if line.startswith("speechlm.bin.train") and "seed1" in line]
    assert ["--llm_random true" in line for line in trained if "/random/" in line] == [True]
    mixture = (recipe / "exp/arms/seed1/replay_40/conf/cpt.yaml").read_text()
    assert json.loads(mixture.removeprefix("mixture: "))["lm"] == pytest.approx(0.4)
    assert "exp/arms/seed1/replay_40/conf/cpt.yaml --output_dir" in trained[0], "the last layer"
    assert "max_steps: 400\n" in (recipe / "exp/arms/seed1/joint_50/conf/cpt.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arms", "jiont"], "--arms jiont: no arms/jiont.yaml in "),
        (["--arms", "replay"], "takes a percentage. Expected it after the name, such as replay_30"),
        (["--arms", "no_replay_3"], "takes no percentage, found 3. Expected no_replay"),
    ],
)
def test_mistakes_are_told(recipe, options, message):
    done = run(command(recipe, *options, "--stage", "2"), recipe)
    assert done.returncode == 1 and message in done.stdout
