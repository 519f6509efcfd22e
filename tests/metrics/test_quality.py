"""Measures of sound: what is better scores better, silence and missing sound are the worst, and what takes long is
resumed.
"""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from speechlm.bin import compare, score, versa
from speechlm.data.audio import Span, load_wav, save_wav
from speechlm.data.espeak import Voice, speak
from speechlm.data.kaldi import read_table, write_data_dir, write_table
from speechlm.metrics import speech
from speechlm.metrics.quality import load_measure
from speechlm.metrics.quality.base import measure_one
from speechlm.metrics.rows import read_lines, read_rows, write_lines
from tests.metrics.small import WAV2VEC

pytest.importorskip("pesq", reason="tools/install.sh leaves it out where there is no C compiler")
RATE_HZ = 16000
LOW, HIGH = (
    Voice("low", pitch_low_hz=80, pitch_high_hz=110),
    Voice("high", pitch_low_hz=220, pitch_high_hz=300, formant_percent=118),
)


@pytest.fixture(scope="module")
def sound() -> dict[str, np.ndarray]:
    """A sentence, the same with weak and with strong noise, another by the same voice and by another, silence,
    nothing.
    """
    wavs = {"clean": speak("the woman buys a small hat", "en-us", LOW, RATE_HZ)}
    noise_T = np.random.default_rng(0).standard_normal(len(wavs["clean"])).astype(np.float32)
    wavs |= {"weak": wavs["clean"] + 0.003 * noise_T, "strong": wavs["clean"] + 0.1 * noise_T}
    for name, voice in (("same", LOW), ("other", HIGH)):
        wavs[name] = speak("my brother finds the river", "en-us", voice, RATE_HZ)
    return wavs | {"silence": np.zeros(RATE_HZ, np.float32), "nothing": np.zeros(0, np.float32)}


NOISIER = ["clean", "weak", "strong"]
MEASURES = {  # name -> (recordings from best to worst, whether more is better, what silence gets)
    "pesq": (NOISIER, True, 1.0),
    "stoi": (NOISIER, True, 0.0),
    "mel": (NOISIER, False, None),
    "mstft": (NOISIER, False, None),
    "sim-resemblyzer": (["same", "other"], True, 0.0),
    "dnsmos": (["clean", "strong"], True, 1.0),
}


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_better_scores_better_and_silence_is_the_worst(sound, name):
    (better, more_is_better, worst), measure = MEASURES[name], load_measure(name)
    key = measure.names[0]
    values = [measure_one(measure, sound[made], sound["clean"], RATE_HZ)[key] for made in better]
    assert values == sorted(values, reverse=more_is_better) and len(set(values)) == len(values)
    for missing in ("silence", "nothing"):
        value = measure_one(measure, sound[missing], sound["clean"], RATE_HZ)[key]
        assert value == worst if worst is not None else value > max(values)


def test_identical_sound_has_the_best_values(sound):
    for name, best in (("stoi", 1), ("mel", 0), ("mstft", 0), ("pesq", 4.64), ("sim-resemblyzer", 1)):
        measure = load_measure(name)
        assert measure_one(measure, sound["clean"], sound["clean"], RATE_HZ)[measure.names[0]] == pytest.approx(
            best, abs=0.01
        )


def test_wavlm_and_utmos_take_a_path(tmp_path, sound, monkeypatch):
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    torch.manual_seed(0)
    small = WAV2VEC | {"tdnn_dim": [16] * 5, "xvector_output_dim": 16}
    WavLMForXVector(WavLMConfig(**small)).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "wavlm")
    similarity = load_measure(f"sim-wavlm:{tmp_path}/wavlm")
    assert measure_one(similarity, sound["clean"], sound["clean"], RATE_HZ)["SIM-wavlm"] == pytest.approx(1, abs=1e-5)
    assert "wavlm@" in similarity.signature

    class Loudness(torch.nn.Module):
        def forward(self, wav_BT: torch.Tensor, rate_hz: int) -> torch.Tensor:
            return wav_BT.abs().amax(dim=1)

    torch.jit.script(Loudness()).save(tmp_path / "loudness.pt")
    assert measure_one(load_measure(f"utmos:{tmp_path}/loudness.pt"), sound["clean"], sound["clean"], RATE_HZ)[
        "utmos"
    ] == pytest.approx(float(np.abs(sound["clean"]).max()))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for spec, message in (
        ("sim-wavlm:some/model", "hf download some/model --revision main --local-dir FOLDER"),
        (f"utmos:{tmp_path}", "clone that repository elsewhere.* and write utmos:FOLDER"),
        ("visqol", "expected one of dnsmos, utmos, sim-resemblyzer"),
    ):
        with pytest.raises(ValueError, match=message):
            load_measure(spec)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(ValueError, match="pip install 'speechlm\\[quality\\]'"):
        load_measure("stoi")


