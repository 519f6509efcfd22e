"""AISHELL-1 and AISHELL-2, on small trees of their published layouts."""

import shutil
import tarfile

import pytest

from speechlm.data.corpora import aishell
from speechlm.data.corpora.aishell import Options, prepare
from speechlm.data.kaldi import read_table, require_valid
from tests.corpora import aishell as small
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small.make_aishell(tmp_path_factory.mktemp("aishell"))


def options(folder, **more):
    given = {"version": 1, "aishell": "", "aishell2": "", "partial": True} | more
    return Options(**given, downloads=folder / "downloads", datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    rows = run_recipe("aishell", tmp_path, f"--aishell {corpus} --downloads {tmp_path / 'downloads'} --partial true")
    assert [(row["test_set"], row["metric"], row["n"]) for row in rows] == [("test", "CER", 2)]
    assert "protocol:aishell_cer" in rows[0]["signature"]


def test_sets_and_odd_transcripts(corpus, tmp_path, capsys):
    prepare(options(tmp_path, aishell=str(corpus)))
    said = capsys.readouterr().out
    assert "licence: Apache 2.0" in said and "train: 5 (120098)" in said and "test: 2 (7176), 0.00 (10.0303)" in said
    assert f"1 recordings are not in the transcripts and not used (first: {small.UNTRANSCRIBED})" in said
    for name in ("train", "dev", "test"):
        require_valid(tmp_path / "data" / name)
    texts = read_table(tmp_path / "data/train/text.zh")
    assert texts["BAC009S0002W0000"] == "而对楼市成交" and texts["BAC009S0003W0001"] == "他用app store下载"
    assert (tmp_path / "data/train/unusable.tsv").read_text().split("\t")[:2] == [small.MISSING, "missing file"]
    assert read_table(tmp_path / "data/dev/utt2spk") == {f"BAC009S0724W000{i}": "S0724" for i in range(2)}


def test_an_unpacked_copy_and_its_size(corpus, tmp_path, monkeypatch):
    with tarfile.open(corpus / "data_aishell.tgz") as tar:
        tar.extractall(tmp_path, filter="data")
    shutil.rmtree(tmp_path / "data_aishell/wav")
    shutil.copytree(corpus / "wav", tmp_path / "data_aishell/wav")
    with pytest.raises(
        ValueError, match="(?s)train: 5 utterances, published 120098.*test: 0.00 hours, published 10.03.*--partial true"
    ):
        prepare(options(tmp_path, aishell=str(tmp_path), partial=False))
    for name, size in (("train", 5), ("dev", 2), ("test", 2)):
        monkeypatch.setitem(aishell.PUBLISHED, name, aishell.Expected(size))
    prepare(options(tmp_path, aishell=str(tmp_path), partial=False))
    assert not (tmp_path / "downloads").exists()


def test_the_second_corpus(tmp_path, monkeypatch):
    corpus = small.make_aishell2(tmp_path / "AISHELL-2")
    with pytest.raises(ValueError, match="4 figure"):
        prepare(options(tmp_path, version=2, aishell2=str(corpus), partial=False))
    prepare(options(tmp_path, version=2, aishell2=str(corpus)))
    for name in ("train", "dev", "test_ios", "test_android", "test_mic"):
        require_valid(tmp_path / "data" / name)
    texts = read_table(tmp_path / "data/train/text.zh")
    assert texts == {"IC0001W0000": "打开电视", "IC0001W0001": "Here's一首歌"}, "without the bad utterance"
    assert read_table(tmp_path / "data/test_mic/utt2spk")["MC0001W0000"] == "C0001"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": 3}, "--version 3: expected 1 or 2"),
        ({"version": 2}, "to fetch by hand is all of it"),
        ({"version": 2, "aishell2": "/nowhere"}, "/nowhere/iOS/data/trans.txt: no such file"),
        ({"aishell": "/nowhere"}, "/nowhere: found no data_aishell/ or data_aishell.tgz"),
    ],
)
def test_mistakes_are_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(tmp_path, **changed))
