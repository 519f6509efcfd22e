"""CVSS, on a small tree of its published layout."""

import pytest

from speechlm.data.corpora.cvss import Options, prepare
from speechlm.data.kaldi import read_audio, read_table, require_valid
from tests.corpora.covost2 import EMPTY_TRAIN, MISSING, clip, make_common_voice
from tests.corpora.cvss import NO_TARGET, UNKNOWN, make_cvss
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cvss")
    return make_common_voice(folder), make_cvss(folder)


def options(corpus, folder, **more):
    given = {
        "src_lang": "es",
        "version": "c",
        "common_voice": str(corpus[0]),
        "cvss": str(corpus[1]),
        "partial": True,
    } | more
    return Options(**given, downloads=folder, datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    local = f"--common_voice {corpus[0]} --cvss {corpus[1]} --downloads {tmp_path} --partial true"
    rows = run_recipe("cvss", tmp_path, local, "es", "--tasks", "s2st")
    assert {(row["model"], row["metric"]) for row in rows} >= {
        ("sft", "ASR-BLEU"),
        ("originals", "ASR-BLEU"),
        ("codec reconstruction", "ASR-BLEU"),
    }


def test_pairs_that_lack_a_side_are_listed_by_side(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    assert (
        "1 recordings are not in train.tsv and not used (first: common_voice_es_1000.mp3.wav)"
        in capsys.readouterr().out
    )
    train = tmp_path / "data/train"
    require_valid(train)
    require_valid(tmp_path / "data/test")
    assert sorted(read_table(train / "text.en")) == sorted(clip(i).removesuffix(".mp3") for i in (0, 1, 2))
    assert read_table(train / "text.en")[clip(0).removesuffix(".mp3")] == "the black dog eats bread"
    assert all(span.path.endswith(".mp3.wav") for span in read_audio(train, "en").values())
    unusable = {tuple(line.split("\t")[:3]) for line in (train / "unusable.tsv").read_text().splitlines()}
    ids = [clip(i).removesuffix(".mp3") for i in range(10)]
    unknown = UNKNOWN.removesuffix(".mp3")
    assert unusable == {
        (ids[0], "duplicate id", "the corpus's list"), (ids[EMPTY_TRAIN], "empty file", "wav.scp.es"), (ids[MISSING],
        "missing file", "wav.scp.es"),
        (ids[NO_TARGET], "missing file", "wav.scp.en"), (unknown, "missing file", "wav.scp.es"), (unknown, "empty",
        "text.es"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"src_lang": "en"}, "--src_lang en --version c: expected a language of ar, ca,"),
        ({"version": "d"}, "and c or t"),
        ({"cvss": "/nowhere"}, "/nowhere: neither a folder, nor an archive"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))
