"""Checkpoints: the last good one is found whatever happened to the newest, and no torn one stays behind."""

import argparse
import errno
import shutil

import pytest
import torch

from speechlm.train import checkpoint
from speechlm.train.checkpoint import Checkpoints, load_tensors, newest, read_rest
from speechlm.train.elastic import launch, place


def save(folder, *steps: int, value: float = 7.0) -> None:
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, {"model.weight": torch.full((100,), value)}, {"words": ["a"]})
    checkpoints.wait()


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def damage(path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(content[:-200])
    elif kind == "changed":
        content[content.index(torch.full((100,), 7.0).numpy().tobytes()) + 5] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()


def test_the_last_two_are_kept_and_read(tmp_path):
    save(tmp_path, 1, 2, 3)
    assert names(tmp_path) == ["2", "3"]
    assert read_rest(newest(tmp_path)) == {"step": 3, "words": ["a"]}
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(100))
    load_tensors(newest(tmp_path), module)
    assert (module.weight == 7).all()


@pytest.mark.parametrize("name, kind", [
    ("__0_0.distcp", "cut"), ("__0_0.distcp", "changed"), (".metadata", "cut"), ("state.pt", "cut"), ("__0_0.distcp",
    "lost"), ("whole.json", "lost"),
])  # fmt: skip
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_done_again(tmp_path, name, kind):
    save(tmp_path, 1, 2)
    damage(tmp_path / "checkpoints/2" / name, kind)
    assert newest(tmp_path).name == "1"
    save(tmp_path, 2)
    assert newest(tmp_path).name == "2" and names(tmp_path) == ["1", "2"]
    for step in (1, 2):
        damage(tmp_path / "checkpoints" / str(step) / name, kind)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        newest(tmp_path)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "checkpoints/1", tmp_path / "checkpoints/.2.part")
    assert Checkpoints(tmp_path).newest().name == "1" and names(tmp_path) == ["1"]


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    torch.save({"step": 1}, tmp_path / "checkpoint.pth")
    with pytest.raises(
        ValueError,
        match=r"checkpoint\.pth: an earlier version wrote .* Finish this training with that version, or delete",
    ):
        newest(tmp_path)


LACKS = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "not enough memory: CUDA out of memory"),
    (MemoryError(), "not enough memory"),
    (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    (RuntimeError("something new"), "it is whole"),
]


@pytest.mark.parametrize(("error", "said"), LACKS)
def test_what_the_machine_lacks_is_no_damage(tmp_path, monkeypatch, error, said):
    """The newest checkpoint is whole: it isn't passed over for the one before."""
    save(tmp_path, 1, 2)

    def fail(path, **_options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(100))
    for read in (read_rest, lambda path: load_tensors(path, module)):
        with pytest.raises(ValueError, match=rf"checkpoints/2: cannot be loaded: {said}"):
            read(newest(tmp_path))


def test_all_processes_load_what_the_first_one_chose(tmp_path, own_signals, monkeypatch):
    """The first one's word counts: another that sees something else there does not go on from it."""
    save(tmp_path, 1, 2)
    damage(tmp_path / "checkpoints/2/.metadata", "cut")

    def work(args):
        torch.distributed.init_process_group("gloo")
        if place()[0] == args.lacking:
            monkeypatch.setattr(checkpoint, "WHOLE", "of another disk")
        assert Checkpoints(tmp_path).newest().name == "1"

    options = {"ngpu": 0, "nodes": 1, "max_restarts": 0}
    launch(work, argparse.Namespace(**options, lacking=None), 2)
    with pytest.raises(ValueError, match="checkpoints/1: the first process goes on from it, but it is missing here"):
        launch(work, argparse.Namespace(**options, lacking=1), 2)