def test_the_voice_compared_with_is_another_recording_of_the_speaker():
    spans = {key: Span(key) for key in ("a-2", "a-1", "b-1", "a-3")}
    others = speech.other_recordings(spans, {"a-1": "a", "a-2": "a", "a-3": "a", "b-1": "b"})
    assert {key: span.path for key, span in others.items()} == {
        "a-1": "a-2",
        "a-2": "a-3",
        "a-3": "a-1",
    }, "not with itself"


class NameReader:
    """A recogniser that hears the name of the file; nothing if it is silent."""

    signature, languages = "reader", ()

    def transcribe(self, paths, lang):
        return [
            path.rpartition("/")[2].removesuffix(".wav").replace("_", " ") if load_wav(path)[0].any() else ""
            for path in paths
        ]


@pytest.fixture
def spoken(tmp_path, sound, monkeypatch):
    """Three references by one speaker, and a system that said one right, one wrong and one not at all."""
    refs, said = (
        {"u1": "one dog", "u2": "two cats", "u3": "three birds"},
        {"u1": "one_dog", "u2": "two_rats", "u3": "three_birds"},
    )
    for i, key in enumerate(refs):
        save_wav(tmp_path / "ref" / f"{key}.wav", sound["same" if i else "clean"], RATE_HZ)
        save_wav(tmp_path / "hyp" / f"{said[key]}.wav", sound["silence" if key == "u3" else "weak"], RATE_HZ)
    tables = {
        "text": refs,
        "utt2spk": dict.fromkeys(refs, "anna"),
        "wav.scp": {key: str(tmp_path / "ref" / f"{key}.wav") for key in refs},
    }
    write_data_dir(tmp_path / "data", tables)
    write_table(tmp_path / "hyp/wav.scp", {key: str(tmp_path / "hyp" / f"{name}.wav") for key, name in said.items()})
    (tmp_path / "protocol.yaml").write_text(
        "description: a test's\ntts: {metrics: [WER], normaliser: lower, recogniser: judge_en, quality:"
        " [sim-resemblyzer]}\n"
    )
    monkeypatch.setattr(speech, "load_recogniser", lambda *spec: NameReader())
    return tmp_path


def score_tts(monkeypatch, folder, name="score", *more):
    out = folder / name / "score.json"
    arguments = [
        "--task",
        "tts",
        "--hyp",
        folder / "hyp",
        "--ref",
        folder / "data",
        "--tgt_lang",
        "en",
        "--model",
        name,
    ]
    arguments += ["--test_set", "test", "--out", out, "--protocol", folder / "protocol.yaml", *more]
    monkeypatch.setattr(sys, "argv", ["score", *map(str, arguments)])
    score.main()
    return {row.metric: row for row in read_rows(out)}


def test_silence_stays_in_the_test_set_and_scores_as_the_worst(spoken, monkeypatch, capsys):
    rows = score_tts(monkeypatch, spoken)
    assert rows["WER"].value == pytest.approx(100 * (0 + 1 + 2) / 6) and rows["WER"].n == 3
    lines = read_lines(spoken / "score/utterances.jsonl")
    assert [(line["hyp"], line["errors"], line["WER"]) for line in lines] == [
        ("one dog", 0, 0.0),
        ("two rats", 1, 50.0),
        ("", 2, 100.0),
    ]
    similarities = [line["SIM-resemblyzer"] for line in lines]
    assert similarities[2] == 0 and rows["SIM-resemblyzer"].value == pytest.approx(np.mean(similarities))
    assert rows["WER"].signature.startswith("protocol:protocol|jiwer") and "norm:lower|reader" in rows["WER"].protocol
    assert lines[0]["speaker"] == "anna" and lines[0]["wav"].endswith("hyp/one_dog.wav")
    before = [(spoken / "score" / name).read_bytes() for name in ("score.json", "utterances.jsonl")]
    capsys.readouterr()
    score_tts(monkeypatch, spoken)
    assert [(spoken / "score" / name).read_bytes() for name in ("score.json", "utterances.jsonl")] == before
    assert capsys.readouterr().out.count("already complete") == 2
    (spoken / "data/wav.scp").unlink()
    with pytest.raises(
        ValueError,
        match="SIM-resemblyzer compares with the speaker's recordings, and 3 utterances have none in en: u1, u2, u3",
    ):
        score_tts(monkeypatch, spoken)
    write_table(spoken / "hyp/wav.scp", {"u1": str(spoken / "hyp/one_dog.wav")})
    (spoken / "protocol.yaml").write_text("description: x\ntts: {metrics: [WER], recogniser: judge_en}\n")
    with pytest.raises(ValueError, match="2 of 3 utterances without a hypothesis: u2, u3"):
        score_tts(monkeypatch, spoken)


