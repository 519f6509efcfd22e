"""Kaldi directories: what is written is read back, and every mistake is reported, with all the others."""

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
    "v1-pipe sox a.wav -t wav - |": ("wav.scp.es", "x a command"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_each_mistake_is_named(parallel_dir, line):
    name, message = MISTAKES[line]
    with open(parallel_dir / name, "ab") as stream:
        stream.write(line.encode("latin-1") + b"\n")
    with pytest.raises(ValueError, match=message):
        kaldi.require_valid(parallel_dir)


def test_all_mistakes_are_reported_at_once_and_can_be_mended(parallel_dir, tmp_path):
    (tmp_path / "v1-b.en.wav").write_bytes(b"not audio")
    (parallel_dir / "spk2utt").write_text("v1 v1-a\n")
    with open(parallel_dir / "text.es", "a") as stream:
        stream.write("v1-x mas\n")
    with pytest.raises(ValueError) as report:
        kaldi.require_valid(parallel_dir)
    for expected in ("not audio (v1-b", "inverse of utt2spk", "(v1-x)", "validate_data", "Mend:"):
        assert expected in str(report.value)
    assert kaldi.drop_incomplete(parallel_dir) == ["v1-b", "v1-x"]
    assert kaldi.validate_data_dir(parallel_dir) == []


def test_a_text_only_set_needs_no_audio_and_no_speakers(tmp_path):
    kaldi.write_data_dir(tmp_path, {"text.en": {"s1": "hello"}, "text.es": {"s1": "hola"}})
    assert kaldi.validate_data_dir(tmp_path) == []


def test_a_missing_folder_names_the_stage(tmp_path):
    with pytest.raises(ValueError, match="--stage 1"):
        kaldi.require_valid(tmp_path / "nowhere")
