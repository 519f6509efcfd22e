"""Checkpoints: the last good one is found whatever happened to the newest, and no torn file stays behind."""

import argparse
import errno
import signal

import pytest
import torch

from speechlm.train.checkpoint import load_checkpoint, save_checkpoint
from speechlm.train.elastic import launch, place
from speechlm.train.signals import STOPPING


def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step, "model": {"w": torch.ones(100)}})
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(path.read_bytes()[:200])
    assert load_checkpoint(tmp_path, "cpu")["step"] == 1
    (tmp_path / "checkpoint.prev.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(tmp_path, "cpu")


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / ".checkpoint.pth.ab12").write_bytes(b"half")
    save_checkpoint(tmp_path, {"step": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"step": 1, "model": print}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="it is whole, but no checkpoint"):
        load_checkpoint(tmp_path, "cpu")


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
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step, "model": {"w": torch.ones(100)}})

    def fail(path, **_options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ValueError, match=rf"checkpoint\.pth: cannot be loaded: {said}"):
        load_checkpoint(tmp_path, "cpu")


def test_a_changed_byte_is_damage(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step, "model": {"w": torch.full((100,), 7.0)}})
    path = tmp_path / "checkpoint.pth"
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((100,), 7.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert load_checkpoint(tmp_path, "cpu")["step"] == 1


def test_all_processes_load_what_the_first_one_chose(tmp_path):
    """One that can't is an error: it does not go on from another step than the first."""
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step})
    load = torch.load

    def work(args):
        torch.distributed.init_process_group("gloo")
        if place()[0] == args.lacking:
            torch.load = lambda path, **options: load(path, **options) if "prev" in str(path) else lack_memory()
        assert load_checkpoint(tmp_path, "cpu")["step"] == 2

    for lacking in (0, 1):
        with pytest.raises(ValueError, match="not enough memory"):
            run_two(work, lacking)
    (tmp_path / "checkpoint.pth").write_bytes(b"PK")
    torch.save({"step": 2}, tmp_path / "checkpoint.prev.pth")
    run_two(work, None)


def run_two(work, lacking: int | None) -> None:
    options = argparse.Namespace(ngpu=0, dist_backend="gloo", nodes=1, max_restarts=0, lacking=lacking)
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        launch(work, options, 2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lack_memory():
    raise MemoryError
