"""Building a training: what is said of a training's data before it starts."""

import json

import numpy as np

from speechlm.train.build import note_examples
from speechlm.train.lengths import Lengths


class Corpus:
    def sizes(self) -> dict[str, int]:
        return {"asr": 9, "tts": 7}

    def unprompted(self) -> dict[str, int]:
        return {"tts": 3}


def test_examples_without_a_voice_prompt_are_said_and_recorded(tmp_path, capsys):
    counts = np.array([9, 8]), np.array([5, 6]), np.array([3, 7])
    lengths = [Lengths("asr", *counts, 9), Lengths("s2st", counts[0], np.array([8, 11]), counts[2], 9)]
    note_examples(Corpus(), tmp_path, "train", lengths)
    assert (
        "train: 3 of 7 examples of tts have no voice prompt: no other recording of their speaker"
        in capsys.readouterr().out
    )
    found = json.loads((tmp_path / "examples_train.json").read_text())
    assert found["examples"] == {"asr": 9, "tts": 7} and found["without_voice_prompt"] == {"tts": 3}
    assert found["longest_target"] == {"asr": 7, "s2st": 7} and found["longest_heard"] == {"asr": 6, "s2st": 5}
