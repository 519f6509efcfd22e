"""A real training through ESPnet's task: killed and resumed it ends with the same weights; a misfit is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from speechlm.data.codes import write_codes
from speechlm.data.manifest import build_manifest, write_manifest

MODEL = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIG = {
    "mixture": {"asr": 0.5, "tts": 0.3, "lm": 0.2}, "rows": 2, "row_length": 64, "prompt_frames": 4, "max_steps": 30, "save_interval": 3,
    "eval_interval": 15, "log_interval": 5, "eval_examples": 2, "muon_lr": 0.003, "accum_grad": 2, "dtype": "float32", "llm_random": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A folder with dump/{train,dev}, a config and an LLM architecture."""
    folder = tmp_path_factory.mktemp("recipe")
    rng = np.random.default_rng(0)
    for name, count in (("train", 20), ("dev", 4)):
        data, dump = folder / "data" / name, folder / "dump" / name
        data.mkdir(parents=True), dump.mkdir(parents=True)
        ids = [f"v-{name}-{i:02d}" for i in range(count)]
        (data / "text").write_text("".join(f"{key} {' '.join(rng.choice(['red', 'car', 'dog', 'house'], 4))}\n" for key in ids))
        (data / "utt2spk").write_text("".join(f"{key} v\n" for key in ids))
        (data / "wav.scp").write_text("".join(f"{key} {key}.wav\n" for key in ids))
        write_codes(dump, {key: rng.integers(0, 256, (int(rng.integers(6, 12)), 8)).astype(np.int32) for key in ids})
        (dump / "codes.scp").rename(dump / "codes.en.scp")
        write_manifest(dump / "manifest.jsonl", build_manifest(data, dump, "en"))
    (folder / "cpt.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "llm.yaml").write_text(yaml.safe_dump({"vocab_size": 300, "model": MODEL}))
    run(folder, "text_tokenizer", "--manifests", "dump/train/manifest.jsonl", "--config", "llm.yaml", "--out", "tok")
    return folder


def command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", f"speechlm.bin.{name}", *options]


def run(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(name, *options), cwd=folder, capture_output=True, text=True)


def train(out: str, *more: str) -> list[str]:
    start = () if "--init_from" in more else ("--llm", "tok")
    where = ["--config", "cpt.yaml", "--output_dir", out, "--dump", "dump", "--train_sets", "train", "--dev_set", "dev"]
    return [*where, "--codec", "codec_16k", "--resume", "true", *start, *more]


def kill_once_saved(folder: Path, out: str, sign: int) -> None:
    """Start a training and kill it a moment after it has saved a checkpoint."""
    process = subprocess.Popen(command("train", *train(out)), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = (folder / out / "checkpoint.pth").stat().st_mtime_ns if (folder / out / "checkpoint.pth").exists() else 0
    for _ in range(600):
        path = folder / out / "checkpoint.pth"
        if process.poll() is not None or (path.exists() and path.stat().st_mtime_ns > before):
            break
        time.sleep(0.05)
    os.kill(process.pid, sign)
    process.wait()


def test_killed_and_resumed_equals_undisturbed(recipe):
    done = run(recipe, "train", *train("whole"))
    assert done.returncode == 0, done.stderr[-2000:]
    kill_once_saved(recipe, "parts", signal.SIGKILL)
    assert not (recipe / "parts/model.safetensors").exists(), "killed too late to show anything"
    done = run(recipe, "train", *train("parts"))
    assert "resumed from" in done.stderr, done.stderr[-2000:]
    assert (recipe / "whole/model.safetensors").read_bytes() == (recipe / "parts/model.safetensors").read_bytes()
    whole, parts = ([json.loads(x) for x in (recipe / n / "train.jsonl").read_text().splitlines()] for n in ("whole", "parts"))
    assert whole == parts
    again = run(recipe, "train", *train("whole"))
    assert "already complete" in again.stdout


def test_the_text_llm_is_exported_as_a_hugging_face_model(recipe):
    from transformers import AutoModelForCausalLM

    assert (recipe / "whole/llm/model.safetensors").exists(), "run after the training test"
    AutoModelForCausalLM.from_pretrained(recipe / "whole/llm")


def test_a_model_without_the_task_is_refused(recipe):
    (recipe / "sft.yaml").write_text(yaml.safe_dump(CONFIG | {"mixture": {"s2xx": 1.0}}))
    done = run(recipe, "train", *train("sft", "--init_from", "whole", "--config", "sft.yaml"))
    assert done.returncode == 1 and "task 's2xx' is unknown" in done.stderr


def test_an_edited_vocabulary_is_refused(recipe):
    path = recipe / "whole/vocab.json"
    content = path.read_text()
    path.write_text(content.replace('"codec_fingerprint": "', '"codec_fingerprint": "0'))
    try:
        done = run(recipe, "train", *train("sft2", "--init_from", "whole"))
    finally:
        path.write_text(content)
    assert done.returncode == 1 and "the file was edited" in done.stderr
