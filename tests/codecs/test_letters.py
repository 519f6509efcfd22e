"""What codes must say: letters, whole recordings as clips, a training whose codes say more."""

import numpy as np
import pytest
import torch

from speechlm.codecs.clips import Clips, ClipSettings
from speechlm.codecs.letters import ALPHABET, Reader, read_letters, reading_loss, spell
from speechlm.codecs.train import train_vocos
from speechlm.data.kaldi import write_data_dir

from .test_train import tiny_training


def letters_of(text: str) -> str:
    return "".join(ALPHABET[number] for number in spell(text))


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("¿Qué  hace el niño?", "que hace el nino"),
        ("It's well-known.", "it s well known"),
        ("he has 3 cats", ""),
        ("他们", ""),
    ],
)
def test_letters_of_a_text(text, spoken):
    assert letters_of(text) == spoken


def test_a_reader_learns_to_read():
    torch.manual_seed(0)
    texts = ["moon", "an owl", ""]
    latents_BDT = torch.randn(3, 8, 6)
    reader, letters = Reader(8), [spell(text) for text in texts]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = reading_loss(reader, latents_BDT, letters)
        loss.backward()
        optimizer.step()
    assert read_letters(reader, latents_BDT)[:2] == ["moon", "an owl"]
    assert reading_loss(reader, latents_BDT, [[], [], []]) == 0, "nothing to read"
    assert reading_loss(reader, latents_BDT[2:], [spell("far too long for so short a sound")]) == 0


@pytest.fixture
def spoken_dir(data_dir):
    """The seven recordings, 0.3 to 0.6 s, with what they say."""
    texts = {f"utt{n}": word for n, word in enumerate("zero one two three four five six".split())}
    write_data_dir(data_dir, {"text": texts})
    return data_dir


def test_clips_of_whole_recordings(spoken_dir):
    clips = Clips([str(spoken_dir)], ClipSettings(8000, 3200, 0.0))
    clips_BN, texts = clips.draw_spoken(40, 1.3, np.random.default_rng(0))
    assert clips_BN.shape == (40, 10400)
    (joined,) = clips.folders
    for clip_N, text in zip(clips_BN, texts):
        words = text.split()
        first = joined.texts.index(words[0])
        assert joined.texts[first : first + len(words)] == words
        spoken = joined.starts[first + len(words)] - joined.starts[first]
        assert spoken - 5 <= len(np.trim_zeros(clip_N.numpy())) <= spoken
    assert {len(text.split()) for text in texts} > {2}
    _, texts = clips.draw_spoken(9, 0.25, np.random.default_rng(0))
    assert set(texts) == {""}, "no recording is so short"


def test_a_training_that_reads_goes_on_where_it_was(spoken_dir, tmp_path):
    torch.set_num_threads(1)
    settings = {"reading_weight": 0.5, "reading_clip_sec": 1.0, "code_steps": 4, "steps": 4, "checkpoint_steps": 2}
    train_vocos(tiny_training(**settings), [str(spoken_dir)], [], tmp_path / "whole")
    train_vocos(tiny_training(**settings | {"steps": 2}), [str(spoken_dir)], [], tmp_path / "part")
    train_vocos(tiny_training(**settings), [str(spoken_dir)], [], tmp_path / "part")
    whole, part = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "part"))
    assert whole == part
    assert "letters1" in (tmp_path / "whole" / "train.log").read_text()
