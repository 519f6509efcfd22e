"""Extraction: bytes whatever the number of processes, restarts, all bad recordings named."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from speechlm.codecs import extract, load_codec
from speechlm.codecs.extract import CodecSpec, code_shard, extract_codes
from speechlm.data.audio import load_wav


@pytest.fixture
def in_process(monkeypatch):
    """Code shards of three utterances in this process: fast, and the shard size can be changed."""
    monkeypatch.setattr(extract, "SHARD_UTTERANCES", 3)

    class Pool:
        def __init__(self, nj, context, initializer, initargs):
            initializer(*initargs)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def submit(self, function, *args):
            from concurrent.futures import Future

            future = Future()
            future.set_result(function(*args))
            return future

    monkeypatch.setattr(extract, "ProcessPoolExecutor", Pool)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("codes.*.ark"))}


def test_codes_are_those_of_the_resampled_recordings(in_process, data_dir, codec_folder, tmp_path):
    extract_codes(str(data_dir), tmp_path / "dump", CodecSpec(str(codec_folder)), nj=1, lang="en")
    codes = kaldiio.load_scp(str(tmp_path / "dump" / "codes.en.scp"))
    assert list(codes) == [f"utt{n}" for n in range(7)]
    codec = load_codec(str(codec_folder))
    expected = codec.encode(load_wav(tmp_path / "4.wav", 8000)[0])
    assert codes["utt4"].dtype == np.int32 and np.array_equal(codes["utt4"], expected)
    assert len(files_of(tmp_path / "dump")) == 3


def test_the_number_of_processes_changes_no_byte(data_dir, codec_folder, tmp_path):
    for nj in (1, 2):
        extract_codes(str(data_dir), tmp_path / f"dump{nj}", CodecSpec(str(codec_folder)), nj, lang="en")
    assert files_of(tmp_path / "dump1") == files_of(tmp_path / "dump2") != {}


def test_goes_on_where_it_was_interrupted(in_process, data_dir, codec_folder, tmp_path, monkeypatch, capsys):
    args = str(data_dir), tmp_path / "dump", CodecSpec(str(codec_folder)), 1, "en"

    def die_in_the_second(shard, out_dir):
        if shard.number == 1:
            raise KeyboardInterrupt
        return code_shard(shard, out_dir)

    monkeypatch.setattr(extract, "code_shard", die_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        extract_codes(*args)
    assert not (tmp_path / "dump" / "codes.en.scp").exists()
    monkeypatch.setattr(extract, "code_shard", code_shard)
    extract_codes(*args)
    assert "3 shards of en, 1 of them already complete" in capsys.readouterr().out
    assert len(kaldiio.load_scp(str(tmp_path / "dump" / "codes.en.scp"))) == 7


def test_a_changed_recording_changes_its_shard_only(in_process, data_dir, codec_folder, tmp_path, capsys):
    args = str(data_dir), tmp_path / "dump", CodecSpec(str(codec_folder)), 1, "en"
    extract_codes(*args)
    soundfile.write(tmp_path / "6.wav", np.zeros(16000), 16000)
    extract_codes(*args)
    assert "2 of them already complete" in capsys.readouterr().out


def test_a_smaller_set_leaves_no_old_archive(in_process, data_dir, codec_folder, tmp_path):
    args = str(data_dir), tmp_path / "dump", CodecSpec(str(codec_folder)), 1, "en"
    extract_codes(*args)
    lines = (data_dir / "wav.scp").read_text().splitlines(keepends=True)
    (data_dir / "wav.scp").write_text("".join(lines[:3]))
    extract_codes(*args)
    assert list(files_of(tmp_path / "dump")) == ["codes.en.0.ark"]


def test_all_bad_recordings_are_listed(in_process, data_dir, codec_folder, tmp_path):
    (tmp_path / "1.wav").unlink()
    soundfile.write(tmp_path / "3.wav", np.zeros(10), 16000)
    soundfile.write(tmp_path / "5.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(ValueError) as error:
        extract_codes(str(data_dir), tmp_path / "dump", CodecSpec(str(codec_folder)), 1, "en")
    message = str(error.value)
    assert "3 recording(s)" in message
    for name, reason in (("1.wav", "no such file"), ("3.wav", "shorter than one frame"), ("5.wav", "NaN")):
        assert any(name in line and reason in line for line in message.splitlines())
    assert not (tmp_path / "dump" / "codes.en.scp").exists()


def test_a_text_only_set(codec_folder, tmp_path):
    (tmp_path / "text.en").write_text("a hello\n")
    with pytest.raises(ValueError, match="no wav.scp"):
        extract_codes(str(tmp_path), tmp_path / "dump", CodecSpec(str(codec_folder)), 1)
