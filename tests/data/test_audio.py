"""Audio: any rate and channel count becomes float32 mono; what cannot be used is refused by name."""

import numpy as np
import pytest
import soundfile

from speechlm.data.audio import load_wav, save_wav


def test_stereo_8khz_becomes_mono_16khz(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), 8000)
    wav_T, rate_hz = load_wav(tmp_path / "a.wav", 16000)
    assert (wav_T.dtype, wav_T.shape, rate_hz) == (np.float32, (16000,), 16000)
    assert np.abs(np.fft.rfft(wav_T)).argmax() == 440
    assert load_wav(tmp_path / "a.wav", start_sec=0.25, end_sec=0.5)[0].shape == (2000,)


def test_save_and_load_agree_to_16_bits(tmp_path):
    wav_T = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    save_wav(tmp_path / "a.wav", wav_T, 24000)
    assert np.abs(load_wav(tmp_path / "a.wav")[0] - wav_T).max() < 1e-4


def test_unusable_files_are_refused_with_the_reason(tmp_path):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_bytes(b"hello, this is text")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan, np.float32), 16000, subtype="FLOAT")
    reasons = {"gone": "no such file", "zero": "an empty file", "text": "not an audio file", "empty": "no samples", "nan": "NaN"}
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            load_wav(tmp_path / f"{name}.wav")
