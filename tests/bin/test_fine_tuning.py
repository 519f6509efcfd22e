"""What a fine-tuner of ESPnet expects: --use_adapter, --freeze_param, --init_param. Real trainings through ESPnet's
task.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.long.kill_training import Command, differences, make_recipe, training

LORA = ("--use_adapter", "true", "--adapter_conf", "rank=2", "--max_steps", "12")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fine_tuning")
    make_recipe(folder)
    assert train(folder, "base", "--max_steps", "4").status == 0
    return folder


def train(folder: Path, out: str, *more: str) -> Command:
    return Command(folder, "train", *training(out, *more)).wait(120)


def test_lora_trains_adapters_and_leaves_a_whole_model(recipe):
    done = train(recipe, "lora", "--init_from", "base", *LORA)
    assert done.status == 0 and "million parameters are trained" in done.output, done.output[-2000:]
    before, after = (load_file(recipe / out / "model.safetensors") for out in ("base", "lora"))
    assert before.keys() == after.keys(), "a model folder as any other"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if name.startswith("llm.")} == {
        name for name in before if name.endswith("_proj.weight")
    }
    assert "new_embedding.weight" in changed, "tables and heads of codes are trained as ever"

    llm, ids = AutoModelForCausalLM.from_pretrained(recipe / "base/llm"), torch.arange(8)[None]
    merged = AutoModelForCausalLM.from_pretrained(recipe / "lora/llm")
    adapted = PeftModel.from_pretrained(llm, recipe / "lora/adapter")
    torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-4)


def test_lora_goes_on_exactly(recipe):
    options = ("--init_from", "base", *LORA, "--save_interval", "5", "--log_interval", "3")
    interrupted = Command(recipe, "train", *training("lora_parts", *options))
    while not list((recipe / "lora_parts/checkpoints").glob("[0-9]*")):
        assert interrupted.status is None, interrupted.output[-2000:]
        time.sleep(0.02)
    os.kill(interrupted.pid, signal.SIGKILL)
    interrupted.wait(20)
    done = train(recipe, "lora_parts", *options)
    assert done.status == 0 and "resumed from" in done.output
    assert differences(recipe, "lora", "lora_parts") == []


def test_frozen_parameters_stay_and_init_param_starts_from_a_file(recipe):
    prefix = "speechlm.llm.model.layers"
    state = {f"speechlm.{name}": tensor for name, tensor in load_file(recipe / "base/model.safetensors").items()}
    torch.save(state, recipe / "start.pth")
    options = ("--init_param", "start.pth", "--freeze_param", prefix, "--max_steps", "4")
    done = train(recipe, "frozen", *options)
    assert done.status == 0, done.output[-2000:]
    after = load_file(recipe / "frozen/model.safetensors")
    layers = [name for name in after if name.startswith("llm.model.layers.")]
    assert layers and all(torch.equal(after[name], state[f"speechlm.{name}"]) for name in layers)
    assert not torch.equal(after["new_head.weight"], state["speechlm.new_head.weight"])


@pytest.mark.parametrize(
    "options, said",
    [
        (("--adapter", "houlsby"), "expected lora"),
        (("--adapter_conf", "target_modules=[query]"), "linear layers are"),
        (("--adapter_conf", "target_modules=[lm_head]"), "names the text head too"),
        (("--adapter_conf", "rank=0"), "rank is 0; expected a whole number, 1 or more"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(recipe, options, said):
    done = train(recipe, "refused", "--init_from", "base", "--use_adapter", "true", *options)
    assert done.status == 1 and said in done.output and "Traceback" not in done.output, done.output[-2000:]


def test_wandb_itself_keeps_what_is_reported(recipe):
    pytest.importorskip("wandb")
    options = training(
        "logged", "--init_from", "base", "--max_steps", "4", "--log_interval", "2", "--use_wandb", "true"
    )
    offline = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(recipe),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    subprocess.run([sys.executable, "-m", "speechlm.bin.train", *options], cwd=recipe, env=offline, check=True)
    (path,) = recipe.rglob("run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    records = map(json.loads, subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
    steps = [record["history"]["item"] for record in records if record["type"] == "history"]
    lines = [json.loads(line) for line in (recipe / "logged/train.jsonl").open()]
    reported = {(line["step"], f"{line['kind']}/loss"): line["loss"] for line in lines}
    logged = {(step["_step"], name): value for step in steps for name, value in step.items() if name.endswith("/loss")}
    assert logged == pytest.approx(reported, abs=1e-4) and reported.keys() >= {(2, "train/loss"), (4, "train/loss")}
