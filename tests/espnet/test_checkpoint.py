"""Checkpoints: the last good one is found whatever happened to the newest, and no torn file stays behind."""

import pytest
import torch

from speechlm.espnet.checkpoint import load_checkpoint, save_checkpoint


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
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(tmp_path, "cpu")
