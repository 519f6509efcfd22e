"""Where a recipe lies, who runs it, and what the user's shell says: egs/TEMPLATE/path.sh, utils/place.sh, and how
scripts find their clone.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shell import ROOT, run, write_script

PARTS = ("egs/TEMPLATE", "egs/librispeech", "utils")
ASKED = 'if [ "${2-}" = speechlm.bin.tasks ]; then exit; fi\n'  # what the driver asks before its stages
RECORD = f"""{ASKED}printf '%s\\n' "$PWD" "$PYTHONPATH" "${{PYTHONHOME-}}${{PYTHONINSPECT-}}" \\
    "${{XDG_CACHE_HOME-}}" "$*" >> "$CALLS"\n"""
HOSTILE = {
    "PYTHONPATH": "/modules/python",
    "PYTHONHOME": "/modules",
    "PYTHONINSPECT": "1",
    "POSIXLY_CORRECT": "1",
    "SHELLOPTS": "posix",
    "GLOBIGNORE": "*",
    "BASH_FUNC_cd%%": "() { echo another cd; }",
    "BASH_FUNC_python%%": "() { false; }",
}


def make_clone(folder: Path) -> Path:
    """Copy the scripts of a recipe; its Python writes down where it is called, with which code and cache, and how."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("data", "dump", "exp", "downloads"))
    write_script(folder / "bin/python", RECORD)
    return folder


def first_stage(clone: Path, script: str | Path, cwd: Path, *options: str, **environment: str):
    """Run stage 1 of a recipe; return what the script said, and the five lines of each call of Python."""
    calls = clone.parent / "calls"
    fixed = ["--python", clone / "bin/python", "--stop_stage", "1"]
    done = run([script, *fixed, *options], cwd, CALLS=str(calls), **environment)
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [lines[i : i + 5] for i in range(0, len(lines), 5)]


@pytest.mark.parametrize("name", ["clone", 'a clone\'s $HOME [x]* "é" `touch hacked`'])
def test_a_recipe_runs_its_own_clone_from_anywhere_whatever_the_shell_says(tmp_path, name):
    clone, other = make_clone(tmp_path / name), tmp_path / "other"
    for folder in ("egs/librispeech/local", "egs/TEMPLATE", "utils"):  # what CDPATH would find first
        (other / folder).mkdir(parents=True)
    link = tmp_path / "a link"
    link.symlink_to(clone / "egs/librispeech/run.sh")
    for script, cwd in (("egs/librispeech/run.sh", clone), (link, tmp_path), ("./run.sh", clone / "egs/librispeech")):
        (tmp_path / "calls").unlink(missing_ok=True)
        done, [call] = first_stage(clone, script, cwd, CDPATH=f"{other}:.", **HOSTILE)
        assert done.returncode == 0 and "another" not in done.stdout, done.stdout + done.stderr
        assert call[:3] == [str(clone / "egs/librispeech"), str(clone), ""]
        assert call[4].startswith("-m speechlm.bin.prepare_corpus librispeech --subset 960")
    assert not list(tmp_path.rglob("hacked"))


def test_a_colon_in_the_place_is_refused(tmp_path):
    clone = make_clone(tmp_path / "2026:05")
    done, calls = first_stage(clone, clone / "egs/librispeech/run.sh", tmp_path)
    assert done.returncode == 2 and not calls and f"there is a colon in {clone}" in done.stderr
    done = run(["bash", "-euc", f". '{ROOT}/egs/TEMPLATE/path.sh'; echo on"], tmp_path, SPEECHLM_VENV="/env:1")
    assert done.returncode == 2 and "a colon" in done.stderr and not done.stdout


