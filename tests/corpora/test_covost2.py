"""CoVoST 2, on a small tree of its published layout."""

import pytest

from speechlm.data.corpora import covost2
from speechlm.data.corpora.covost2 import Options, check_pair, prepare
from speechlm.data.kaldi import read_audio, read_table, require_valid
from tests.corpora import covost2 as small
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covost2")
    return small.make_common_voice(folder), small.make_covost2(folder)


def options(corpus, folder, **more):
    voice, table = corpus
    return Options(
        **{"src_lang": "es", "tgt_lang": "en", "common_voice": str(voice), "covost2": str(table)} | more,
        downloads=folder,
        datadir=folder / "data",
    )


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    voice, table = corpus
    local = f"--common_voice {voice} --covost2 {table} --downloads {tmp_path} --partial true"
    rows = run_recipe("covost2", tmp_path, local, "es_en", "--tasks", "s2tt")
    assert {(row["task"], row["metric"], row["n"]) for row in rows} >= {("s2tt", "BLEU", 2), ("s2tt", "chrF", 2)}


def test_sets_and_odd_clips(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path, partial=True))
    said = capsys.readouterr().out
    assert "licence: translations CC0" in said and "train: 6 (79015)" in said and "test: 2 (13221)" in said
    train, test = tmp_path / "data/train", tmp_path / "data/test"
    require_valid(train)
    require_valid(test)
    texts = read_table(train / "text.en")
    names = [small.clip(i).removesuffix(".mp3") for i in range(10)]
    assert sorted(texts) == [names[i] for i in (0, 1, 2, 5)] and texts[names[0]] == 'the black dog "eats bread'
    assert read_table(train / "text.es")[names[2]] == "mi hermana canta bien"
    unusable = [line.split("\t")[:2] for line in (train / "unusable.tsv").read_text().splitlines()]
    assert unusable == [[names[small.EMPTY_TRAIN], "empty file"], [names[small.MISSING], "missing file"]]
    assert sorted(read_table(test / "text.en")) == names[8:], "an empty recording never shortens a test set"
    assert read_audio(test, "es")[names[small.EMPTY_TEST]].path.endswith("test/stand_in.wav")
    assert (test / "unusable.tsv").read_text().split("\t")[1] == "empty file"


def test_a_part_is_not_taken_for_the_whole(corpus, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="(?s)3 figure.*train: 6 utterances, published 79015.*--partial true"):
        prepare(options(corpus, tmp_path))
    monkeypatch.setitem(covost2.UTTERANCES, "es", (6, 2, 2))
    prepare(options(corpus, tmp_path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tgt_lang": "zh"}, "es --tgt_lang zh: not a pair of CoVoST 2. It has ar, ca,"),
        ({"common_voice": ""}, "to fetch by hand are the clips of Common Voice 4"),
        ({"common_voice": "/nowhere"}, "/nowhere: neither a folder, nor an archive, nor an address"),
        ({"src_lang": "fr"}, "found no fr/validated.tsv up to"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))


def test_another_language_of_common_voice_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="found common_voice_es_18885718.mp3; expected common_voice_fr_"):
        prepare(options(corpus, tmp_path, src_lang="fr", common_voice=str(corpus[0] / "es")))


def test_a_test_clip_that_can_be_fetched_is_asked_for(tmp_path):
    corpus = small.make_common_voice(tmp_path), small.make_covost2(tmp_path)
    (corpus[0] / "es/clips" / small.clip(8)).unlink()
    with pytest.raises(
        ValueError, match="test: 1 of 2 utterances lack a side .missing file 1: common_voice_es_18885726.*never"
    ):
        prepare(options(corpus, tmp_path))


def test_pairs():
    for pair in (("en", "zh"), ("zh", "en"), ("sv", "en"), ("fr", "en")):
        check_pair(*pair)
    with pytest.raises(ValueError):
        check_pair("en", "fr")
