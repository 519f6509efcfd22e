"""The ceilings: originals and reconstructions are scored by the same code, once."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from speechlm.bin import ceiling
from speechlm.data.audio import save_wav
from speechlm.data.kaldi import write_data_dir
from speechlm.metrics import speech
from speechlm.metrics.rows import read_lines, read_rows


class Whisperer:
    """A codec whose reconstructions are a hundred times too quiet."""

    name, fingerprint, sample_rate_hz, batch_sec = "whisperer", "c0de" * 16, 16000, 60.0
    to = classmethod(lambda codec, device: codec)
    coded_samples = staticmethod(lambda samples: samples)
    encode_batch = staticmethod(np.stack)
    decode_batch = staticmethod(lambda wav_BT: wav_BT / 100)


class LoudnessJudge:
    """A recogniser that understands only loud speech."""

    signature, languages, calls = "judge:loud", ("en",), 0

    def transcribe(self, paths, lang):
        LoudnessJudge.calls += 1
        return [
            "the dog" if np.abs(ceiling.load_span(ceiling.Span(str(path)), 16000)).max() > 0.1 else "" for path in paths
        ]


@pytest.fixture
def parallel_set(tmp_path):
    tables = {"utt2spk": {"v1-a": "v1", "v1-b": "v1"}, "text.en": {"v1-a": "the dog", "v1-b": "the dog"}}
    tables["text.es"] = tables["text.en"]
    tables["wav.scp.en"] = {key: str(tmp_path / f"{key}.wav") for key in tables["utt2spk"]}
    for path in tables["wav.scp.en"].values():
        save_wav(path, np.tile(np.float32([0.5, -0.5]), 800), 16000)
    write_data_dir(tmp_path / "test", tables)
    return tmp_path / "test"


def test_rows_for_originals_and_reconstructions(parallel_set, tmp_path, monkeypatch):
    monkeypatch.setattr(ceiling, "load_codec", lambda spec: Whisperer)
    monkeypatch.setattr(speech, "load_recogniser", lambda *spec: LoudnessJudge())

    def run(experiment):
        arguments = f"--data {parallel_set} --lang en --codec c --out {experiment} --cache {tmp_path}/dump"
        monkeypatch.setattr(sys, "argv", ["ceiling", *arguments.split()])
        ceiling.main()
        return {path.relative_to(experiment): path.read_bytes() for path in sorted(experiment.rglob("*.json*"))}

    first = run(tmp_path / "one")
    files = (tmp_path / "one").rglob("score.json")
    rows = {(row.model, row.task, row.metric): row for path in files for row in read_rows(path)}
    assert rows["originals", "tts", "WER"].value == 0
    assert rows["codec reconstruction", "tts", "WER"].value == 100
    assert rows["codec reconstruction", "s2st", "ASR-BLEU"].value == 0
    assert "whisperer@c0dec0de" in rows["codec reconstruction", "tts", "WER"].signature
    lines = read_lines(tmp_path / "one/tts_reconstruction/utterances.jsonl")
    assert [line["hyp"] for line in lines] == ["", ""] and Path(lines[0]["wav"]).is_file()
    calls = LoudnessJudge.calls
    assert (
        run(tmp_path / "two") == first and LoudnessJudge.calls == calls
    )  # another experiment: nothing is coded or heard again
    save_wav(tmp_path / "v1-a.wav", np.tile(np.float32([0.05, -0.05]), 800), 16000)
    run(tmp_path / "two")
    assert LoudnessJudge.calls == calls + 2
    (parallel_set / "prompts").write_text("v1-b v1-a\n")
    run(tmp_path / "two")
    assert len(read_lines(tmp_path / "two/tts_originals/utterances.jsonl")) == 1  # as the synthesis is scored
    assert len(read_lines(tmp_path / "two/s2st_originals/utterances.jsonl")) == 2


def test_a_dump_that_may_only_be_read_is_scored_and_so_is_one_without_locks(
    parallel_set, tmp_path, monkeypatch, capsys
):
    def no_locks(stream, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(ceiling, "load_codec", lambda spec: Whisperer)
    monkeypatch.setattr(speech, "load_recogniser", lambda *spec: LoudnessJudge())
    monkeypatch.setattr(ceiling.fcntl, "flock", no_locks)
    arguments = f"--data {parallel_set} --lang en --codec c --out {tmp_path}/exp --cache /proc/dump"
    monkeypatch.setattr(sys, "argv", ["ceiling", *arguments.split()])
    ceiling.main()
    said = capsys.readouterr().out
    assert f"cannot be written to; recordings and transcripts of the ceiling go to {tmp_path}/exp/ceiling/" in said
    assert "locking does not work here (No locks available)" in said
    assert (tmp_path / "exp/tts_originals/score.json").is_file() and list((tmp_path / "exp/ceiling").rglob("wav.scp"))


def test_a_gpu_that_is_not_there_is_one_line(parallel_set, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    arguments = f"--data {parallel_set} --lang en --codec c --out {tmp_path}/exp --ngpu 1"
    monkeypatch.setattr(sys, "argv", ["ceiling", *arguments.split()])
    with pytest.raises(
        ValueError, match=r"--ngpu 1: found 0 GPUs here \(with CUDA_VISIBLE_DEVICES=\). .*give --ngpu 0, the CPU"
    ):
        ceiling.main()
