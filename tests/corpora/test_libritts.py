"""LibriTTS, on a small tree of its published layout."""

import json

import kaldiio
import pytest

from speechlm.data.corpora.libritts import Options, prepare
from speechlm.data.kaldi import read_audio, read_prompts, read_table, require_valid
from speechlm.data.manifest import load_manifest, read_codes
from tests.corpora import libritts as small
from tests.corpora.recipe import run_recipe

PROMPT_FRAMES = 16  # of conf/tiny/decode.yaml


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small.make_libritts(tmp_path_factory.mktemp("libritts"))


def options(corpus, folder, **more):
    given = {"libritts": str(corpus), "subset": "100", "prompts": "", "partial": True} | more
    return Options(**given, downloads=folder / "downloads", datadir=folder / "data")


def test_the_recipe_runs_to_scores_of_both_ways_to_prompt(corpus, tmp_path):
    rows = run_recipe("libritts", tmp_path, f"--libritts {corpus} --downloads {tmp_path} --partial true", "100")
    models = ("codec reconstruction", "originals", "sft")
    found = {(row["model"], row["test_set"], row["n"]) for row in rows if row["metric"] == "WER"}
    assert found == {(model, name, 3) for model in models for name in ("test_clean", "test_clean_continuation")}
    made = tmp_path / "exp/sft_tts/decode_tts_test_clean_continuation_en"
    records = load_manifest(tmp_path / "dump/codec_16k/test_clean_continuation/manifest.jsonl")
    record = next(record for record in records if record.prompt)
    places = read_table(made / "codes.scp")
    assert set(places) == {record.id for record in records if record.prompt}
    codes_TK = kaldiio.load_mat(places[record.id])
    assert (codes_TK[:PROMPT_FRAMES] == read_codes(record.codes["en"])[:PROMPT_FRAMES]).all(), (
        "it goes on from its own beginning"
    )
    lines = (tmp_path / "exp/sft_tts/score_tts_test_clean_en/utterances.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(read_prompts(tmp_path / "data/test_clean"))


def test_sets_and_what_lacks_a_side(corpus, tmp_path, capsys):
    prepare(options(corpus, tmp_path))
    said = capsys.readouterr().out
    assert "licence: CC BY 4.0" in said and "train_100: 5 (33236)" in said and "test_clean: 6 (4837)" in said
    assert "test_clean/prompts: 3 utterances to synthesise (cross_sentence), sha256" in said
    for name in ("train_100", "dev_clean", "dev_other", "test_clean", "test_clean_continuation", "test_other"):
        require_valid(tmp_path / "data" / name)
    train, test = tmp_path / "data/train_100", tmp_path / "data/test_clean"
    texts = read_table(train / "text.en")
    assert texts["911_128684_000002_000000"] == "Twenty two men." and len(texts) == 3
    unusable = [line.split("\t")[:3] for line in (train / "unusable.tsv").read_text().splitlines()]
    assert unusable == [[small.MISSING, "missing file", "wav.scp.en"], [small.NO_TEXT, "empty", "text.en"]]
    assert read_audio(test, "en")[small.EMPTY_TEST].path.endswith("test_clean/stand_in.wav")
    assert read_prompts(test) == {
        "61_70968_000003_000000": "61_70968_000003_000001", "61_70968_000003_000001": "61_70968_000003_000000",
        "908_31957_000001_000000": "908_31957_000002_000001",
    }  # fmt: skip
    own = read_prompts(tmp_path / "data/test_clean_continuation")
    assert own == {key: key for key in read_prompts(test)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"partial": False}, "(?s)6 figure.*test_clean_continuation: 6 utterances, published 4837"),
        ({"subset": "585"}, "--subset 585: expected one of 100, 460, 960"),
        ({"libritts": "/nowhere"}, "/nowhere: found no train-clean-100/"),
    ],
)
def test_mistakes_are_named(corpus, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(options(corpus, tmp_path, **changed))
