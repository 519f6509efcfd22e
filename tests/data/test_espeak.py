"""Synthetic speech: audible, in each language, and the same in every fresh process."""

import multiprocessing

import numpy as np
import pytest

from speechlm.data.espeak import Voice, speak, trim_silence


def spoken(_job) -> list[np.ndarray]:
    voice = Voice("test", 90, 130, 105, 180)
    return [
        speak(text, lang, voice, 16000)
        for text, lang in (("a red car", "en-us"), ("un coche rojo", "es"), ("红色的车", "cmn"))
    ]


def test_fresh_processes_speak_the_same():
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        one, two = pool.map(spoken, [0, 1], chunksize=1)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
        assert 0.3 * 16000 < len(a) < 3 * 16000 and 0.05 < np.abs(a).max() <= 1


def test_unknown_language_is_named():
    with pytest.raises(ValueError, match="no language 'xx'"):
        speak("hello", "xx", Voice("test"), 16000)


def test_silence_is_trimmed_to_what_is_kept():
    wav_T = np.zeros(1000, dtype=np.float32)
    wav_T[400:600] = 0.5
    assert len(trim_silence(wav_T, keep=50)) == 300
