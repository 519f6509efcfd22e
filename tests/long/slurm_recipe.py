"""Runs stages of a recipe on a real Slurm cluster, kills jobs, and compares with what one machine makes.

    tests/long/slurm_cluster.sh --count 2 tools/venv/bin/python -m tests.long.slurm_recipe --work /tmp/slurm_recipe

The recipe is egs/mini_cvss, tiny models. Codes: three jobs, one of which is killed; then again; all files must be those
of one process. CPT on two nodes of one process each: undisturbed; and stopped by SIGTERM to the recipe, then by SIGKILL
to the launcher of one node, and resumed each time; then a rank is killed, and elastic starts both again; weights must
be equal.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.long.kill_training import differences

ROOT = Path(__file__).resolve().parents[2]
CORPUS = "--pairs 1100 --mono 600 --text_pairs 100 --eval_pairs 4"
STEPS = 300


class Recipe:
    """Starts of egs/mini_cvss/run.sh with folders in `work`, on Slurm or here."""

    def __init__(self, work: Path):
        self.work = work
        (work / "longer").mkdir(exist_ok=True)
        (work / "longer/cpt.yaml").write_text(yaml.safe_dump({"max_steps": STEPS, "save_interval": 40}))

    def start(self, stages: tuple[int, int], *options: str, cmd: str = "slurm", **folders: str) -> subprocess.Popen:
        names = {"data": "data", "dump": "dump", "exp": "exp"} | folders
        command = [
            ROOT / "egs/mini_cvss/run.sh",
            "--preset",
            "tiny",
            "--python",
            sys.executable,
            "--local_data_opts",
            CORPUS,
        ]
        command += [word for name, folder in names.items() for word in (f"--{name}dir", self.work / folder)]
        command += ["--stage", stages[0], "--stop_stage", stages[1], "--overlay", self.work / "longer", *options]
        environment = os.environ | {"SPEECHLM_CMD": cmd, "OMP_NUM_THREADS": "1"}
        log = open(self.work / f"{folders.get('exp', 'exp')}.log", "ab")
        return subprocess.Popen([*map(str, command)], env=environment, stdout=log, stderr=log, start_new_session=True)

    def run(self, *args, status: int = 0, **kwargs) -> None:
        found = self.start(*args, **kwargs).wait()
        assert found == status, f"status {found}, expected {status}: see the logs in {self.work}"

    def said(self, exp: str) -> str:
        return (self.work / f"{exp}.log").read_text()


def wait_for(found, what: str, timeout_sec: float = 120) -> None:
    until = time.monotonic() + timeout_sec
    while not found():
        assert time.monotonic() < until, f"{what}: not after {timeout_sec:.0f} s"
        time.sleep(0.05)


def processes(*words: str) -> list[int]:
    """Return the Python processes whose command line has all words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if all(word in line for word in words) and line.startswith(sys.executable):
            found.append(int(path.parent.name))
    return found


def archives(dump: Path) -> dict[str, bytes]:
    return {str(path.relative_to(dump)): path.read_bytes() for path in sorted(dump.glob("*/*/codes.*.ark"))}


def codes(recipe: Recipe) -> None:
    """Kill one of three jobs, run again, and compare."""
    recipe.run((1, 2), cmd="local", exp="one_machine")
    alone, dump = archives(recipe.work / "dump"), recipe.work / "dump_slurm"
    driver = recipe.start((2, 2), "--codes_jobs", "3", dump="dump_slurm", exp="codes")
    wait_for(lambda: processes("extract_codes", "--shard 2/3", str(dump)), "the second job")
    wait_for(lambda: "shards" in (next(dump.glob("*/log/codes.2.log"))).read_text(), "its first line")
    [os.kill(pid, signal.SIGKILL) for pid in processes("extract_codes", "--shard 2/3", str(dump))]
    assert driver.wait() == 1
    assert re.search(r"1 of 3 jobs failed. Their logs: \S+codes.2.log", recipe.said("codes")), "the failed job is named"
    done = len(archives(dump))
    assert 0 < done < len(alone), "the other jobs went on"
    recipe.run((2, 3), "--codes_jobs", "3", dump="dump_slurm", exp="codes")
    assert archives(dump) == alone
    print(
        f"codes: {len(alone)} archives, {done} of them made before the failure, all equal to those of one machine",
        flush=True,
    )


def training(recipe: Recipe) -> None:
    """Train on two nodes, undisturbed and not, and compare."""
    two = ("--nodes", "2")
    began = time.monotonic()
    recipe.run((3, 6), *two, dump="dump_slurm", exp="whole")
    print(f"llm, preflight and cpt on two nodes: {time.monotonic() - began:.0f} s", flush=True)
    shutil.copytree(recipe.work / "whole/llm", recipe.work / "parts/llm")
    log = recipe.work / "parts/cpt/train.jsonl"

    def steps_done(step: int):
        return lambda: log.exists() and f'"step": {step},' in log.read_text()

    for step, stop, statuses, said in (
        (60, lambda pid: os.kill(pid, signal.SIGTERM), {143}, "is saved in"),
        (
            120,
            lambda _pid: os.kill(min(of_second_node()), signal.SIGKILL),
            {137},
            "task 1: Killed",
        ),  # as if the machine were gone
        (
            180,
            lambda _pid: os.kill(max(of_second_node()), signal.SIGKILL),
            {0},
            "all start again from the last checkpoint",
        ),
    ):
        driver = recipe.start((6, 6), *two, dump="dump_slurm", exp="parts")
        wait_for(steps_done(step), f"step {step}")
        stop(driver.pid)
        at = time.monotonic()
        assert driver.wait(120) in statuses and re.search(said, recipe.said("parts")), recipe.said("parts")[-2000:]
        print(
            f"cpt: stopped after step {step} with status {driver.returncode}, {time.monotonic() - at:.0f} s later",
            flush=True,
        )
    assert recipe.said("parts").count("resumed from") >= 3
    found = differences(recipe.work, "whole/cpt", "parts/cpt")
    assert not found, found
    print("cpt: weights, optimizer state and log equal to the undisturbed run", flush=True)


def of_second_node() -> list[int]:
    """Return the processes of the second machine: the launcher, and the rank that it started."""
    return [pid for pid in processes("speechlm.bin.train", "parts/cpt") if "SLURM_PROCID=1" in environment_of(pid)]


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="new folder, removed at the end if all went well")
    args = parser.parse_args()
    args.work.mkdir(parents=True)
    recipe = Recipe(args.work.resolve())
    codes(recipe)
    training(recipe)
    shutil.rmtree(args.work)


if __name__ == "__main__":
    main()
