"""Atomic files and stages: what is complete is not done again, what vanished, was cut or changed is, and says why."""

import errno
import os
import subprocess
import sys

import pytest

from speechlm.bin.command import run_main
from speechlm.data.files import TEMPORARY, Known, atomic_write, differences, file_digest, share, stage, walk
from speechlm.metrics.table import score_files


def work(folder, settings, inputs=()):
    """Write a text and three wavs as a stage does; return whether it was done."""
    with stage(folder, "decode", settings, inputs, ["text", "wav/*.wav"]) as todo:
        if todo:
            (folder / "wav").mkdir(parents=True, exist_ok=True)
            for name in ("text", "wav/a.wav", "wav/b.wav", "wav/c.wav"):
                (folder / name).write_text(name)
    return todo


def cut(path):
    path.write_text("x")


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("text", os.remove, "output text (1 files of 4 bytes -> 0 files of 0 bytes)"),
        ("text", cut, "output text (1 files of 4 bytes -> 1 files of 1 bytes)"),
        ("wav/b.wav", os.remove, "output wav/*.wav (3 files of 27 bytes -> 2 files of 18 bytes)"),
        ("wav/b.wav", cut, "output wav/*.wav (3 files of 27 bytes -> 3 files of 19 bytes)"),
    ],
)
def test_an_output_that_vanished_or_was_cut_is_made_again(tmp_path, capsys, name, harm, said):
    assert work(tmp_path, {}) and not work(tmp_path, {})
    harm(tmp_path / name)
    assert work(tmp_path, {})
    assert f"decode: done again in {tmp_path}, because of {said}\n" in capsys.readouterr().out
    assert not work(tmp_path, {})


def test_a_changed_setting_or_input_is_named(tmp_path, capsys):
    manifest = tmp_path / "manifest"
    manifest.write_text("one")
    out = tmp_path / "out"
    out.mkdir()
    assert work(out, {"beam": 1}, [manifest]) and work(out, {"beam": 4}, [manifest])
    assert "because of setting beam (1 -> 4)" in capsys.readouterr().out
    manifest.write_text("two")
    assert work(out, {"beam": 4}, [manifest])
    assert "because of input manifest (sha256 " in capsys.readouterr().out
    manifest.unlink()
    with pytest.raises(ValueError, match="manifest: not found. Run the stage that writes it first."):
        work(out, {"beam": 4}, [manifest])


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_have_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "bytes", "wb") as stream:
            stream.write(b"x")
        with open(tmp_path / "private", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)):
            share(tmp_path / "private")
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    write = (
        "import os, sys; from speechlm.data.files import atomic_write as a\nwith a(sys.argv[1]):"
        " os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", write, str(tmp_path / "text")])
    assert [path.suffix for path in tmp_path.iterdir()] == [TEMPORARY]
    assert work(tmp_path, {})
    assert not list(tmp_path.glob(f".*{TEMPORARY}"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_to_is_one_message(tmp_path, number):
    def main():
        with atomic_write(tmp_path / "text") as stream:
            stream.write("half")
            raise OSError(number, os.strerror(number))  # as write() raises it: without the file's name

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    message = str(ended.value)
    assert message.startswith(f"error: {tmp_path}/text: {os.strerror(number)}. The disk of {tmp_path} has ")
    assert message.endswith("run the same command again: what is complete is kept.")
    assert not list(tmp_path.iterdir())


def test_a_tree_is_walked_through_links_each_real_folder_once(tmp_path):
    """A moved experiment stands in the results; a link to a folder above, or beside, changes nothing."""
    (tmp_path / "disk/sft").mkdir(parents=True)
    (tmp_path / "disk/sft/score.json").write_text("[]")
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "moved").symlink_to(tmp_path / "disk")
    (exp / "moved/loop").symlink_to(exp)
    (exp / "again").symlink_to(tmp_path / "disk/sft")
    (exp / "real").mkdir()
    (exp / "real/score.json").write_text("[]")
    assert [str(path.relative_to(exp)) for path in walk(exp)] == ["real/score.json", "again/score.json"]
    (exp / "again").unlink()
    assert score_files([exp]) == [exp / "moved/sft/score.json", exp / "real/score.json"]


def test_other_system_errors_are_bugs():
    def main():
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    with pytest.raises(FileNotFoundError):
        run_main(main)


@pytest.mark.parametrize("content", ["", '{"settings": {"a"', "[]", "null"])
def test_an_empty_or_cut_record_means_that_nothing_is_done(tmp_path, capsys, content):
    assert work(tmp_path, {"a": 1}) and not work(tmp_path, {"a": 1})
    (tmp_path / ".done.decode.json").write_text(content)
    assert work(tmp_path, {"a": 1}) and "because of a damaged record" in capsys.readouterr().out
    assert not work(tmp_path, {"a": 1})


def test_what_moved_is_the_same(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/manifest").write_text("one")
    (tmp_path / "out").mkdir()
    assert work(tmp_path / "out", {}, [tmp_path / "here/manifest"])
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "out").rename(tmp_path / "out2")
    assert not work(tmp_path / "out2", {}, [tmp_path / "there/manifest"])
    assert work(tmp_path / "out2", {}, {"test": tmp_path / "there/manifest"}), "in another role it is something else"


def test_a_record_of_the_first_version_is_understood(tmp_path):
    """Inputs were keyed by paths; an option that came later had its default; what decides nothing is not compared."""
    (tmp_path / "manifest").write_text("one")
    digest = file_digest(tmp_path / "manifest")
    old = {
        "settings": {"lr": 1, "eval_interval": 5},
        "inputs": {"/elsewhere/manifest": digest, "/elsewhere/dev/manifest": "x"},
    }
    new = {
        "settings": {"lr": 1, "patience": 3},
        "inputs": {"train 1/manifest": digest, "llm/config.json": "not recorded then"},
    }
    known = Known({"patience": 3}, frozenset({"eval_interval"}))
    assert differences(old, new, known) == []
    assert differences(old, new | {"settings": {"lr": 1, "patience": 4}}, known) == ["setting patience (3 -> 4)"]
    assert "input train 1/manifest" in differences(old, new | {"inputs": {"train 1/manifest": "other"}}, known)[0]
