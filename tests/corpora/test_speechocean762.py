"""speechocean762, on a small tree of its published layout."""

import pytest

from speechlm.data.corpora import speechocean762
from speechlm.data.corpora.speechocean762 import Options, prepare
from speechlm.data.kaldi import read_audio, read_prompts, read_table, require_valid
from tests.corpora import speechocean762 as small
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small.make_speechocean(tmp_path_factory.mktemp("speechocean762"))


def options(corpus, folder, **more):
    given = {"speechocean": str(corpus), "partial": True} | more
    return Options(**given, downloads=folder / "downloads", datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    rows = run_recipe("speechocean762", tmp_path, f"--speechocean {corpus / 'tree'} --partial true", "--tasks", "asr")
    assert [(row["test_set"], row["metric"], row["n"]) for row in rows] == [("test", "WER", 5)]


def test_sets_and_odd_recordings(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    said = capsys.readouterr().out
    assert "licence: free" in said and "train: 3 (2498)" in said and "test: 5 (2500)" in said
    data = tmp_path / "data"
    for name in ("train", "dev", "test"):
        require_valid(data / name)
    assert read_table(data / "train/text.en") == {"000050000": "i don't know", "000120000": "good night"}
    assert set(read_table(data / "dev/utt2spk").values()) == {"0001"}, "no speaker of dev is in train"
    assert (data / "train/unusable.tsv").read_text().split("\t")[:2] == [small.MISSING, "missing file"]
    assert read_audio(data / "test", "en")[small.EMPTY].path.endswith("test/stand_in.wav"), (
        "a test set is never shortened"
    )
    assert read_prompts(data / "test") == {"000030000": "000030001", "000030001": "000030000"}


def test_a_part_of_the_corpus_is_refused_as_the_whole(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(speechocean762.LISTED, "test", 5)
    with pytest.raises(ValueError, match="(?s)1 figure.*train: 3 utterances, published 2498.*--partial true"):
        prepare(options(corpus, tmp_path, partial=False))


def test_mistakes_are_named(corpus, tmp_path):
    with pytest.raises(ValueError, match="/nowhere: found no speechocean762/ or speechocean762.tar.gz"):
        prepare(options(corpus, tmp_path, speechocean="/nowhere"))
    broken = tmp_path / "speechocean762/train"
    broken.mkdir(parents=True)
    for table, line in (("text", "1 A"), ("wav.scp", "1 x.WAV"), ("utt2spk", "2 2")):
        (broken / table).write_text(line + "\n")
    with pytest.raises(ValueError, match="train/utt2spk: lacks 1 of 1 utterances of wav.scp"):
        prepare(options(tmp_path, tmp_path))
