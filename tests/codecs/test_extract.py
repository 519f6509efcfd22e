"""Extraction: bytes whatever the number of processes, restarts, all bad recordings named."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from speechlm.codecs import extract, load_codec
from speechlm.codecs.base import BATCH_SEC, WAITING_SEC, in_batches
from speechlm.codecs.extract import Options, code_shard, extract_codes
from speechlm.data import pool
from speechlm.data.audio import load_wav
from speechlm.data.items import read_items
from speechlm.data.kaldi import fix_spk2utt
from tests.pools import InProcess


@pytest.fixture
def in_process(monkeypatch):
    """Code shards of three utterances in this process: fast, and the shard size can be changed."""
    monkeypatch.setattr(extract, "SHARD_UTTERANCES", 3)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", InProcess)


def code(data_dir: Path, dump: Path, codec_folder: Path, **options) -> None:
    extract_codes([data_dir], [], dump, str(codec_folder), Options(lang="en", **options))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("codes.*.ark"))}


def test_codes_are_those_of_the_resampled_recordings(in_process, data_dir, codec_folder, tmp_path):
    code(data_dir, tmp_path / "dump", codec_folder)
    codes = kaldiio.load_scp(str(tmp_path / "dump" / "data" / "codes.en.scp"))
    assert list(codes) == [f"utt{n}" for n in range(7)]
    codec = load_codec(str(codec_folder))
    expected = codec.encode(load_wav(tmp_path / "4.wav", 8000)[0])
    assert codes["utt4"].dtype == np.int32 and np.array_equal(codes["utt4"], expected)
    assert len(files_of(tmp_path / "dump" / "data")) == 3


def test_the_number_of_processes_changes_no_byte(data_dir, codec_folder, tmp_path):
    for nj in (1, 2):
        code(data_dir, tmp_path / f"dump{nj}", codec_folder, nj=nj)
    assert files_of(tmp_path / "dump1" / "data") == files_of(tmp_path / "dump2" / "data") != {}


@pytest.mark.parametrize("codec", ["tiny", "codec_16k"])
def test_batches_loaders_and_devices_change_no_byte(data_dir, codec_folder, tmp_path, monkeypatch, codec, noise):
    """Two processes, as for two GPUs, with threads that load; recordings of one length are coded together."""
    for n in range(1, 5):
        soundfile.write(tmp_path / f"{n}.wav", noise(1.0, 16000, n), 16000)
    soundfile.write(tmp_path / "5.wav", noise(0.0005), 16000)  # cannot be coded
    spec, folders = str(codec_folder) if codec == "tiny" else codec, (tmp_path / "one", tmp_path / "many")
    extract_codes([data_dir], [], folders[0], spec, Options(lang="en", skip_bad=1))
    codes, items = (
        kaldiio.load_scp(str(folders[0] / "data" / "codes.en.scp")),
        (folders[0] / "data" / "left_out.tsv").read_text(),
    )
    alone = load_codec(spec)
    wavs = {key: load_wav(tmp_path / f"{key[3:]}.wav", alone.sample_rate_hz)[0] for key in codes}
    assert len(wavs) == 6 and all(np.array_equal(codes[key], alone.encode(wav_N)) for key, wav_N in wavs.items())
    monkeypatch.setattr(extract, "SHARD_UTTERANCES", 4)
    monkeypatch.setattr(extract, "devices_for", lambda ngpu, nj: ["cpu"] * ngpu)
    extract_codes([data_dir], [], folders[1], spec, Options(lang="en", skip_bad=1, ngpu=2, nj=3))
    again = kaldiio.load_scp(str(folders[1] / "data" / "codes.en.scp"))
    assert list(again) == list(codes) and all(np.array_equal(again[key], codes[key]) for key in codes)
    assert (folders[1] / "data" / "left_out.tsv").read_text() == items.replace(str(folders[0]), str(folders[1]))


def test_few_recordings_wait_for_others_of_their_length():
    class Codec:
        sample_rate_hz, batch_sec = 10, BATCH_SEC

        def coded_samples(self, samples):
            return samples

    wavs = [(n, np.zeros(100 + 100 * (n % 40), np.float32)) for n in range(400)]
    taken, waiting, most = [], 0, 0

    def give():
        nonlocal waiting, most
        for key, wav_N in wavs:
            waiting, most = waiting + len(wav_N), max(most, waiting)
            yield key, wav_N

    for batch in in_batches(Codec(), give()):
        taken += batch
        waiting -= sum(map(len, batch.values()))
        assert len({len(wav_N) for wav_N in batch.values()}) == 1
        assert len(batch) == 1 or sum(map(len, batch.values())) < 2 * BATCH_SEC * 10
    assert sorted(taken) == list(range(400)) and most <= (WAITING_SEC + 500) * 10


def test_goes_on_where_it_was_interrupted(in_process, data_dir, codec_folder, tmp_path, monkeypatch, capsys):
    args = data_dir, tmp_path / "dump", codec_folder

    def die_in_the_second(shard):
        if shard.number == 1:
            raise KeyboardInterrupt
        return code_shard(shard)

    monkeypatch.setattr(extract, "code_shard", die_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        code(*args)
    assert not (tmp_path / "dump" / "data" / "codes.en.scp").exists()
    monkeypatch.setattr(extract, "code_shard", code_shard)
    code(*args)
    assert "3 shards of en, 1 of them already complete" in capsys.readouterr().out
    assert len(kaldiio.load_scp(str(tmp_path / "dump" / "data" / "codes.en.scp"))) == 7


def test_a_changed_recording_changes_its_shard_only(in_process, data_dir, codec_folder, tmp_path, capsys, noise):
    args = data_dir, tmp_path / "dump", codec_folder
    code(*args)
    soundfile.write(tmp_path / "6.wav", noise(1.0), 16000)
    code(*args)
    assert "2 of them already complete" in capsys.readouterr().out


def test_a_smaller_set_leaves_no_old_archive(in_process, data_dir, codec_folder, tmp_path):
    args = data_dir, tmp_path / "dump", codec_folder
    code(*args)
    for name in ("wav.scp", "utt2spk"):
        (data_dir / name).write_text("".join((data_dir / name).read_text().splitlines(keepends=True)[:3]))
    fix_spk2utt(data_dir)
    code(*args)
    assert list(files_of(tmp_path / "dump" / "data")) == ["codes.en.0.ark"]


def test_all_bad_recordings_are_listed_and_only_mended_ones_coded_again(
    in_process, data_dir, codec_folder, tmp_path, capsys, noise
):
    (tmp_path / "1.wav").unlink()
    soundfile.write(tmp_path / "3.wav", noise(0.0005), 16000)
    soundfile.write(tmp_path / "4.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    report = tmp_path / "dump" / "data" / "bad_items.tsv"
    with pytest.raises(
        ValueError, match=r"(?s)3 bad items \(NaN or infinite 1, cannot be coded 1, missing file 1\).*--skip_bad 3"
    ):
        code(data_dir, tmp_path / "dump", codec_folder)
    assert [(item.id, item.kind) for item in read_items(report)] == [
        ("utt1", "missing file"), ("utt3", "cannot be coded"), ("utt4", "NaN or infinite"),
    ]  # fmt: skip
    assert not (tmp_path / "dump" / "data" / "codes.en.scp").exists()
    for name in "34":
        soundfile.write(tmp_path / f"{name}.wav", noise(0.5), 16000)
    capsys.readouterr()
    code(data_dir, tmp_path / "dump", codec_folder, skip_bad=1)
    assert (
        "3 shards of en, 2 of them already complete" in capsys.readouterr().out
    )  # not coded again for the one that is left out
    assert not report.exists() and [item.id for item in read_items(report.with_name("left_out.tsv"))] == ["utt1"]
    assert len(kaldiio.load_scp(str(report.with_name("codes.en.scp")))) == 6


def test_a_test_set_is_never_shortened(in_process, data_dir, codec_folder, tmp_path):
    (tmp_path / "1.wav").unlink()
    with pytest.raises(ValueError, match="(?s)a test set: never shortened.*missing file 1"):
        extract_codes([], [data_dir], tmp_path / "dump", str(codec_folder), Options(skip_bad=100, lang="en"))


def test_a_set_is_not_emptied(in_process, data_dir, codec_folder, tmp_path):
    for n in range(7):
        (tmp_path / f"{n}.wav").unlink()
    with pytest.raises(ValueError, match="Nothing would be left of"):
        code(data_dir, tmp_path / "dump", codec_folder, skip_bad=100)


def test_a_damaged_archive_is_made_again(in_process, data_dir, codec_folder, tmp_path):
    args = data_dir, tmp_path / "dump", codec_folder
    code(*args)
    before = files_of(tmp_path / "dump" / "data")
    (tmp_path / "dump" / "data" / "codes.en.1.ark").write_bytes(b"cut")
    code(*args)
    assert files_of(tmp_path / "dump" / "data") == before


def test_a_text_only_set_is_checked_and_has_no_codes(codec_folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text.en").write_text("a hello\n")
    code(tmp_path / "data", tmp_path / "dump", codec_folder)
    assert not list((tmp_path / "dump" / "data").iterdir())
    (tmp_path / "data" / "text.en").write_text("a hello\nb x\tx\n")
    with pytest.raises(ValueError, match="control character"):
        code(tmp_path / "data", tmp_path / "dump", codec_folder)


def test_parts_on_several_machines_give_the_same_bytes_and_the_last_run_codes_what_is_missing(
    in_process, data_dir, codec_folder, tmp_path, capsys
):
    code(data_dir, tmp_path / "one", codec_folder)
    (tmp_path / "many" / "data").mkdir(parents=True)
    (tmp_path / "many" / "data" / ".codes.en.0.ark.x.part").touch()  # of a machine that died
    for part in ((1, 3), (3, 3)):
        code(data_dir, tmp_path / "many", codec_folder, part=part)
    assert not list((tmp_path / "many" / "data").glob("*.scp"))
    assert len(files_of(tmp_path / "many" / "data")) == 2
    capsys.readouterr()
    code(data_dir, tmp_path / "many", codec_folder)
    assert "3 shards of en, 2 of them already complete" in capsys.readouterr().out
    assert files_of(tmp_path / "many" / "data") == files_of(tmp_path / "one" / "data")
    scps = [(tmp_path / name / "data" / "codes.en.scp").read_text() for name in ("one", "many")]
    assert scps[0].replace("/one/", "/many/") == scps[1]
    assert not list((tmp_path / "many" / "data").glob(".*.part"))


def test_bad_recordings_of_all_parts_are_reported_together_at_the_end(in_process, data_dir, codec_folder, tmp_path):
    for name in ("1", "6"):
        (tmp_path / f"{name}.wav").unlink()
    for part in ((1, 2), (2, 2)):
        code(data_dir, tmp_path / "dump", codec_folder, part=part)
    with pytest.raises(ValueError, match=r"(?s)2 bad items \(missing file 2\).*--skip_bad 2"):
        code(data_dir, tmp_path / "dump", codec_folder)


def test_recordings_of_an_archive_are_coded_as_their_files_and_again_when_it_changes(
    in_process, data_dir, codec_folder, tmp_path
):
    code(data_dir, tmp_path / "dump", codec_folder)
    lines = [line.split() for line in (data_dir / "wav.scp").read_text().splitlines()]
    recordings = {key: soundfile.read(path, dtype="int16")[::-1] for key, path in lines}
    kaldiio.save_ark(str(tmp_path / "wav.ark"), recordings, scp=str(data_dir / "wav.scp"))
    code(data_dir, tmp_path / "ark", codec_folder)
    assert files_of(tmp_path / "ark/data") == files_of(tmp_path / "dump/data") != {}
    kaldiio.save_ark(str(tmp_path / "wav.ark"), {key: (rate, wav_T // 2) for key, (rate, wav_T) in recordings.items()})
    code(data_dir, tmp_path / "ark", codec_folder)
    assert files_of(tmp_path / "ark/data") != files_of(tmp_path / "dump/data")
