"""GigaSpeech, GigaST and GigaS2S, on small files of their published layout."""

import pytest

from speechlm.data.corpora import gigast
from speechlm.data.corpora.gigast import Options, prepare, spell
from speechlm.data.kaldi import read_audio, read_table, require_valid
from tests.corpora.gigast import NO_SPEECH, make_gigaspeech
from tests.corpora.recipe import run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_gigaspeech(tmp_path_factory.mktemp("gigast"))


def options(corpus, folder, **more):
    speech, translations, spoken = map(str, corpus)
    given = {
        "gigaspeech": speech,
        "gigast": translations,
        "gigas2s": spoken,
        "subset": "XL",
        "dev_recordings": 0,
        "partial": True,
    } | more
    return Options(**given, downloads=folder, datadir=folder / "data")


def test_the_recipe_runs_to_a_score(corpus, tmp_path):
    speech, translations, spoken = corpus
    local = f"--gigaspeech {speech} --gigast {translations} --gigas2s {spoken} --downloads {tmp_path} --partial true"
    rows = run_recipe("gigast", tmp_path, local, "--tasks", "s2tt")
    assert {(row["metric"], row["n"]) for row in rows} == {("BLEU", 2), ("chrF", 2)}
    assert "tok:zh" in rows[0]["signature"] + rows[1]["signature"]


def test_segments_and_sides(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    assert "1 segments no speech, 1 segments without a translation" in capsys.readouterr().out
    train = tmp_path / "data/train"
    for name in ("train", "dev", "test"):
        require_valid(tmp_path / "data" / name)
    assert read_table(train / "text.en")["AUD0000000001_S0000000"] == "hello, my friend."
    assert read_table(train / "text.zh")["AUD0000000001_S0000003"] == "谁在那里？"
    spans = read_audio(train, "en")
    assert (
        spans["AUD0000000001_S0000000"].path.endswith("audio/audiobook/P0001/AUD0000000001.opus")
        and spans["AUD0000000001_S0000000"].start_sec == 0.5
    )
    assert set(spans) == set(read_audio(train, "zh")) and NO_SPEECH not in spans
    assert (train / "unusable.tsv").read_text().startswith(f"{NO_SPEECH}\tmissing file\twav.scp.zh")
    assert read_table(train / "utt2spk")["POD0000000002_S0000000"] == "POD0000000002"


def test_without_mandarin_speech_all_translations_are_used(corpus, tmp_path):
    prepare(options(corpus, tmp_path, gigas2s=""))
    assert NO_SPEECH in read_audio(tmp_path / "data/train", "en") and not (tmp_path / "data/train/wav.scp.zh").exists()


def test_a_development_set_of_whole_recordings(corpus, tmp_path):
    prepare(options(corpus, tmp_path, dev_recordings=1))
    assert set(read_table(tmp_path / "data/dev/utt2spk").values()) == {"POD0000000002"}
    assert set(read_table(tmp_path / "data/train/utt2spk").values()) == {"AUD0000000001"}


def test_the_published_sizes_are_checked(corpus, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="(?s)train: 5 utterances, published 7650889.*test: 2 utterances, published 19888"
    ):
        prepare(options(corpus, tmp_path, gigas2s="", partial=False))
    monkeypatch.setitem(gigast.PUBLISHED, "XL", gigast.Expected(5))
    monkeypatch.setattr(gigast, "TEST", gigast.Expected(2))
    prepare(options(corpus, tmp_path, gigas2s="", partial=False))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gigaspeech": ""}, "to fetch by hand is GigaSpeech, after accepting its terms"),
        ({"subset": "XXL"}, "--subset XXL: expected one of XS, S"),
        ({"gigas2s": "/nowhere"}, "neither a folder, nor an archive"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))


def test_a_file_cut_short_is_named(corpus, tmp_path):
    (tmp_path / "GigaST.zh.json").write_bytes(corpus[1].read_bytes()[:200])
    with pytest.raises(ValueError, match="not a whole GigaSpeech or GigaST file"):
        prepare(options(corpus, tmp_path, gigast=str(tmp_path / "GigaST.zh.json")))


def test_transcripts_are_written_as_people_write():
    assert spell("HELLO <COMMA> IT'S YOU <EXCLAMATIONPOINT> WHO <QUESTIONMARK>") == "hello, it's you! who?"
