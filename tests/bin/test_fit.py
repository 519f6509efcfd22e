"""What does not belong together is refused with both fingerprints; a full disk or a cut file is named, and a rerun
recovers.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import kaldiio
import pytest
import torch

from speechlm.bin.text_tokenizer import train_tokenizer
from speechlm.codecs import load_codec
from speechlm.data.codes import write_codec
from speechlm.espnet import preflight
from speechlm.metrics.recognisers import load_recogniser
from speechlm.metrics.speech import transcribe
from speechlm.model.folder import load_llm, load_model
from speechlm.tokens.text import load_text_tokenizer
from speechlm.tokens.vocabulary import Vocabulary
from speechlm.train.checkpoint import META, REST, WHOLE, read_rest
from tests.long.kill_training import Command, make_recipe, training

STEPS = {"max_steps": 6, "save_interval": 2, "eval_interval": 6, "log_interval": 3}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe with a finished training in whole/."""
    folder = tmp_path_factory.mktemp("recipe")
    make_recipe(folder, **STEPS)
    for name in ("train", "dev"):
        write_codec(folder / "dump" / name, "codec_16k", load_codec("codec_16k").fingerprint)
    done = train(folder, "whole")
    assert done.status == 0, done.output
    return folder


@pytest.fixture
def model(recipe, tmp_path) -> Path:
    """A copy of the trained model's folder."""
    shutil.copytree(recipe / "whole", tmp_path / "model")
    return tmp_path / "model"


def train(folder: Path, out: str, *more: str) -> Command:
    return Command(folder, "train", *training(out, *more)).wait(120)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


# ---------------------------------------------------------------- what does not belong together


def test_checkpoint_and_vocabulary(recipe):
    shutil.copytree(recipe / "whole", recipe / "other", ignore=shutil.ignore_patterns(".done*", "model.safetensors"))
    for path in (recipe / "other/checkpoints").iterdir():
        torch.save(read_rest(path) | {"vocab": "0123456789abcdef"}, path / REST)
        digests = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (META, REST)}
        (path / WHOLE).write_text(json.dumps(digests))
    done = train(recipe, "other")
    assert done.status == 1 and "was trained with vocabulary 0123456789abcdef, this run has " in done.output
    assert (
        Vocabulary.load(recipe / "whole/vocab.json").fingerprint in done.output and "give a new --expdir" in done.output
    )


def test_codec_and_codes(recipe):
    shutil.copytree(recipe / "dump", recipe / "foreign")
    write_codec(recipe / "foreign/train", "exp/codec", "f" * 64)
    done = train(recipe, "trained_on_foreign", "--dump", "foreign")
    assert done.status == 1, done.output
    assert (
        "foreign/train/codec.json: the codes are of codec exp/codec (fingerprint ffffffffffffffff), the model speaks"
        " codec " in done.output
    )
    assert load_codec("codec_16k").fingerprint[:16] in done.output and "./run.sh --stage 2" in done.output


def test_codec_and_model(recipe):
    codec = load_codec("codec_16k")
    assert load_model(recipe / "whole", codec.fingerprint).vocab.codec_fingerprint == codec.fingerprint
    with pytest.raises(
        ValueError, match=f"speaks codec {codec.fingerprint[:16]}, but the one given is ffffffffffffffff. Give"
    ):
        load_model(recipe / "whole", "f" * 64)


def test_text_tokenizer_and_llm(model):
    trained = load_text_tokenizer(str(model / "llm")).fingerprint
    train_tokenizer([f"other words {i}" for i in range(50)], 280, model / "llm/tokenizer.model")
    other = load_text_tokenizer(str(model / "llm")).fingerprint
    for load in (lambda: load_model(model), lambda: load_llm(str(model / "llm"), random_init=False)):
        with pytest.raises(
            ValueError, match=f"the text tokenizer has the fingerprint {other}, .*vocab.json says {trained}. Restore"
        ):
            load()


def test_judge_and_language(tmp_path):
    with pytest.raises(
        ValueError, match="the speech is in 'es', but the judge understands 'en'. Give --judge for es, or train one"
    ):
        transcribe(load_recogniser("judge_en"), {}, "es", tmp_path / "heard")


