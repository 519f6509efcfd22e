"""Kaldi directories: what is written is read back, and every mistake is reported, with all the others."""

import re
import time

import numpy as np
import pytest

from speechlm.data import kaldi
from speechlm.data.audio import save_wav


@pytest.fixture
def parallel_dir(tmp_path):
    """A valid directory of two utterances in es and en."""
    tables = {"utt2spk": {"v1-a": "v1", "v1-b": "v1"}}
    for side in ("es", "en"):
        tables[f"text.{side}"] = {"v1-a": f"uno {side}", "v1-b": f"dos {side}"}
        tables[f"wav.scp.{side}"] = {key: str(tmp_path / f"{key}.{side}.wav") for key in ("v1-a", "v1-b")}
        for path in tables[f"wav.scp.{side}"].values():
            save_wav(path, np.zeros(160, np.float32), 16000)
    kaldi.write_data_dir(tmp_path / "train", tables)
    return tmp_path / "train"


def test_a_written_directory_is_valid_and_reads_back(parallel_dir):
    assert kaldi.validate_data_dir(parallel_dir) == []
    assert kaldi.list_sides(parallel_dir) == ["en", "es"]
    assert kaldi.read_text(parallel_dir, "es") == {"v1-a": "uno es", "v1-b": "dos es"}
    assert kaldi.read_table(parallel_dir / "spk2utt") == {"v1": "v1-a v1-b"}


def test_segments_select_stretches_of_a_recording(parallel_dir):
    (parallel_dir / "segments.es").write_text("v1-c v1-a 0.1 0.25\n")
    assert kaldi.read_audio(parallel_dir, "es")["v1-c"].end_sec == 0.25
    (parallel_dir / "segments.es").write_text("v1-c v1-a 0.3 0.25\n")
    with pytest.raises(ValueError, match="bad segment"):
        kaldi.read_audio(parallel_dir, "es")


def test_a_file_without_suffix_needs_its_language(parallel_dir):
    (parallel_dir / "text").write_text("v1-a one\nv1-b two\n")
    with pytest.raises(ValueError, match="--lang"):
        kaldi.list_sides(parallel_dir)
    assert kaldi.list_sides(parallel_dir, "zh") == ["en", "es", "zh"]


