"""Kills a training at random moments, resumes it by the same command, and compares the end with an undisturbed run,
bitwise.

    OMP_NUM_THREADS=1 python -m tests.long.kill_training --kills 30                # one process
    OMP_NUM_THREADS=1 python -m tests.long.kill_training --kills 10 --nproc 2      # two, on gloo
    OMP_NUM_THREADS=1 python -m tests.long.kill_training --kills 10 --nproc 2 --only_ranks      # kill -9 of one of them

Signals (SIGTERM, SIGKILL, SIGUSR1, SIGINT), moments and the number of loader workers are drawn from --seed. Of two
processes, the launcher or one rank is hit; if a rank dies, torch elastic starts both again, within the command. The
corpus is random codes, the LLM tiny, with dropout; tasks are mixed by weight, packed, and two batches are
accumulated. Commands start from a server that has done the imports, so that a start takes a second instead of seven.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.distributed import checkpoint as dcp

from speechlm.data.codes import write_codes
from speechlm.data.manifest import build_manifest, write_manifest
from speechlm.train.checkpoint import Reader, newest, read_rest

LLM = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "attention_dropout": 0.1,
}  # fmt: skip
CONFIG = {
    "mixture": {"asr": 0.5, "tts": 0.3, "lm": 0.2}, "rows": 2, "row_length": 64, "prompt_frames": 4, "max_steps": 60,
    "save_interval": 7,
    "eval_interval": 20, "log_interval": 3, "eval_examples": 2, "muon_lr": 0.003, "accum_grad": 2, "dtype": "float32",
    "llm_random": True,
}  # fmt: skip
WORDS = ["red", "car", "dog", "house"]
ODD = "v-train-07"  # an utterance with a text that no other has: zoo
RESTARTED = "all start again from the last checkpoint"
SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["speechlm.bin.train", "speechlm.espnet.training", "speechlm.train.replay", __name__])


def make_recipe(folder: Path, llm: dict = LLM, **config) -> None:
    """Write dump/{train,dev}, cpt.yaml (CONFIG and `config`), and the architecture and tokenizer of `llm` to tok/."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 20), ("dev", 4)):
        data, dump = folder / "data" / name, folder / "dump" / name
        data.mkdir(parents=True), dump.mkdir(parents=True)
        ids = [f"v-{name}-{i:02d}" for i in range(count)]
        (data / "text").write_text(
            "".join(f"{key} {'zoo' if key == ODD else ' '.join(rng.choice(WORDS, 4))}\n" for key in ids)
        )
        (data / "utt2spk").write_text("".join(f"{key} v\n" for key in ids))
        (data / "wav.scp").write_text("".join(f"{key} {key}.wav\n" for key in ids))
        write_codes(dump, {key: rng.integers(0, 256, (int(rng.integers(6, 12)), 8)).astype(np.int32) for key in ids})
        (dump / "codes.scp").rename(dump / "codes.en.scp")
        write_manifest(dump / "manifest.jsonl", build_manifest(data, dump, "en"))
    (folder / "cpt.yaml").write_text(yaml.safe_dump(CONFIG | config))
    (folder / "llm.yaml").write_text(yaml.safe_dump({"vocab_size": 300, "model": llm}))
    done = Command(
        folder, "text_tokenizer", "--manifests", "dump/train/manifest.jsonl", "--config", "llm.yaml", "--out", "tok"
    ).wait()
    assert done.status == 0, done.output


def training(out: str, *more: str) -> list[str]:
    """Return the options of bin/train that train to `out`, in a folder of `make_recipe`."""
    start = () if "--init_from" in more else ("--llm", "tok")
    where = ["--config", "cpt.yaml", "--output_dir", out, "--dump", "dump", "--train_sets", "train", "--dev_set", "dev"]
    return [*where, "--codec", "codec_16k", "--resume", "true", *start, *more]