def test_vocabulary_and_weights_of_two_models(model):
    mine = Vocabulary.load(model / "vocab.json")
    other = replace(
        mine, specials=(*mine.specials[:-2], *mine.specials[:-3:-1])
    )  # two tokens exchanged: every size is the same
    other.save(model / "vocab.json")
    with pytest.raises(
        ValueError, match=f"was trained with vocabulary {mine.fingerprint}, .*vocab.json is {other.fingerprint}"
    ):
        load_model(model)


def test_preflight_is_done_again_for_another_llm(recipe, monkeypatch, capsys):
    shutil.copytree(recipe / "tok", recipe / "tok2")
    monkeypatch.chdir(recipe)
    options = training("preflight", "--llm", "tok2")
    checked = []
    monkeypatch.setattr(preflight, "check", lambda args, trainings: checked.append(args) or {})
    preflight.run_preflight(options)
    preflight.run_preflight(options)
    assert len(checked) == 1
    (recipe / "tok2/config.json").write_text((recipe / "tok2/config.json").read_text() + "\n")
    preflight.run_preflight(options)
    assert len(checked) == 2 and "because of input llm/config.json (sha256 " in capsys.readouterr().out


# ---------------------------------------------------------------- disks and files


def test_weights_cut_short_are_named_and_made_again_from_the_checkpoint(recipe, model):
    whole = weights(recipe / "whole")
    (model / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(
        ValueError, match="model.safetensors: missing, cut short or damaged .* run the training stage again"
    ):
        load_model(model)
    shutil.copytree(model, recipe / "cut")
    done = train(recipe, "cut")
    assert done.status == 0 and "because of output model.safetensors (1 files of " in done.output, done.output
    assert "resumed from" in done.output and weights(recipe / "cut") == whole


def test_an_archive_cut_short_names_the_utterance_and_the_stage(recipe):
    shutil.copytree(recipe / "dump", recipe / "short")
    ark = recipe / "short/train/codes.ark"
    ark.write_bytes(ark.read_bytes()[:-40])
    assert len(kaldiio.load_scp(str(recipe / "short/train/codes.en.scp"))) == 20
    done = train(recipe, "trained_on_short", "--dump", "short")
    assert done.status == 1 and "utterance v-train-19 (en): short/train/codes.ark:" in done.output, done.output
    assert "code its set again: ./run.sh --stage 2" in done.output


def limited(folder: Path, *options: str, limit: int | None = None) -> subprocess.CompletedProcess:
    """Run bin/train; no file may grow beyond `limit` bytes, as on a disk without room for more."""
    limits = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    command = [sys.executable, "-W", "ignore", "-m", "speechlm.bin.train", *training(*options)]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limits,
        capture_output=True,
        text=True,
    )


def test_without_room_for_a_checkpoint_training_stops_with_one_message_and_goes_on_later(recipe):
    size = (recipe / "whole/checkpoints/6/__0_0.distcp").stat().st_size
    done = limited(recipe, "crowded", limit=size // 2)
    assert done.returncode == 1 and "error: crowded/checkpoints/2: File too large. The disk of " in done.stderr, (
        done.stderr[-3000:]
    )
    assert "ulimit -f" in done.stderr and "Traceback" not in done.stderr.split("error: crowded")[1]
    assert not list((recipe / "crowded/checkpoints").iterdir())
    done = train(recipe, "crowded")
    assert done.status == 0 and weights(recipe / "crowded") == weights(recipe / "whole"), done.output


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (root is needed): {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_or_turns_read_only(recipe, small_disk):
    out, checkpoints = small_disk / "out", small_disk / "out/checkpoints"
    shutil.copytree(
        recipe / "whole", out, ignore=shutil.ignore_patterns(".done*", "model.safetensors", "6", "tensorboard")
    )
    good = (checkpoints / "4/__0_0.distcp").read_bytes()
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - len(good) // 2))
    done = train(recipe, str(out))
    assert (
        done.status == 1
        and f"error: {checkpoints}/6: No space left on device. The disk of {checkpoints} has 0.0" in done.output
    )
    assert (checkpoints / "4/__0_0.distcp").read_bytes() == good and [path.name for path in checkpoints.iterdir()] == [
        "4"
    ]
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = train(recipe, str(out))
    assert (
        done.status == 1
        and "Read-only file system" in done.output
        and "Name a folder that can be written to" in done.output
    ), done.output
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    done = train(recipe, str(out))
    assert done.status == 0 and "resumed from" in done.output, done.output
    assert weights(out) == weights(recipe / "whole")
    assert json.loads((out / "train.jsonl").read_text().splitlines()[-1])["step"] == STEPS["max_steps"]
