"""One id space: disjoint ranges, saved and checked."""

import json

import pytest

from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary


def make(**changes) -> Vocabulary:
    values = {
        "text_size": 10,
        "specials": (*BOUNDARIES, "<asr>", "<en>"),
        "codebook_sizes": (4, 4),
        "pattern": "parallel",
        "text_fingerprint": "t",
        "codec_fingerprint": "c",
    }
    return Vocabulary(**(values | changes))


def test_ranges_follow_each_other():
    vocab = make()
    assert vocab.pad_id == 10
    assert vocab.codebook_starts == (17, 21)
    assert vocab.size == 25


def test_saved_and_loaded_is_the_same(tmp_path):
    make().save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == make()


def test_an_edited_file_is_refused(tmp_path):
    make().save(tmp_path / "vocab.json")
    content = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(content | {"specials": content["specials"][::-1]}))
    with pytest.raises(ValueError, match="the file was edited"):
        Vocabulary.load(tmp_path / "vocab.json")


def test_missing_special_token_says_what_there_is():
    with pytest.raises(ValueError, match="no special token <zh>.*<en>"):
        make().special_id("<zh>")