@pytest.mark.parametrize("home", [None, "/proc/nobody", "file"])
def test_caches_go_to_a_folder_of_the_users_own_where_there_is_no_home(tmp_path, home):
    clone, temporary = make_clone(tmp_path / "clone"), tmp_path / "tem porary"
    temporary.mkdir()
    (tmp_path / "file").touch()
    environment = {"CALLS": str(tmp_path / "calls"), "PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    if home:
        environment["HOME"] = str(tmp_path / home)
    command = [clone / "egs/librispeech/run.sh", "--python", clone / "bin/python", "--stop_stage", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    cache = Path((tmp_path / "calls").read_text().splitlines()[3])
    assert cache.parent == temporary and cache.stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_name_gets_one(tmp_path):
    reads_all = ["--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"]
    nobody = ["setpriv", "--reuid", "12345", "--clear-groups", *reads_all]
    if run([*nobody, "true"], tmp_path).returncode:
        pytest.skip("only root can become another user")
    done = run(
        [*nobody, "bash", "-euc", f". '{ROOT}/egs/TEMPLATE/path.sh'; echo $LOGNAME $XDG_CACHE_HOME"],
        tmp_path,
        TMPDIR="/tmp",
    )
    assert done.stdout == "12345 /tmp/speechlm-12345\n", done.stderr  # getpass.getuser() reads LOGNAME


def test_words_of_an_option_reach_the_data_script_as_written_and_no_word_is_dropped(tmp_path):
    clone = make_clone(tmp_path / "clone")
    script = clone / "egs/librispeech/run.sh"
    done, [call] = first_stage(
        clone, script, tmp_path, "--local_data_opts", "--librispeech '/data/One Blank' --partial true"
    )
    assert (
        done.returncode == 0
        and "--librispeech /data/One Blank --prompts  --downloads" in call[4]
        and "--partial true" in call[4]
    )
    (tmp_path / "calls").unlink()
    for options, message in [
        ("--librispeech /data/One Blank", "data.sh: 'Blank' is not an option"),
        ("--librispeech '/data/One", "--local_data_opts: a quote is not closed in: --librispeech '/data/One"),
    ]:
        done, calls = first_stage(clone, script, tmp_path, "--local_data_opts", options)
        assert done.returncode and not calls and message in done.stdout + done.stderr
    done, calls = first_stage(clone, script, tmp_path, "more")
    assert done.returncode == 2 and not calls and "'more' is not an option" in done.stderr


@pytest.mark.parametrize(
    ("gpus", "shown", "asked", "message"),
    [
        (0, None, 1, "--ngpu 1, but found 0 GPUs here. Give --ngpu 0, which means the CPU."),
        (1, None, 2, "--ngpu 2, but found 1 GPUs here. Give --ngpu 1."),
        (4, "1,3", 3, "found 2 GPUs here (with CUDA_VISIBLE_DEVICES=1,3)"),
        (4, "", 1, "found 0 GPUs"),
        (4, "-1", 1, "found 0 GPUs"),
        (2, None, 2, None),
        (4, "1,3", 2, None),
    ],
)
@pytest.mark.parametrize("script", ["speechlm.sh", "arms.sh"])
def test_gpus_that_are_not_there_are_told_before_anything_runs(tmp_path, script, gpus, shown, asked, message):
    write_script(tmp_path / "bin/nvidia-smi", f'for ((i = 0; i < {gpus}; i++)); do echo "GPU $i: a name"; done\n')
    write_script(tmp_path / "bin/python", "touch called\n")
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    command = [ROOT / "egs/TEMPLATE" / script, "--python", tmp_path / "bin/python", "--ngpu", asked, "--stop_stage"]
    done = run([*command, 2 if script == "arms.sh" else 4], tmp_path, **environment)
    if message:
        assert done.returncode == 2 and message in done.stderr
    else:
        assert "GPUs" not in done.stderr
    assert not (message and ((tmp_path / "exp").exists() or (tmp_path / "called").exists()))
    if script == "speechlm.sh":  # neither data, nor a plan, nor a login node needs a GPU
        for options, more in (
            (["--stop_stage", "1"], {}),
            (["--dry_run", "true"], {}),
            ([], {"SPEECHLM_CMD": "slurm"}),
        ):
            assert "GPUs" not in run([*command[:-1], *options], tmp_path, **environment, **more).stderr


def test_scripts_that_change_while_they_run_run_on_as_they_were(tmp_path):
    clone = make_clone(tmp_path / "clone")
    recipe = clone / "egs/librispeech"
    write_script(clone / "bin/python", ASKED + 'echo "$*" >> started\nwhile [ ! -e go ]; do sleep 0.05; done\n')
    command = [
        recipe / "run.sh",
        "--python",
        clone / "bin/python",
        "--ngpu",
        "0",
        "--tasks",
        "asr",
        "--stop_stage",
        "5",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (recipe / "started").exists():
        assert process.poll() is None, process.communicate()
    for path in (
        recipe / "run.sh",
        recipe / "local/data.sh",
        *(clone / "egs/TEMPLATE").glob("*.sh"),
        *(clone / "utils").glob("*.sh"),
    ):
        path.write_text("touch hacked; exit 9\n" * 2000)
    (recipe / "go").touch()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stage 5 (preflight): done" in said, said
    assert not list(tmp_path.rglob("hacked"))