class Command:
    """`python -m speechlm.bin.NAME OPTIONS` in `folder`, started at once."""

    def __init__(self, folder: Path, name: str, *options: str, **environ: str):
        handle, log = tempfile.mkstemp(suffix=".out", dir=folder)
        os.close(handle)
        self.log = Path(log)  # stdout and stderr
        self._process = server.Process(target=_run, args=(folder, name, options, self.log, environ))
        self._process.start()
        self.pid = self._process.pid

    def wait(self, timeout: float | None = None) -> "Command":
        self._process.join(timeout)
        return self

    @property
    def status(self) -> int | None:
        """The exit status, -n if signal n killed it; None while it runs."""
        return self._process.exitcode

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def children(self) -> list[int]:
        """Return the processes that it started and that live: the ranks, if it started several."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [
                int(pid)
                for pid in found
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            ]
        except OSError:
            return []


def _run(folder: Path, name: str, options: tuple[str, ...], log: Path, environ: dict[str, str]) -> None:
    """In a process of the server: become the command."""
    os.chdir(folder)
    os.environ.update(environ)
    stream = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1), os.dup2(stream, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as long as the command doesn't listen
    warnings.simplefilter("ignore")
    module = f"speechlm.bin.{name}"
    sys.argv = [module, *options]
    if module in sys.modules:
        from speechlm.bin.command import run_main

        run_main(sys.modules[module].main)
    else:
        runpy.run_module(module, run_name="__main__")


@dataclass
class Killer:
    """Starts the training `out` of `max_steps` again and again, and kills it at random moments of its start and its
    steps.
    """

    folder: Path
    out: str
    rng: random.Random
    start_sec: float  # from the command to the first steps
    max_steps: int
    options: tuple[str, ...] = ()
    only_ranks: bool = False
    made: Counter = field(default_factory=Counter)

    def run(self, kills: int) -> str:
        """Make the kills and let the last start end; return its output. AssertionError for a status nobody expects."""
        command = self.start()
        for left in range(kills, 0, -1):
            if self.rng.random() < 0.2:
                command.wait(self.start_sec * self.rng.random())
            else:
                now = self.step()
                self.wait_for_step(now + self.rng.random() * 0.7 * (self.max_steps - now) / left, command)
            assert command.status is None, f"it ended before it was killed:\n{command.output[-3000:]}"
            if not self.kill(command):
                command = self.start()
        command.wait()
        assert command.status == 0, command.output[-3000:]
        return command.output

    def step(self) -> int:
        """Return the last step in the log."""
        log = self.folder / self.out / "train.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return max([json.loads(line)["step"] for line in lines if line.endswith("\n")], default=0)

    def wait_for_step(self, step: float, command: Command) -> None:
        """Wait until the training is beyond a step, and a random moment more."""
        while self.step() <= step and command.status is None:
            command.wait(0.01)
        command.wait(0.1 * self.rng.random())

    def start(self) -> Command:
        workers = self.rng.choice(["0", "1", "2"])
        return Command(self.folder, "train", *training(self.out, "--num_workers", workers, *self.options))

    def kill(self, command: Command) -> bool:
        """Send a signal to the command or to one of its ranks; return whether it goes on, as elastic lets it if a rank
        died.
        """
        number = signal.SIGKILL if self.only_ranks else self.rng.choice(SIGNALS)
        ranks = command.children() if "--nproc" in self.options else []
        victim = self.rng.choice(ranks if ranks and self.only_ranks else [command.pid, *ranks])
        before = command.output.count(RESTARTED)
        os.kill(victim, number)
        self.made[f"{signal.Signals(number).name}{' of a rank' if victim != command.pid else ''}"] += 1
        until = time.monotonic() + 90
        while victim != command.pid and command.output.count(RESTARTED) == before and command.status is None:
            assert time.monotonic() < until, command.output[-3000:]
            command.wait(0.05)
        if victim != command.pid and command.status is None:
            return True
        command.wait(90)
        accepted = (
            {-number, 128 + number} if number != signal.SIGKILL else {-number}
        )  # -number: before the command could listen
        assert command.status in accepted, (
            f"{signal.Signals(number).name}: status {command.status}\n{command.output[-3000:]}"
        )
        return False


def differences(folder: Path, one: str, other: str) -> list[str]:
    """Compare two finished trainings: weights, optimizer state, position in the data, and log; return what differs."""
    found = _unequal("checkpoint", *(read_checkpoint(folder / out) for out in (one, other)))
    for name in ("model.safetensors", "train.jsonl"):
        if (folder / one / name).read_bytes() != (folder / other / name).read_bytes():
            found.append(name)
    return found


def read_checkpoint(folder: Path) -> dict:
    """Return all that the newest checkpoint of a training holds: tensors by name, and the rest."""
    path = newest(folder)
    there = Reader(path).read_metadata().state_dict_metadata
    tensors = {name: torch.empty(found.size, dtype=found.properties.dtype) for name, found in there.items()}
    dcp.load(tensors, storage_reader=Reader(path), no_dist=True)
    return {"tensors": tensors} | read_rest(path)


def _unequal(name: str, a, b) -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if a.numpy().tobytes() == b.numpy().tobytes() else [name]  # NaN equals NaN
    if isinstance(a, dict):
        return [x for key in a.keys() | b.keys() for x in _unequal(f"{name}.{key}", a.get(key), b.get(key))]
    if isinstance(a, (list, tuple)):
        return [x for i, (p, q) in enumerate(zip(a, b, strict=True)) for x in _unequal(f"{name}.{i}", p, q)]
    return [] if a == b else [name]


def undisturbed(folder: Path, out: str, *options: str) -> float:
    """Train without a kill; return the seconds to the first log line."""
    began = time.monotonic()
    command = Command(folder, "train", *training(out, *options))
    log = folder / out / "train.jsonl"
    while command.status is None and not (log.exists() and log.stat().st_size):
        command.wait(0.02)
    start_sec = time.monotonic() - began
    command.wait()
    assert command.status == 0, command.output[-3000:]
    return start_sec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--nproc", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only_ranks", action="store_true")
    parser.add_argument("--sharding", default="none")
    args = parser.parse_args()
    options = (
        ()
        if args.nproc == 1
        else ("--nproc", str(args.nproc), "--max_restarts", str(args.kills), "--sharding", args.sharding)
    )
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        make_recipe(folder, max_steps=args.steps, eval_interval=50)
        start_sec = undisturbed(folder, "whole", *options)
        killer = Killer(folder, "parts", random.Random(args.seed), start_sec, args.steps, options, args.only_ranks)
        killer.run(args.kills)
        found = differences(folder, "whole", "parts")
    print(
        f"kills: {sum(killer.made.values())}"
        f" ({', '.join(f'{count} {name}' for name, count in sorted(killer.made.items()))})"
    )
    print(f"different at the end: {', '.join(found) or 'nothing'}; {time.monotonic() - began:.0f} s in all")
    print(json.dumps({"kills": sum(killer.made.values()), "nproc": args.nproc, "different": found}))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
