"""Kill the driver at random moments of every stage, run it again each time, and compare with an undisturbed run.

    python tests/long/kill_stages.py --work /tmp/kill_stages --python tools/venv/bin/python --kills 20

The recipe is egs/mini_cvss with --preset tiny. Each stage is hit at least once, the longer ones more often; a run that
was killed goes on with --stage N, as its message says, and at the end the whole command is given once more. Signals in
turn: SIGKILL to the process group, SIGTERM to the driver, SIGTERM to the group, SIGINT to the driver. Must be equal:
the rows of results.json, and every file of data, dump and exp but logs, checkpoints and records.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = [("KILL", os.killpg), ("TERM", os.kill), ("TERM", os.killpg), ("INT", os.kill)]
NOT_COMPARED = re.compile(
    r"/\.|/tensorboard/|\.log$|\.pth$|/config\.yaml$|/settings\.json$"
)  # times, paths of the run, checkpoints
STARTED = re.compile(r"stage (\d+) \(\w+\): start")


@dataclass(frozen=True)
class Kill:
    """When to send what: so many seconds after a stage began (or after any later one, if that one was complete)."""

    stage: int
    delay_sec: float
    name: str
    send: Callable[[int, int], None]


class Attempt:
    """One start of the driver, with a kill or none. `began` holds the time at which each stage began."""

    def __init__(self, work: Path, python: str, stage: int, kill: Kill | None = None):
        folders = [word for name in ("data", "dump", "exp") for word in (f"--{name}dir", str(work / name))]
        command = [
            str(ROOT / "egs/mini_cvss/run.sh"),
            "--preset",
            "tiny",
            "--python",
            python,
            *folders,
            "--stage",
            str(stage),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.kill, self.said = kill, ""
        self.began: dict[int, float] = {}

    def finish(self) -> int:
        """Read what the driver says until it ends; return its status."""
        timer = None
        for line in self.process.stdout:
            self.said += line
            if match := STARTED.search(line):
                self.began[int(match[1])] = time.monotonic()
                if self.kill and not timer and int(match[1]) >= self.kill.stage:
                    timer = threading.Timer(self.kill.delay_sec, self.send_kill)
                    timer.start()
        if timer:
            timer.cancel()
        return self.process.wait()

    def send_kill(self) -> None:
        if self.process.poll() is None:
            self.kill.send(self.process.pid, signal.Signals[f"SIG{self.kill.name}"])


def undisturbed(work: Path, python: str) -> dict[int, float]:
    """Run everything; return the seconds that each stage took."""
    attempt = Attempt(work, python, 1)
    if attempt.finish():
        sys.exit(f"the undisturbed run failed:\n{attempt.said}")
    ends = [*list(attempt.began.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(attempt.began.items(), ends, strict=True)}


def plan_kills(seconds: dict[int, float], kills: int, rng: random.Random) -> list[Kill]:
    """Return the kills in order: one in each stage, the others by the stages' length.

    What is finished is not done again, so a stage that is hit n times is hit in the first n-th of what is left. The
    last third is kept free: a stage may be quicker the second time, and a kill would fall into the next.
    """
    stages = sorted([*seconds, *rng.choices(list(seconds), list(seconds.values()), k=max(0, kills - len(seconds)))])
    delays = [rng.uniform(0, 2 / 3 * seconds[stage] / stages.count(stage)) for stage in stages]
    return [
        Kill(stage, delay, *SIGNALS[i % len(SIGNALS)])
        for i, (stage, delay) in enumerate(zip(stages, delays, strict=True))
    ]


def disturbed(work: Path, python: str, plan: list[Kill]) -> None:
    """Run with each kill of the plan, then once to the end."""
    reached = 1
    for number, kill in enumerate(plan, start=1):
        attempt = Attempt(work, python, min(reached, kill.stage), kill)
        while attempt.finish() == 0:  # it ended before
            kill = replace(kill, delay_sec=kill.delay_sec / 2)
            attempt = Attempt(work, python, kill.stage, kill)
        status, reached = attempt.process.returncode, max(attempt.began, default=reached)
        print(
            f"kill {number}/{len(plan)}: {kill.delay_sec:.1f} s after stage {kill.stage} began, SIG{kill.name} to the "
            f"{'group' if kill.send is os.killpg else 'driver'}; ended in stage {reached} with status {status}",
            flush=True,
        )
        if status != (-signal.SIGKILL if kill.name == "KILL" else 128 + signal.Signals[f"SIG{kill.name}"]):
            sys.exit(f"a run ended with {status}, not by its signal:\n{attempt.said}")
        wait_for_survivors(work)
    last = Attempt(work, python, 1)
    if last.finish():
        sys.exit(f"the last run failed:\n{last.said}")


def wait_for_survivors(work: Path) -> None:
    """Wait until the driver's lock is free: after a signal to the whole group, a command may still be ending."""
    if (work / "exp/.lock").exists():
        subprocess.run(["flock", "--timeout", "60", str(work / "exp/.lock"), "true"], check=True)


def content(work: Path) -> dict[str, bytes]:
    """Return {relative path: content, without the folder's own name} of everything that must be equal."""
    files = [path for path in sorted(work.rglob("*")) if path.is_file()]
    kept = {
        str(path.relative_to(work)): path for path in files if not NOT_COMPARED.search(f"/{path.relative_to(work)}")
    }
    return {name: path.read_bytes().replace(str(work).encode(), b"WORK") for name, path in kept.items()}


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # in a shell's background it is ignored, by every child too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder; keeps what differs")
    parser.add_argument("--python", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start, whole, parts = time.monotonic(), args.work.resolve() / "whole", args.work.resolve() / "parts"
    seconds = undisturbed(whole, args.python)
    print(
        f"undisturbed: {sum(seconds.values()):.0f} s; by stage { ({k: round(v, 1) for k, v in seconds.items()}) }",
        flush=True,
    )
    disturbed(parts, args.python, plan_kills(seconds, args.kills, random.Random(args.seed)))
    rows = [json.loads((folder / "exp/results.json").read_text()) for folder in (whole, parts)]
    left, right = content(whole), content(parts)
    different = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    print(f"{len(rows[0])} rows of results.json {'equal' if rows[0] == rows[1] else 'DIFFERENT'}")
    print(
        f"{len(left)} files compared, {len(different)} different {different[:20]}; {time.monotonic() - start:.0f} s"
        " in all"
    )
    sys.exit(bool(different) or rows[0] != rows[1])


if __name__ == "__main__":
    main()
