"""What codes must say: letters, whole recordings as clips, a training whose codes say more."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechlm.codecs import load_codec
from speechlm.codecs.clips import Clips, ClipSettings
from speechlm.codecs.letters import ALPHABET, Reader, reading_loss, spell
from speechlm.codecs.train import train_vocos
from speechlm.data.kaldi import write_data_dir

from .test_train import check_resuming, tiny_training


def letters_of(text: str) -> str:
    return "".join(ALPHABET[number] for number in spell(text))


@torch.no_grad()
def read_letters(reader: Reader, latents_BDT: torch.Tensor) -> list[str]:
    """Return the most likely text of each: the best letter of each step, repeats and blanks dropped."""
    texts = []
    for best_S in reader(latents_BDT).argmax(-1).tolist():
        kept = [number for number, before in zip(best_S, [0, *best_S]) if number != before]
        texts.append("".join(ALPHABET[number] for number in kept if number))
    return texts


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


def letters_training(**changes):
    sizes = {"dimension": 16, "num_codebooks": 3, "codebook_size": 16, "letter_codebooks": 1, "letter_dimension": 8}
    model = replace(tiny_training().model, **sizes)
    settings = {
        "model": model,
        "letter_clip_sec": 1.0,
        "code_steps": 4,
        "steps": 4,
        "checkpoint_steps": 2,
        "log_steps": 2,
    }
    return tiny_training(**settings | changes)


def test_a_training_with_letters_goes_on_where_it_was(spoken_dir, tmp_path, monkeypatch):
    log = check_resuming(letters_training(), [str(spoken_dir)], tmp_path, monkeypatch)
    assert "coded_letters" in log


def test_codebooks_of_letters_and_of_sound_code_parts_of_their_own(spoken_dir, tmp_path, noise):
    train_vocos(letters_training(steps=20, code_steps=20), [str(spoken_dir)], [], tmp_path)
    codec = load_codec(str(tmp_path))
    first, *others = (layer._codebook.embed for layer in codec.model.quantizer.vq.layers)
    assert not first[:, :16].any() and all(not embed[:, 16:].any() for embed in others)
    assert first[:, 16:].any() and all(embed[:, :16].any() for embed in others)
    codes_TK = codec.encode(noise(1.0))
    assert codes_TK.shape[1] == 3 and len(set(codes_TK[:, 0])) > 1
    assert len(codec.decode(codes_TK)) == len(codec.decode(codes_TK[:, :1]))
