"""What cannot be scored is known before the training."""

import pytest

from speechlm.bin.check_scoring import check


def test_a_judge_that_is_there_and_one_that_is_not(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path}: found no weights in this folder. Expected a file .safetensors"):
        check("s2st", ["mini"], f"whisper:{tmp_path}")
    assert check("asr", ["mini"], "whisper:/nowhere") == "WER", "needs no recogniser"
    assert "judge:en-ctc" in check("tts", ["mini"], "judge_natural")
    with pytest.raises(ValueError, match="hf download openai/whisper-base.en"):
        check("tts", ["mini"], "whisper:openai/whisper-base.en")


def test_the_command_says_how_to_train_all_the_same(monkeypatch):
    from speechlm.bin import check_scoring

    monkeypatch.setattr("sys.argv", "check_scoring --tasks asr tts --judge whisper:openai/whisper-base.en".split())
    with pytest.raises(ValueError, match="(?s)^tts could not be scored: .*give --stop_stage 8"):
        check_scoring.main()
