"""Two drivers at once, and drivers that are told to end: utils/lock.sh and utils/stages.sh."""

import os
import signal
import subprocess
import time

import pytest
from shell import ROOT, run, write_script

DRIVER = ROOT / "egs/TEMPLATE/speechlm.sh"
# A Python that says how tasks are tested, and else notes its process, takes its time, and on SIGTERM "saves" before it
# ends.
SLOW = """
case $* in *speechlm.bin.tasks*) echo "asr text en en - en"; echo "tts speech en en - en"; exit ;;
    *speechlm.bin.layers*) echo conf/train.yaml; exit ;; esac
echo "$$ $*" >> started
trap 'sleep 0.3; echo saved >> saved; exit 1' TERM
while [ ! -e "go" ]; do sleep 0.05; done
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe folder whose commands last until the file `go` is there."""
    write_script(tmp_path / "bin/python", SLOW)
    write_script(tmp_path / "local/data.sh", f'echo data >> started\n"{tmp_path}/bin/python" -m data.sh inner\n')
    return tmp_path


def command(recipe, *options):
    return [str(x) for x in (DRIVER, "--python", recipe / "bin/python", *options)]


def start(recipe, *options):
    def hear_interrupts():  # what a shell starts in the background is deaf to SIGINT, and so would be the driver
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command(recipe, *options), cwd=recipe, start_new_session=True, preexec_fn=hear_interrupts, **pipes
    )


def wait_for(path, text=""):
    for _ in range(200):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {text!r}")


def is_running(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_second_run_in_one_expdir_is_refused(recipe):
    first = start(recipe, "--stage", "5", "--stop_stage", "5")
    wait_for(recipe / "started", "preflight")
    log = (recipe / "exp/run.log").read_text()
    second = run(command(recipe, "--stage", "10"), recipe)
    assert second.returncode == 2
    assert f"another run is working in exp: process {first.pid} on {os.uname().nodename}, since 20" in second.stderr
    assert "--stage 5 --stop_stage 5" in second.stderr
    assert (recipe / "exp/run.log").read_text() == log, "the second run wrote into the log of the first"
    (recipe / "go").touch()
    assert first.wait(10) == 0
    assert run(command(recipe, "--stage", "10"), recipe).returncode == 0


def test_where_the_file_system_has_no_locks_work_goes_on_and_says_so(recipe):
    write_script(recipe / "bin/flock", "echo 'flock: 10: No locks available' >&2; exit 71\n")
    (recipe / "go").touch()
    done = run(command(recipe, "--stage", "1", "--stop_stage", "5"), recipe)
    assert done.returncode == 0 and "another run" not in done.stdout + done.stderr
    assert "exp: locking does not work here (flock: 10: No locks available)" in done.stderr
    assert "data: locking does not work here" in done.stdout and "stage 5 (preflight): done" in done.stdout


def test_a_shared_folder_that_may_only_be_read_is_used(recipe):
    (recipe / "go").touch()
    done = run(
        command(recipe, "--stage", "3", "--stop_stage", "4", "--dumpdir", "/proc"), recipe
    )  # there even root makes no file
    assert done.returncode == 0 and "/proc: is read-only" in done.stdout, done.stdout + done.stderr


def test_runs_that_share_data_wait_for_each_other_in_stages_1_to_3_only(recipe):
    first = start(recipe, "--stage", "1", "--stop_stage", "4")
    wait_for(recipe / "started", "inner")
    second = start(recipe, "--stage", "2", "--stop_stage", "2", "--expdir", "other")
    wait_for(recipe / "other/run.log", "Waiting for another run")
    wait_for(recipe / "other/run.log", f"process {first.pid}")
    assert (
        run(
            command(recipe, "--stage", "4", "--stop_stage", "4", "--llm", "hub/x", "--expdir", "third"), recipe
        ).returncode
        == 0
    )
    (recipe / "go").touch()
    assert (first.wait(10), second.wait(10)) == (0, 0)


def test_a_killed_driver_whose_child_still_writes_keeps_the_lock(recipe):
    first = start(recipe, "--stage", "5", "--stop_stage", "5")
    wait_for(recipe / "started", "preflight")
    first.kill()
    first.wait()
    child = int((recipe / "started").read_text().split()[0])
    second = run(command(recipe, "--stage", "10"), recipe)
    assert second.returncode == 2 and "has ended, but what it started still runs: process" in second.stderr
    assert str(child) in second.stderr.split("still runs")[1]
    (recipe / "go").touch()
    while is_running(child):
        time.sleep(0.05)
    assert run(command(recipe, "--stage", "10"), recipe).returncode == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True], ids=["driver alone", "its process group"])
@pytest.mark.parametrize(("number", "name"), [(1, "inner"), (5, "preflight"), (7, "sft_tts")])
def test_told_to_end_it_ends_its_children_and_waits_for_them(recipe, sign, whole_group, number, name):
    process = start(recipe, "--stage", number, "--stop_stage", number)
    wait_for(recipe / "started", name)
    child = int(next(line for line in (recipe / "started").read_text().splitlines() if name in line).split()[0])
    (os.killpg if whole_group else os.kill)(process.pid, sign)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + sign, said
    if not (whole_group and name == "inner"):  # there the script between the two may end first
        assert not is_running(child), said
    wait_for(recipe / "saved")
    assert f"stage {number} " in said and "The same command goes on from here." in said
    assert "The same command goes on from here." in (recipe / "exp/run.log").read_text()
    (recipe / "go").touch()
    assert run(command(recipe, "--stage", number, "--stop_stage", number), recipe).returncode == 0


def test_srun_is_told_by_the_signal_that_it_passes_on(recipe):
    """A real srun kills its job on SIGTERM (tests/long/slurm_recipe.py), without a checkpoint."""
    srun = write_script(
        recipe / "bin/srun",
        'while [[ $1 == --* ]]; do shift; done ; "$@" & job=$!\n'
        "trap 'kill -KILL $job; exit 137' TERM\ntrap 'kill -TERM $job' USR1\nwait $job || true\nwait $job\n",
    )
    srun.write_text(
        srun.read_text().replace("#!/usr/bin/env bash", "#!/bin/bash")
    )  # so that the process is called srun
    environment = os.environ | {"SPEECHLM_CMD": "slurm", "PATH": f"{recipe}/bin:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command(recipe, "--stage", "6", "--stop_stage", "6"),
        cwd=recipe,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    wait_for(recipe / "started", "cpt")
    [driver_child] = [int(line.split()[0]) for line in (recipe / "started").read_text().splitlines()]
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143 and not is_running(driver_child)
    wait_for(recipe / "saved")
