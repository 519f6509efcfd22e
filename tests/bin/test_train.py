"""A real training through ESPnet's task: stopped in every way it goes on exactly; what doesn't fit is refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from espnet2.train.distributed_utils import free_port
from safetensors.torch import load_file, save_file

from speechlm.tokens.text import load_text_tokenizer
from tests.long.kill_training import (
    CONFIG,
    ODD,
    WORDS,
    Command,
    Killer,
    differences,
    make_recipe,
    read_checkpoint,
    training,
    undisturbed,
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    make_recipe(folder)
    return folder


@pytest.fixture(scope="module")
def whole(recipe) -> float:
    """A finished, undisturbed training in recipe/whole: seconds to its first log line."""
    return undisturbed(recipe, "whole")


def train(folder: Path, out: str, *more: str) -> Command:
    return Command(folder, "train", *training(out, *more)).wait(120)


def wait_for(path: Path, text: str, command: Command) -> None:
    """Wait until a running command has written `text` to a file."""
    until = time.monotonic() + 60
    while not (path.exists() and text in path.read_text(encoding="utf-8")):
        assert command.status is None and time.monotonic() < until, command.output[-2000:]
        time.sleep(0.01)


def test_three_random_kills_change_nothing(recipe, whole):
    output = Killer(recipe, "parts", random.Random(1), whole, CONFIG["max_steps"]).run(3)
    assert "resumed from" in output
    assert differences(recipe, "whole", "parts") == []
    assert "already complete" in train(recipe, "whole").output


def test_sigterm_saves_the_step_and_the_shell_sees_it(recipe):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "speechlm.bin.train",
        *training("stopped", "--save_interval", "1000", "--max_steps", "2000"),
    ]
    process = subprocess.Popen(command, cwd=recipe, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not (recipe / "stopped/train.jsonl").exists() or not (recipe / "stopped/train.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    saved = read_checkpoint(recipe / "stopped")["step"]
    assert process.returncode == 143
    assert (
        f"interrupted by SIGTERM: step {saved} of 2000 is saved in stopped; the same command goes on from there"
        in output
    )


def test_the_text_llm_is_exported_as_a_hugging_face_model(recipe, whole):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(recipe / "whole/llm")


def test_two_processes_learn_as_one_with_twice_the_batches(recipe):
    """Rows weigh the same over processes and accumulated batches; so do the logged means. Dropout is on."""
    options = ("--muon_lr", "0", "--max_steps", "8", "--eval_interval", "8")
    for out, more in (("one", ("--accum_grad", "4")), ("two", ("--accum_grad", "2", "--nproc", "2"))):
        done = train(recipe, out, *options, *more)
        assert done.status == 0, done.output[-2000:]
    one, two = (read_checkpoint(recipe / out)["tensors"] for out in ("one", "two"))
    for name, tensor in one.items():  # first moments are linear in the gradients
        limit = 1e-6 * tensor.abs().max() if name.endswith(".exp_avg") else 1e-6
        assert name.endswith("_sq") or (tensor - two[name]).abs().max() <= limit, name
    logs = [
        [json.loads(line) for line in (recipe / out / "train.jsonl").read_text().splitlines()] for out in ("one", "two")
    ]
    for a, b in zip(*logs, strict=True):
        assert a == pytest.approx({k: v if isinstance(v, str) else pytest.approx(v, abs=2e-5) for k, v in b.items()})


@pytest.fixture(scope="module")
def pair(recipe) -> tuple[str, ...]:
    """An undisturbed training in two processes, in recipe/pair: its options."""
    options = ("--nproc", "2", "--max_steps", "24")
    undisturbed(recipe, "pair", *options)
    return options


def test_a_killed_rank_is_started_again_and_changes_nothing(recipe, pair):
    command = Command(recipe, "train", *training("broken", *pair))
    wait_for(recipe / "broken/train.jsonl", '"step": 9,', command)
    os.kill(command.children()[1], signal.SIGKILL)
    command.wait(60)
    assert command.status == 0 and "rank 1 of 2 was killed by SIGKILL: all start again" in command.output, (
        command.output[-2000:]
    )
    assert "resumed from" in command.output and differences(recipe, "pair", "broken") == []
    assert "already complete" in train(recipe, "broken", *pair).output


def two_machines(recipe: Path, out: str, *options: str) -> list[Command]:
    """Start the training as srun does on two machines, with one process on each."""
    job = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "n[1-2]"}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [Command(recipe, "train", *training(out, "--nproc", "1", *options), **job) for _ in range(2)]


def test_two_machines_learn_as_one_end_together_and_go_on(recipe, pair):
    """A signal to one machine only; a rank killed on one; then the result of two processes of one machine."""
    log, options = recipe / "machines/train.jsonl", pair[2:]
    both = two_machines(recipe, "machines", *options)
    wait_for(log, '"step": 3,', both[0])
    os.kill(both[1].pid, signal.SIGTERM)
    assert [command.wait(40).status for command in both] == [143, 143], both[0].output[-2000:] + both[1].output[-2000:]
    assert any("interrupted by SIGTERM: step" in command.output for command in both)
    both = two_machines(recipe, "machines", *options)
    wait_for(log, '"step": 12,', both[0])
    os.kill(both[1].children()[0], signal.SIGKILL)
    assert [command.wait(60).status for command in both] == [0, 0], both[0].output[-2000:] + both[1].output[-2000:]
    assert differences(recipe, "pair", "machines") == []


def test_torchrun_by_hand_trains_as_the_command_does(recipe, pair):
    torchrun = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "speechlm.bin.train",
    ]
    done = subprocess.run([*torchrun, *training("by_hand", *pair[2:])], cwd=recipe, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert differences(recipe, "pair", "by_hand") == []


@pytest.fixture
def poisoned(recipe, whole) -> None:
    """A model folder in which the embedding of a text token is NaN, one that only the utterance ODD has."""
    text = load_text_tokenizer(str(recipe / "whole/llm"))
    [token, *_] = set(text.encode("zoo")) - set(text.encode(" ".join(WORDS)))
    shutil.copytree(recipe / "whole", recipe / "poisoned")
    weights = load_file(recipe / "poisoned/model.safetensors")
    weights["llm.model.embed_tokens.weight"][token] = float("nan")
    save_file(weights, recipe / "poisoned/model.safetensors")


def test_a_nan_stops_before_it_is_learned_is_replayed_and_left_out(recipe, poisoned):
    config = CONFIG | {
        "mixture": {"tts": 1.0},
        "rows": 1,
        "accum_grad": 1,
        "max_steps": 15,
        "eval_interval": 5,
        "save_interval": 100,
    }
    (recipe / "bad.yaml").write_text(yaml.safe_dump(config))
    start, skip = ("--config", "bad.yaml", "--init_from", "poisoned"), []
    while (done := train(recipe, "bad", *start, *skip)).status == 1 and len(skip) < 4:
        bad = json.loads((recipe / "bad/bad_batch.json").read_text())
        names = [example["name"] for batch in bad["batches"] for row in batch for example in row]
        assert f"tts:{ODD}:en-en" in names and f"step {bad['step']}: the loss is nan" in done.output
        assert read_checkpoint(recipe / "bad")["step"] == bad["step"]
        replayed = Command(recipe, "replay", "--exp", "bad").wait(60).output.splitlines()[1:]
        assert [line.split()[2] for line in replayed if "nan" in line] == [f"tts:{ODD}:en-en"] and len(replayed) == len(
            names
        )
        skip = ["--skip_steps", *skip[1:], str(bad["step"])]
        assert " ".join(skip) in done.output
    assert done.status == 0 and skip, done.output[-2000:]
    assert train(recipe, "bad_again", *start, *skip).status == 0
    assert differences(recipe, "bad", "bad_again") == []
    (recipe / "bad/.done.train.json").unlink()  # as if it were not finished
    done = train(recipe, "bad", *start)
    assert done.status == 1 and "--skip_steps says []" in done.output


def test_a_changed_input_starts_an_unfinished_training_again_and_says_which(recipe):
    def start_and_kill() -> str:
        command = Command(recipe, "train", *training("changed", "--max_steps", "2000", "--save_interval", "1"))
        wait_for(command.log, "train 6/2000", command)
        os.kill(command.pid, signal.SIGKILL)
        return command.wait().output

    start_and_kill()
    manifest = recipe / "dump/train/manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-1]))
    try:
        output = start_and_kill()
    finally:
        manifest.write_text("".join(lines))
    assert "starts again, because of input train 1/manifest.jsonl (sha256 " in output and "resumed" not in output


def test_a_model_without_the_task_is_refused(recipe, whole):
    (recipe / "sft.yaml").write_text(yaml.safe_dump(CONFIG | {"mixture": {"s2xx": 1.0}}))
    done = train(recipe, "sft", "--init_from", "whole", "--config", "sft.yaml")
    assert done.status == 1 and "task 's2xx' is unknown" in done.output


def test_an_edited_vocabulary_is_refused(recipe, whole):
    path = recipe / "whole/vocab.json"
    content = path.read_text()
    path.write_text(content.replace('"codec_fingerprint": "', '"codec_fingerprint": "0'))
    try:
        done = train(recipe, "sft2", "--init_from", "whole")
    finally:
        path.write_text(content)
    assert done.status == 1 and "the file was edited" in done.output
