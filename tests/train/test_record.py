"""What an earlier training in the same folder becomes: kept if nothing that decides changed, put aside until the new
one stands.
"""

import json
from argparse import Namespace

import pytest

from speechlm.data.files import Known, file_digest
from speechlm.train.record import NEUTRAL, input_files, prepare_folder, remove_old, result_settings, start_from

KNOWN = Known({"codec_fingerprint": "c"}, NEUTRAL)


@pytest.fixture
def run(tmp_path):
    """Return a function that prepares a folder for a training with these options, and one that pretends to
    train there.
    """
    (tmp_path / "dump/train").mkdir(parents=True)
    (tmp_path / "dump/train/manifest.jsonl").write_text("one")
    folder = tmp_path / "exp"
    folder.mkdir()

    def prepare(**options):
        args = Namespace(
            **{"accum_grad": 1, "lr": 1.0, "max_steps": 10, "train_sets": ["train"], "dev_set": ["dev"], "codec": "c"}
            | options
        )
        args = Namespace(
            **{"init_from": None, "init_param": [], "llm": None, "llm_random": False, "dump": tmp_path / "dump"}
            | vars(args)
        )
        prepare_folder(folder, args, result_settings(args, 1), input_files(args), KNOWN)
        return sorted(path.name for path in folder.iterdir() if path.name != "settings.json")

    def train(finished: bool = True):
        for name in ("checkpoints", "train.jsonl", *(["model.safetensors"] if finished else [])):
            (folder / name).write_text(f"of {json.loads((folder / 'settings.json').read_text())['settings']['lr']}")

    return prepare, train, folder


def test_what_decides_nothing_throws_nothing_away(run):
    prepare, train, folder = run
    prepare()
    train()
    there = ["checkpoints", "model.safetensors", "train.jsonl"]
    assert prepare(eval_interval=7, dev_set=["dev", "dev2"], save_interval=3, output_dir="elsewhere") == there
    (folder.parent / "dump").rename(folder.parent / "moved")
    assert prepare(dump=folder.parent / "moved") == there


def test_what_is_replaced_is_kept_until_the_new_one_stands(run, capsys):
    prepare, train, folder = run
    prepare()
    train()
    assert prepare(lr=2.0) == [".old"]
    assert "because of setting lr (1.0 -> 2.0). What was trained before is kept in" in capsys.readouterr().out
    train(finished=False)
    assert prepare(lr=3.0) == [".old"], "the finished model is kept, not the one that was begun meanwhile"
    assert (folder / ".old/model.safetensors").read_text() == "of 1.0"
    train()
    remove_old(folder)
    assert prepare(lr=3.0) == ["checkpoints", "model.safetensors", "train.jsonl"]


def test_other_codes_start_again(run, capsys):
    prepare, train, folder = run
    prepare()
    train()
    (folder.parent / "dump/train/manifest.jsonl").write_text("two")
    assert prepare() == [".old"] and "because of input train 1/manifest.jsonl" in capsys.readouterr().out


def test_a_raised_max_steps_goes_on(run, capsys):
    prepare, train, _ = run
    prepare()
    train()
    assert "checkpoints" in prepare(max_steps=20)
    assert "max_steps was raised from 10 to 20: it goes on from its last checkpoint" in capsys.readouterr().out
    assert prepare(max_steps=5) == [".old"]


def test_settings_of_the_first_version_are_understood(run):
    prepare, train, folder = run
    prepare()
    train()
    digest = file_digest(folder.parent / "dump/train/manifest.jsonl")
    old = {
        "accum_grad": 1,
        "lr": 1.0,
        "max_steps": 10,
        "eval_interval": 500,
        "dev_set": ["dev"],
        "codec": "c",
        "llm_random": False,
    }
    (folder / "settings.json").write_text(json.dumps(old | {"input /old/place/train/manifest.jsonl": digest}))
    assert "model.safetensors" in prepare()


def test_an_llm_of_the_hub_is_told_by_its_files_and_its_revision(tmp_path, monkeypatch):
    """The same name may stand for other files tomorrow."""

    def publish(revision: str, weights: str):
        repo = tmp_path / "hub/models--owner--name"
        files = {
            "refs/main": revision,
            f"snapshots/{revision}/config.json": "{}",
            f"snapshots/{revision}/model.safetensors": weights,
        }
        for path, text in files.items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).write_text(text)

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    args = Namespace(
        train_sets=[], dev_set=[], dump="", init_from=None, init_param=[], llm="owner/name", llm_random=False
    )
    found = []
    for revision, weights in (("a" * 40, "one"), ("b" * 40, "two")):
        publish(revision, weights)
        assert start_from(args) == {"llm": f"owner/name@{revision}"}
        found.append(file_digest(input_files(args)["llm/model.safetensors"]))
    assert found[0] != found[1]
    args.llm = f"owner/name@{'a' * 40}"
    assert file_digest(input_files(args)["llm/model.safetensors"]) == found[0]
