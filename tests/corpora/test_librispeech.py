"""LibriSpeech, on a small tree of its published layout."""

import shutil

import pytest

from speechlm.data.corpora import librispeech
from speechlm.data.corpora.librispeech import Options, prepare
from speechlm.data.corpora.prompts import continuation, cross_sentence
from speechlm.data.kaldi import read_audio, read_prompts, read_table, require_valid
from tests.corpora import librispeech as small
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small.make_librispeech(tmp_path_factory.mktemp("librispeech"))


def options(corpus, folder, **more):
    given = {"librispeech": str(corpus), "subset": "100", "prompts": "", "partial": True} | more
    return Options(**given, downloads=folder / "downloads", datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    local = f"--librispeech {corpus} --downloads {tmp_path} --partial true"
    rows = run_recipe("librispeech", tmp_path, local, "100", "--tasks", "asr", "--protocol", "librispeech_wer_whisper")
    assert {(row["test_set"], row["metric"], row["n"]) for row in rows} == {
        ("test_clean", "WER", 7),
        ("test_other", "WER", 2),
    }


def test_sets_and_odd_recordings(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    said = capsys.readouterr().out
    assert "licence: CC BY 4.0" in said and "train_100: 6 (28539)" in said and "test_clean: 7 (2620)" in said
    assert f"1 recordings are not in its *.trans.txt and not used (first: {small.UNLISTED})" in said
    for name in ("train_100", "dev_clean", "dev_other", "test_clean", "test_other"):
        require_valid(tmp_path / "data" / name)
    train, test = tmp_path / "data/train_100", tmp_path / "data/test_clean"
    texts = read_table(train / "text.en")
    assert texts["103-1240-0002"] == "i don't know" and small.MISSING not in texts and len(texts) == 4
    unusable = [line.split("\t")[:2] for line in (train / "unusable.tsv").read_text().splitlines()]
    assert unusable == [[small.MISSING, "missing file"], [small.EMPTY_TRAIN, "empty file"]]
    assert read_audio(test, "en")[small.EMPTY_TEST].path.endswith("test_clean/stand_in.wav"), (
        "a test set is never shortened"
    )
    assert read_table(test / "utt2spk")["61-70968-0000"] == "61"
    assert read_prompts(test) == {
        "61-70968-0001": "61-70968-0002", "61-70968-0002": "61-70968-0001",
        "908-31957-0000": "908-31957-0002", "908-31957-0002": "908-31957-0003",
    }, "4 to 10 s are synthesised; any utterance of 3 s or more may show the voice"  # fmt: skip


def test_a_published_list_of_prompts(corpus, tmp_path):
    (tmp_path / "list").write_text("61-70968-0001 61-70968-0000\n")
    prepare(options(corpus, tmp_path, prompts=str(tmp_path / "list")))
    assert read_prompts(tmp_path / "data/test_clean") == {"61-70968-0001": "61-70968-0000"}
    assert len(read_prompts(tmp_path / "data/test_other")) == 2, "the list is of test_clean"


def test_prompts_follow_from_ids_and_lengths_alone():
    seconds = {"a3": 5.0, "a1": 4.0, "a2": 2.9, "a4": 10.1, "b1": 6.0}
    speakers = {key: key[0] for key in seconds}
    assert cross_sentence(seconds, speakers) == {"a1": "a3", "a3": "a4"}, "b1 is alone, a4 too long to be tested"
    assert continuation(seconds) == {"a1": "a1", "a3": "a3", "b1": "b1"}


def test_an_unpacked_copy_is_used_where_it_is(corpus, tmp_path, monkeypatch):
    shutil.copytree(corpus / "LibriSpeech", tmp_path / "copy/LibriSpeech")
    with pytest.raises(ValueError, match="(?s)8 figure.*train_100: 6 utterances, published 28539.*--partial true"):
        prepare(options(tmp_path / "copy/LibriSpeech", tmp_path, partial=False))
    assert not (tmp_path / "downloads").exists()
    for part, size in (
        ("train-clean-100", 6),
        ("dev-clean", 2),
        ("dev-other", 1),
        ("test-clean", 7),
        ("test-other", 2),
    ):
        monkeypatch.setitem(librispeech.PUBLISHED, part, librispeech.Expected(size))
    prepare(options(tmp_path / "copy", tmp_path, partial=False))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"subset": "1000"}, "--subset 1000: expected one of 100, 460, 960"),
        ({"subset": "960"}, "found no train-clean-360/ or train-clean-360.tar.gz, train-other-500/ or"),
        ({"librispeech": "/nowhere"}, "/nowhere: found no train-clean-100/"),
        ({"prompts": "/nowhere"}, "/nowhere: found no such file"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))
