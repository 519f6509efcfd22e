"""Multilingual LibriSpeech, on a small tree of its published layout."""

import json
import re
import subprocess

import pytest

from speechlm.data.corpora import mls
from speechlm.data.corpora.mls import Options, prepare
from speechlm.data.kaldi import read_audio, read_table, require_valid
from tests.corpora import mls as small
from tests.corpora.recipe import ROOT, TINY, run_recipe
from tests.corpora.warm import warm_python
from tests.shell.shell import run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small.make_mls(tmp_path_factory.mktemp("mls"))


def options(corpus, folder, **more):
    given = {"langs": "pl", "format": "opus", "mls": str(corpus), "partial": True} | more
    return Options(**given, downloads=folder / "downloads", datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    rows = run_recipe("mls", tmp_path, f"--mls {corpus} --downloads {tmp_path} --partial true")
    assert [(row["test_set"], row["metric"], row["n"]) for row in rows] == [("test_pl", "WER", 2)]


def test_several_languages_train_one_model(corpus, tmp_path):
    german = small.LANGUAGES["de"][0]
    (tmp_path / "mls").mkdir()
    (tmp_path / "mls/mls_polish_opus").symlink_to(corpus / "mls_polish_opus")
    (tmp_path / "mls" / f"{german}_opus").symlink_to(corpus / german)
    for path in list((corpus / german).rglob("*.flac")):
        path.with_suffix(".opus").write_bytes(path.read_bytes())  # files are decoded by content
    folders = [word for name in ("data", "dump", "exp") for word in (f"--{name}dir", tmp_path / name)]
    local = f"--mls {tmp_path / 'mls'} --downloads {tmp_path} --partial true"
    for stages in (["--stop_stage", "4"], ["--stage", "6"]):
        command = [
            ROOT / "egs/mls/run.sh",
            "--langs",
            "pl de",
            *TINY,
            "--python",
            warm_python(),
            *folders,
            *stages,
            "--local_data_opts",
            local,
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    sizes = re.findall(r"train examples: (\{.*\})", (tmp_path / "exp/run.log").read_text())[-1]
    assert json.loads(sizes.replace("'", '"')) == {
        "continuation": 5,
        "asr": 5,
        "tts": 5,
        "lm": 5,
    }, "three of Polish, two of German"


def test_sets_and_limited_supervision(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    said = capsys.readouterr().out
    assert (
        "licence: CC BY 4.0" in said
        and "on disk: about 3.2 GB" in said
        and "train_pl: 4 (25043), 0.00 (103.65)" in said
    )
    assert "train_10h_pl: 1 recordings are not in transcripts.txt and not used (first: 1_2_000003)" in said
    for name in ("train", "dev", "test", "train_1h", "train_10h"):
        require_valid(tmp_path / f"data/{name}_pl")
    train, test = tmp_path / "data/train_pl", tmp_path / "data/test_pl"
    assert read_table(train / "text.pl")["6892_4910_000000"] == "zażółć gęślą jaźń"
    assert (train / "unusable.tsv").read_text().split("\t")[:2] == [small.MISSING, "missing file"]
    assert read_audio(test, "pl")[small.EMPTY_TEST].path.endswith("test_pl/stand_in.wav")
    assert sorted(read_table(tmp_path / "data/train_10h_pl/utt2spk")) == ["6892_4910_000000", "8758_8338_000000"]
    assert read_table(tmp_path / "data/train_1h_pl/utt2spk") == {"6892_4910_000000": "6892"}


def test_flac_and_the_published_sizes(corpus, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="(?s)8 figure.*train_de: 2 utterances, published 469942.*test_de: 0.00 hours, published 14.29"
    ):
        prepare(options(corpus, tmp_path, langs="de", format="flac", partial=False))
    monkeypatch.setitem(mls.UTTERANCES, "de", (2, 1, 1, 1, 1))
    monkeypatch.setitem(mls.HOURS, "de", (None, None, None))
    prepare(options(corpus, tmp_path, langs="de", format="flac", partial=False))
    assert read_audio(tmp_path / "data/dev_de", "de")["1874_1807_000000"].path.endswith(
        "audio/1874/1807/1874_1807_000000.flac"
    )


def test_languages_stand_first(tmp_path):
    done = run([ROOT / "egs/mls/run.sh", "--stage", "2", "--langs", "de"], tmp_path)
    assert done.returncode == 2 and "--langs must stand first" in done.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"langs": "pl zh"}, "--langs 'pl zh' --format opus: expected some of en, de"),
        ({"format": "mp3"}, "and opus or flac"),
        ({"langs": "fr"}, "found no mls_french_opus/ or mls_french_opus.tar.gz"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))