def test_a_speaker_of_one_recording_is_not_scored_against_it_and_the_score_says_over_how_many(
    spoken, monkeypatch, capsys
):
    speakers = {"u1": "anna", "u2": "anna", "u3": "eva"}
    write_table(spoken / "data/utt2spk", speakers)
    write_table(spoken / "hyp/wav.scp", {"u1": str(spoken / "hyp/one_dog.wav"), "u2": str(spoken / "hyp/two_rats.wav")})
    rows = score_tts(monkeypatch, spoken)
    assert {name: row.n for name, row in rows.items()} == {"WER": 2, "SIM-resemblyzer": 2}
    assert "tts is scored over 2 of 3 utterances" in capsys.readouterr().out
    write_table(spoken / "data/utt2spk", {"u1": "anna", "u2": "eva"})
    for name in ("text", "wav.scp"):
        write_table(spoken / "data" / name, dict(list(read_table(spoken / "data" / name).items())[:2]))
    (spoken / "protocol.yaml").write_text(
        "description: x\ntts: {metrics: [WER], normaliser: lower, recogniser: judge_en}\n"
    )
    assert score_tts(monkeypatch, spoken)["WER"].n == 2, "nothing has a prompt: all are synthesised without"


def test_similarity_is_over_those_that_have_another_recording(spoken, monkeypatch, capsys):
    write_table(spoken / "data/utt2spk", {"u1": "anna", "u2": "anna", "u3": "eva"})
    for kind in ("es", "en"):
        for name in ("text", "wav.scp"):
            shutil.copy(spoken / "data" / name, spoken / f"data/{name}.{kind}")
    (spoken / "protocol.yaml").write_text(
        "description: x\ns2st: {metrics: [WER], normaliser: lower, recogniser: judge_en, quality: [sim-resemblyzer]}\n"
    )
    for name in ("a", "b"):
        rows = score_tts(monkeypatch, spoken, name, "--task", "s2st")
    assert {name: row.n for name, row in rows.items()} == {"WER": 3, "SIM-resemblyzer": 2}
    assert "SIM-resemblyzer: over 2 of 3 utterances; 1 speakers have no other recording (u3)" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["compare", str(spoken / "a"), str(spoken / "b")])
    compare.main()


def test_two_systems_are_compared_on_the_same_utterances(spoken, monkeypatch):
    score_tts(monkeypatch, spoken, "a")
    save_wav(spoken / "hyp/three_birds.wav", load_wav(spoken / "hyp/one_dog.wav")[0], RATE_HZ)
    score_tts(monkeypatch, spoken, "b")
    table = compare.compare(spoken / "a", spoken / "b")
    assert (
        table[-2].split()[:6] == ["tts", "test", "WER", "50.00", "16.67", "-33.33"] and "SIM-resemblyzer" in table[-1]
    )
    assert compare.compare(spoken / "a", spoken / "b", "ar")[-2].split()[:6] == table[-2].split()[:6]
    lines = read_lines(spoken / "b/utterances.jsonl")
    write_lines(spoken / "b/utterances.jsonl", [lines[0] | {"hyp_norm": "something else entirely"}, *lines[1:]])
    with pytest.raises(ValueError, match="score.json says"):
        compare.compare(spoken / "a", spoken / "b")
    write_lines(spoken / "b/utterances.jsonl", lines[1:])
    with pytest.raises(ValueError, match="has other utterances or references"):
        compare.compare(spoken / "a", spoken / "b")
    (spoken / "protocol.yaml").write_text("description: another\ntts: {metrics: [WER], recogniser: judge_en}\n")
    score_tts(monkeypatch, spoken, "b")
    with pytest.raises(ValueError, match="these are not comparable. Score both with the same --protocol"):
        compare.compare(spoken / "a", spoken / "b")


def test_export_in_the_format_of_versa(spoken, monkeypatch):
    score_tts(monkeypatch, spoken)
    monkeypatch.setattr(sys, "argv", ["versa", str(spoken / "score"), "--out", str(spoken / "versa.jsonl")])
    versa.main()
    lines = [json.loads(line) for line in (spoken / "versa.jsonl").read_text().splitlines()]
    counted = {"reader_wer_delete": 0, "reader_wer_insert": 0, "reader_wer_replace": 1, "reader_wer_equal": 1}
    assert [line["key"] for line in lines] == ["u1", "u2", "u3"] and counted.items() <= lines[1].items()
    assert (
        lines[1]["reader_hyp_text"] == "two rats"
        and lines[1]["ref_text"] == "two cats"
        and "SIM-resemblyzer" in lines[1]
    )
