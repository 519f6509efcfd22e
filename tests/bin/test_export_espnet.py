"""Sets for espnet2.speechlm's trainer: its own loader reads them, and they are the examples that we train on."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

from speechlm.bin import export_espnet
from speechlm.data.codes import write_archive
from speechlm.data.kaldi import write_data_dir
from speechlm.data.manifest import write_manifest

NEED_ESPNET = pytest.mark.skipif(
    not all(map(find_spec, ("omniio", "duckdb", "lhotse", "polars", "liger_kernel"))),
    reason="espnet2.speechlm of release 202611 and what its data readers need are not installed",
)
TEXTS = {"a": {"es": "hola mundo", "en": "hello world"}, "b": {"es": "adiós", "en": "good bye"}}


@pytest.fixture
def sets(tmp_path):
    """A set of two parallel utterances of one voice: the Spanish ones are stretches of one long recording."""
    tables = {"utt2spk": dict.fromkeys("ab", "v")}
    tables |= {f"text.{lang}": {key: TEXTS[key][lang] for key in "ab"} for lang in ("es", "en")}
    wav = np.random.default_rng(0).normal(0, 0.1, 16000 * 3).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", wav, 16000)
    for key in "ab":
        soundfile.write(tmp_path / f"{key}.wav", wav[:16000], 16000)
    tables |= {
        "wav.scp.es": {"long": str(tmp_path / "long.wav")},
        "segments.es": {"a": "long 0.5 1.5", "b": "long 1.5 2.75"},
    }
    tables["wav.scp.en"] = {key: str(tmp_path / f"{key}.wav") for key in "ab"}
    write_data_dir(tmp_path / "data/train", tables)
    dump = tmp_path / "dump/train"
    dump.mkdir(parents=True)
    offsets = write_archive(
        dump / "codes.ark", {f"{k}.{lang}": np.ones((4, 2), np.int32) for k in "ab" for lang in ("es", "en")}
    )
    codes = {key: {lang: [f"codes.ark:{offsets[f'{key}.{lang}']}", 4] for lang in ("es", "en")} for key in "ab"}
    write_manifest(
        dump / "manifest.jsonl", [{"id": k, "speaker": "v", "text": TEXTS[k], "codes": codes[k]} for k in "ab"]
    )
    return tmp_path


def export(folder, monkeypatch, *tasks):
    folders = f"--data {folder}/data --dump {folder}/dump --out {folder}/out"
    options = f"{folders} --sets train --src_lang es --tgt_lang en --tasks".split()
    monkeypatch.setattr(sys, "argv", ["export_espnet", *options, *tasks])
    export_espnet.main()


def messages(folder, task):
    lines = map(json.loads, (folder / f"out/train.{task}.jsonl").read_text().splitlines())
    return {line["example_id"]: line["messages"] for line in lines}


def test_examples_are_dialogues(sets, monkeypatch):
    export(sets, monkeypatch, "s2st", "tts")
    system, source, target = messages(sets, "s2st")["b.es-en"]
    assert (
        system == ["system", "text", "s2st es en"]
        and source[:2] == ["user", "audio"]
        and target[:2] == ["assistant", "audio"]
    )
    assert soundfile.info(source[2]).duration == 1.25, "a stretch of a long recording is a file of its own"
    assert target[2] == str(sets / "b.wav")
    system, text, prompt, speech = messages(sets, "tts")["a.en-en"]
    assert (
        text == ["user", "text", "hello world"]
        and prompt[2] == str(sets / "b.wav")
        and speech[2] == str(sets / "a.wav")
    )


def test_a_task_without_examples_is_named(sets, monkeypatch):
    with pytest.raises(ValueError, match="no example of asr"):
        monkeypatch.setattr(export_espnet, "list_items", lambda *_: [])
        export(sets, monkeypatch, "asr")


@NEED_ESPNET
def test_the_installed_releases_loader_reads_them(sets, monkeypatch):
    from espnet2.speechlm.dataloader.iterator import DataIteratorFactory

    export(sets, monkeypatch, "s2st", "s2tt")
    for task, expected in (("s2st", ["audio", "audio"]), ("s2tt", ["audio", "text"])):
        found = DataIteratorFactory(
            [f"dialogue:{task}:{sets}/out/train.{task}.json"],
            num_workers=0,
            sequential_load=True,
            collate_fn=lambda batch: batch,
        )
        examples = {key[2]: data["dialogue"] for batch in found.build_iter() for key, data in batch}
        assert sorted(examples) == ["a.es-en", "b.es-en"]
        assert [modality for _, modality, _ in examples["a.es-en"][1:]] == expected
    assert examples["b.es-en"][2][2] == "good bye" and examples["a.es-en"][1][2][0].shape == (1, 16000)