MISTAKES = {  # what is appended to which file -> what the report must say
    "../../etc 1": ("text.es", "bad id"),
    "v1-a otra vez": ("text.es", "duplicate id"),
    "v1-empty": ("text.es", "x empty"),
    "v1-win dos\r": ("text.en", "Windows line end"),
    "v1-latin se\xf1or": ("text.en", "not UTF-8"),
    "v1-mute nada": ("text.es", "missing in a file"),
    "v1-gone /no/such.wav": ("wav.scp.es", "missing file"),
    "v1-pipe sox a.wav -t wav - |": (
        "wav.scp.es",
        "x a command .*expected paths of audio files; commands .* never run.*run each command once",
    ),
    "v1-pipe flac -c -d -s a.flac |": ("wav.scp.es", "write that file's path instead"),
    "v1-" + 197 * "x" + "y 1": ("text.es", "x bad id .*first in line 3.*at most 200 bytes"),
    "v1-" + 70 * "\u4e2d" + " 1": ("text.es", "x bad id"),
    "\ufeffv1-mark 1": ("text.es", "x byte order mark .*first in line 3.*sed -i"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_each_mistake_is_named(parallel_dir, line):
    name, message = MISTAKES[line]
    with open(parallel_dir / name, "ab") as stream:
        stream.write((line.encode("latin-1") if line.startswith("v1-latin") else line.encode()) + b"\n")
    with pytest.raises(ValueError) as error:
        kaldi.require_valid(parallel_dir)
    assert re.search(message, str(error.value), re.DOTALL)


ENCODINGS = {  # a text's encoding -> what the message names
    "latin-1": ("los ni\xf1os aqu\xed", "not UTF-8 .*line 2.*iconv -f WINDOWS-1252 -t UTF-8"),
    "gbk": ("\u4eca\u5929\u5929\u6c14\u5f88\u597d", "not UTF-8 .*line 2.*iconv -f GB18030 -t UTF-8"),
    "utf-16": ("hola", ":1: found UTF-16 text.*iconv -f UTF-16 -t UTF-8"),
    "utf-16-le": ("hola", ":1: found UTF-16LE text.*iconv -f UTF-16LE -t UTF-8"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_in_another_encoding_names_line_and_command(parallel_dir, encoding):
    words, message = ENCODINGS[encoding]
    path = parallel_dir / "text.es"
    path.write_bytes(f"v1-a uno\nv1-b {words}\n".encode(encoding))
    with pytest.raises(ValueError) as error:
        kaldi.require_valid(parallel_dir)
    assert re.search(message, str(error.value), re.DOTALL) and f"mv {path}.utf8 {path}" in str(error.value)


def test_a_pointer_of_git_lfs_is_no_table_and_no_recording(parallel_dir, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    (tmp_path / "v1-a.es.wav").write_text(pointer)
    with pytest.raises(ValueError, match="x not fetched .v1-a"):
        kaldi.require_valid(parallel_dir)
    (parallel_dir / "text.es").write_text(pointer)
    with pytest.raises(ValueError, match="text.es:1: found a pointer of git-lfs.*\n.*git lfs pull"):
        kaldi.require_valid(parallel_dir)


def test_what_a_backup_left_is_no_language_and_is_named(parallel_dir, capsys):
    for name in ("text.old", "text.es~", "text~", "wav.scp.bak", "text.en.bak"):
        (parallel_dir / name).write_text("v1-z other\n")
    assert kaldi.list_sides(parallel_dir) == ["en", "es"] and kaldi.validate_data_dir(parallel_dir) == []
    assert "text.en.bak, text.es~, text.old, text~, wav.scp.bak not read" in capsys.readouterr().out


def test_a_language_may_have_a_region(parallel_dir):
    for stem in ("text", "wav.scp"):
        (parallel_dir / f"{stem}.es").rename(parallel_dir / f"{stem}.zh-CN")
    assert kaldi.list_sides(parallel_dir) == ["en", "zh-CN"] and kaldi.validate_data_dir(parallel_dir) == []


def test_values_are_kept_byte_for_byte(tmp_path):
    values = {"a": "/data/one  two\u00a0three\u3000/a.wav", "b": "/data/tab\there.wav"}
    kaldi.write_table(tmp_path / "wav.scp", values)
    assert (tmp_path / "wav.scp").read_bytes() == "".join(f"{key} {value}\n" for key, value in values.items()).encode()
    assert kaldi.read_table(tmp_path / "wav.scp") == values
    for value in (" /data/a.wav", "/data/a.wav ", "/data/a\nb.wav"):
        with pytest.raises(ValueError, match="1 values have several lines, or spaces around a path"):
            kaldi.write_table(tmp_path / "wav.scp", {"a": value})


def test_a_table_of_duplicates_takes_no_longer_than_another(tmp_path):
    (tmp_path / "text").write_text("".join(f"u{i % 20_000:06d} hi\n" for i in range(40_000)))
    start = time.process_time()
    assert len(kaldi.scan_table(tmp_path / "text").bad) == 20_000 and time.process_time() - start < 5


def test_all_mistakes_are_reported_at_once_and_can_be_mended(parallel_dir, tmp_path):
    (tmp_path / "v1-b.en.wav").write_bytes(b"not audio")
    (parallel_dir / "spk2utt").write_text("v1 v1-a\n")
    with open(parallel_dir / "text.es", "a") as stream:
        stream.write("v1-x mas\n")
    with pytest.raises(ValueError) as report:
        kaldi.require_valid(parallel_dir)
    for expected in ("not audio (v1-b", "inverse of utt2spk", "(v1-x)", "validate_data", "Fix:"):
        assert expected in str(report.value)
    assert kaldi.drop_incomplete(parallel_dir) == ["v1-b", "v1-x"]
    assert kaldi.validate_data_dir(parallel_dir) == []


def test_a_text_only_set_needs_no_audio_and_no_speakers(tmp_path):
    kaldi.write_data_dir(tmp_path, {"text.en": {"s1": "hello"}, "text.es": {"s1": "hola"}})
    assert kaldi.validate_data_dir(tmp_path) == []


def test_a_missing_folder_names_the_stage(tmp_path):
    with pytest.raises(ValueError, match="--stage 1"):
        kaldi.require_valid(tmp_path / "nowhere")
