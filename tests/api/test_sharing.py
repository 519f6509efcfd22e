"""Models that are saved, pushed to a hub and fetched again give the same outputs; what comes from a hub leads nowhere
else.
"""

import gc
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from experiment import make_experiment
from hub import Hub
from huggingface_hub import constants, file_download

from speechlm import SpeechLM
from speechlm.api.saving import copy_codec
from speechlm.codecs import ASSETS, load_codec


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in that the client takes for the hub, as with HF_ENDPOINT, and an empty cache."""
    hub = Hub("right")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield hub
    hub.close()


def outputs(lm, made):
    """Return what a model gives for every task."""
    return [
        lm.transcribe([made.a, made.b], lang="es"),
        lm.translate(made.a),
        lm.translate(made.a, to="speech").wav.tolist(),
        lm.synthesise("good morning", voice="bert").wav.tolist(),
    ]


def test_a_saved_model_gives_the_same(made, tmp_path):
    folder = made.lm.save_pretrained(tmp_path / "saved")
    made.lm.save_pretrained(folder)  # over itself
    again = SpeechLM.from_pretrained(folder)
    assert outputs(again, made) == outputs(made.lm, made)
    assert again.tasks == made.lm.tasks and again.voices == made.lm.voices and again.options == made.lm.options
    assert outputs(SpeechLM.from_pretrained(again.save_pretrained(tmp_path / "twice")), made) == outputs(made.lm, made)
    card = (folder / "README.md").read_text()
    assert (
        "| asr | test | wer | sft | 2.75 | 2.00 to 3.50 | 200 | [1] |" in card
        and "1. `protocol:mini|codec:codec_16k`" in card
    )
    assert 'language: ["en", "es"]' in card and card == (tmp_path / "twice/README.md").read_text()


def test_other_files_are_not_overwritten(made, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds something other than a saved model"):
        made.lm.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_files_of_a_codec_go_with_the_model_and_a_published_one_is_named(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "b" / name).write_bytes((ASSETS / "codec_16k" / name).read_bytes())
    assert copy_codec(str(tmp_path / "b"), tmp_path / "a") == {"file": "codec", "option": ""}
    assert load_codec(str(tmp_path / "a/codec")).fingerprint == load_codec("codec_16k").fingerprint
    for published in ("codec_16k", "mimi:8", "kyutai/mimi:8", "encodec_24khz:6"):
        assert copy_codec(published, tmp_path / "a") == published


def test_pushed_and_fetched(made, hub):
    assert made.lm.push_to_hub("me/mine", token="right") == f"{hub.url}/me/mine"
    fetched = SpeechLM.from_pretrained("me/mine")
    assert outputs(fetched, made) == outputs(made.lm, made)
    commit = hub.sha("me/mine")
    assert str(SpeechLM.from_pretrained(f"me/mine@{commit}").translate(made.a)) == str(made.lm.translate(made.a))
    assert fetched.source.folder.name == commit and any("objects/batch" in line for line in hub.requests)


def test_a_newer_model_is_fetched_and_without_a_network_the_one_that_is_there(made, tmp_path, hub):
    exp = make_experiment(tmp_path, ("asr",))
    SpeechLM.from_pretrained(exp).push_to_hub("me/new", token="right")
    first = SpeechLM.from_pretrained("me/new")
    weights = (made.exp / "sft_s2tt/model.safetensors").read_bytes()
    (exp / "sft_asr/model.safetensors").write_bytes(weights)
    SpeechLM.from_pretrained(exp).push_to_hub("me/new", token="right")
    second = SpeechLM.from_pretrained("me/new")
    assert second.source.folder != first.source.folder
    assert (second.source.folder / "sft_asr/model.safetensors").read_bytes() == weights
    hub.close()
    assert SpeechLM.from_pretrained("me/new").source.folder == second.source.folder


def test_what_the_hub_refuses_is_one_line(made, hub):
    with pytest.raises(ValueError, match="me/mine: cannot be pushed to the hub .*401.*hf auth login") as caught:
        made.lm.push_to_hub("me/mine", token="wrong")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="'../etc': not a hub name. Expected OWNER/NAME."):
        made.lm.push_to_hub("../etc")
    with pytest.raises(
        ValueError, match="me/none: no such folder, and it cannot be fetched .* hf download me/none --revision main"
    ):
        SpeechLM.from_pretrained("me/none")


@pytest.mark.parametrize(
    "change, told",
    [
        (
            {"models": {"../../other": {"tasks": {}, "prompt_frames": 1}}},
            "names '../../other'; expected a file or folder inside",
        ),
        ({"codec": {"file": "/etc", "option": ""}}, "names '/etc'; expected a file or folder inside"),
        ({"format": 99}, "format 99; expected 1. Update speechlm"),
        ({"models": 3}, "damaged"),
        ({"decoding": {"asr": {"beams": 3}}}, "unknown keys .*beams"),
    ],
)
def test_a_saved_folder_leads_nowhere_else_and_damage_is_named(made, tmp_path, change, told):
    folder = made.lm.save_pretrained(tmp_path / "saved")
    content = json.loads((folder / "speechlm.json").read_text()) | change
    (folder / "speechlm.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        SpeechLM.from_pretrained(folder)


def test_damaged_voices_are_named(made, tmp_path):
    folder = made.lm.save_pretrained(tmp_path / "saved")
    (folder / "voices.json").write_text('{"anna": {"en": [["loud"]]}}')
    with pytest.raises(ValueError, match="voices.json: no voices .*Expected what save_pretrained wrote"):
        SpeechLM.from_pretrained(folder).synthesise("good morning")


@pytest.fixture(scope="module")
def packed(made, tmp_path_factory):
    return made.lm.pack(tmp_path_factory.mktemp("packed") / "model.zip")


def test_a_packed_model_gives_the_same(made, packed):
    again = SpeechLM.from_pretrained(packed)
    assert outputs(again, made) == outputs(made.lm, made) and again.voices == made.lm.voices
    assert again.pack(packed) == packed and [path.name for path in packed.parent.iterdir()] == ["model.zip"]
    folder = again.source.folder
    del again
    gc.collect()
    assert not folder.exists()


def test_espnet_unpacks_a_packed_model(made, packed, tmp_path):
    from espnet2.main_funcs.pack_funcs import unpack

    found = unpack(packed, tmp_path)
    assert found["sft_asr_model_file"] == str(tmp_path / "sft_asr/model.safetensors")
    folder = Path(found["speechlm"]).parent
    assert outputs(SpeechLM.from_pretrained(folder), made)[0] == outputs(made.lm, made)[0]
    meta = yaml.safe_load((tmp_path / "meta.yaml").read_text())
    assert set(meta) == {"files", "yaml_files", "timestamp", "python", "torch", "espnet"}


def test_espnets_model_zoo_unpacks_it(made, packed, tmp_path):
    zoo = pytest.importorskip("espnet_model_zoo.downloader")
    found = zoo.ModelDownloader(tmp_path).download_and_unpack(str(packed))
    assert str(SpeechLM.from_pretrained(Path(found["speechlm"]).parent).translate(made.a)) == str(
        made.lm.translate(made.a)
    )


def repacked(path, change):
    """Write a packed file whose meta.yaml and further entries are changed."""
    with zipfile.ZipFile(path, "w") as archive:
        meta, more = {"files": {"speechlm": "speechlm.json"}, "yaml_files": {}}, {"speechlm.json": "{}"}
        change(meta, more)
        for name, content in ({"meta.yaml": yaml.safe_dump(meta)} | more).items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "change, told",
    [
        (
            lambda meta, more: more.update({"../evil.txt": "x"}),
            "holds '../evil.txt'; expected speechlm.json, and names inside",
        ),
        (lambda meta, more: more.update({"/etc/evil": "x"}), "holds '/etc/evil'"),
        (
            lambda meta, more: meta["files"].update(speechlm="../../etc/speechlm.json"),
            "expected speechlm.json, and names inside",
        ),
        (lambda meta, more: meta.pop("files"), r"no packed model \(KeyError"),
        (lambda meta, more: more.clear(), "expected speechlm.json"),
        (lambda meta, more: None, "speechlm.json: damaged"),
    ],
)
def test_a_packed_file_leads_nowhere_else(tmp_path, change, told):
    repacked(tmp_path / "x.zip", change)
    with pytest.raises(ValueError, match=f"{told}.*[Ee]xpected what"):
        SpeechLM.from_pretrained(tmp_path / "x.zip")


def test_only_packed_models_are_written_over(made, tmp_path):
    for name, told in (
        ("x.zip", "no packed model .* Expected what `speechlm pack` wrote"),
        ("x.tar", "expected a name that ends in .zip"),
    ):
        (tmp_path / name).write_text("a thesis")
        with pytest.raises(ValueError, match=told):
            made.lm.pack(tmp_path / name)
        assert (tmp_path / name).read_text() == "a thesis"


def test_voices_are_as_they_were(made):
    assert set(made.lm.voices) == {"anna", "bert"} and np.asarray(made.lm.voices["anna"]["es"]).shape == (6, 8)
