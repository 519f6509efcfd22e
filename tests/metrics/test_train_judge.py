"""Training the judge, through ESPnet's own trainer, from Kaldi directories to a judge that loads."""

import sys

import pytest
import yaml

from speechlm.bin import train_judge
from speechlm.data.audio import save_wav
from speechlm.data.espeak import Voice, speak
from speechlm.data.kaldi import write_data_dir
from speechlm.metrics.judge import Judge


@pytest.fixture
def corpus(tmp_path):
    """Four spoken sentences."""
    tables = {"text": {f"v-{i}": text for i, text in enumerate(["One dog.", "two cats", "Three!", "four"])}}
    tables["wav.scp"] = {key: str(tmp_path / f"{key}.wav") for key in tables["text"]}
    tables["utt2spk"] = dict.fromkeys(tables["text"], "v")
    for key, path in tables["wav.scp"].items():
        save_wav(path, speak(tables["text"][key], "en-us", Voice("v"), 16000), 16000)
    write_data_dir(tmp_path / "data", tables)
    return tmp_path


def test_a_judge_is_trained_and_loads(corpus, monkeypatch, capsys):
    config = yaml.safe_load(train_judge.DEFAULT_CONFIG.read_text())
    (corpus / "short.yaml").write_text("num_iters_per_epoch: 2\n")
    config["encoder_conf"] |= {"output_size": 16, "linear_units": 16, "num_blocks": 1}
    (corpus / "tiny.yaml").write_text(yaml.safe_dump(config))
    out, data = corpus / "exp", str(corpus / "data")
    arguments = [
        "--data",
        data,
        "--dev",
        data,
        "--out",
        str(out),
        "--copies",
        "2",
        "--config",
        str(corpus / "tiny.yaml"),
        str(corpus / "short.yaml"),
        "--epochs",
        "1",
    ]
    for start in ([], ["--init", str(out), "--max_lr", "0.0001"]):
        monkeypatch.setattr(sys, "argv", ["train_judge", *arguments, *start])
        train_judge.main()
    assert yaml.safe_load((out / "espnet/config.yaml").read_text())["num_iters_per_epoch"] == 2
    assert "new_training: done again" in capsys.readouterr().out
    assert (out / "dump/train/text").read_text().splitlines()[:3] == [
        "0-v-0-0 one dog",
        "0-v-0-1 one dog",
        "0-v-1-0 two cats",
    ]
    assert len(Judge.load(out).transcribe([corpus / "v-0.wav"])) == 1
    (out / "espnet/valid.cer_ctc.best.pth").unlink()
    with pytest.raises(ValueError, match="no best epoch yet"):
        train_judge.export(out, "en")
