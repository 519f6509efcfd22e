"""Three lines of Python: every task, equal to the recipe's own decoding; what is wrong is one line that says what there
is.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from experiment import IDS, RATE_HZ, TEXTS, make_experiment, sound

from speechlm import SpeechLM
from speechlm.bin import decode
from speechlm.data import pool
from speechlm.data.audio import load_wav, save_wav
from speechlm.model import decoding
from tests.pools import InProcess

HOUR_SEC = 3600


def test_importing_it_costs_nothing():
    told = (
        "import sys; from speechlm import SpeechLM; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", told], timeout=60).returncode == 0


@pytest.mark.parametrize("task", ["asr", "tts", "s2tt", "s2st"])
def test_it_decodes_as_the_recipe_does(made, task, tmp_path, monkeypatch):
    """The development set by bin/decode, and by the API from its recordings: the same texts, the same codes, the same
    samples.
    """
    kind = "speech" if task in ("tts", "s2st") else "text"
    options = {
        "prompt_frames": 6,
        kind: json.loads((made.exp / f"sft_{task}/decode_{task}_dev_en/decode.json").read_text())[kind],
    }
    (tmp_path / "decode.yaml").write_text(json.dumps(options))
    run_decode(monkeypatch, made, task, tmp_path / "out", "en" if task == "tts" else "es", tmp_path / "decode.yaml")
    wavs = [made.root / f"data/dev/{key}.es.wav" for key in IDS]
    voices = [made.root / f"data/dev/{key[:5]}{3 - int(key[5])}.en.wav" for key in IDS]  # the speaker's other utterance
    calls = {
        "asr": lambda: made.lm.transcribe(wavs, lang="es"),
        "s2tt": lambda: made.lm.translate(wavs, src="es", tgt="en"),
        "s2st": lambda: made.lm.translate(wavs, src="es", tgt="en", to="speech"),
        "tts": lambda: [made.lm.synthesise(text, lang="en", voice=voice) for text, voice in zip(TEXTS["en"], voices)],
    }
    results = calls[task]()
    for key, result in zip(IDS, results, strict=True):
        if kind == "text":
            assert f"{key} {result}".rstrip() in (tmp_path / "out/text").read_text().splitlines()
        else:
            save_wav(tmp_path / "mine.wav", result.wav, result.rate_hz)
            assert (tmp_path / "mine.wav").read_bytes() == (tmp_path / f"out/wav/{key}.wav").read_bytes() and len(
                result.codes
            ) > 1


def run_decode(monkeypatch, made, task, out, lang, config):
    manifest, exp = made.root / "dump/codec_16k/dev/manifest.jsonl", made.exp / f"sft_{task}"
    arguments = [
        "--exp",
        exp,
        "--task",
        task,
        "--manifest",
        manifest,
        "--lang",
        lang,
        "--codec",
        "codec_16k",
        "--out",
        out,
    ]
    monkeypatch.setattr(sys, "argv", ["decode", *map(str, [*arguments, "--config", config])])
    decode.main()


def test_several_devices_share_a_set_and_go_on_where_they_were(made, tmp_path, monkeypatch):
    """... also if there is another number of them; an hypothesis that is kept is not made again."""
    (tmp_path / "decode.yaml").write_text('{"prompt_frames": 6, "text": {"max_rows": 12, "batch_size": 1}}')
    run_decode(monkeypatch, made, "asr", tmp_path / "one", "es", tmp_path / "decode.yaml")
    monkeypatch.setattr(decode, "devices_for", lambda ngpu: ["cpu"] * 2)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", InProcess)
    made_here, real = [], decoding.generate

    def generate(model, speaks, prefixes, options, numbers):
        for number, each in zip(numbers, real(model, speaks, prefixes, options, numbers)):
            if len(made_here) == 3:
                raise KeyboardInterrupt
            made_here.append(number)
            yield each

    monkeypatch.setattr(decoding, "generate", generate)
    with pytest.raises(KeyboardInterrupt):
        run_decode(monkeypatch, made, "asr", tmp_path / "two", "es", tmp_path / "decode.yaml")
    monkeypatch.setattr(decode, "devices_for", lambda ngpu: ["cpu"] * 3)
    made_here.clear()
    run_decode(monkeypatch, made, "asr", tmp_path / "two", "es", tmp_path / "decode.yaml")
    assert len(made_here) == 1 and not list((tmp_path / "two").glob(".parts*"))
    assert (tmp_path / "two/text").read_text() == (tmp_path / "one/text").read_text() != ""


def test_a_list_an_array_and_a_path_are_the_same(made):
    wav, _ = load_wav(made.a)
    one = str(made.lm.transcribe(made.a, lang="es"))
    pcm = (wav * 32768).astype(np.int16)
    many = made.lm.transcribe([str(made.a), (wav, RATE_HZ), (np.stack([pcm, pcm], axis=1), RATE_HZ), made.b], lang="es")
    assert one and [text.text for text in many[:3]] == [one] * 3 and many[3].text != one and many[0].lang == "es"
    assert made.lm.transcribe([], lang="es") == []


def test_a_voice_is_a_recording_or_one_of_the_models(made):
    by_name, default = made.lm.synthesise("good morning", voice="anna"), made.lm.synthesise("good morning")
    assert (
        np.array_equal(by_name.codes, default.codes)
        and by_name.wav.dtype == np.float32
        and by_name.sec == len(by_name.wav) / RATE_HZ
    )
    assert not np.array_equal(made.lm.synthesise("good morning", voice=made.b).codes, default.codes)


def test_speech_comes_in_chunks_that_join_to_the_whole(made):
    whole = made.lm.synthesise("good morning", voice="bert")
    stream = made.lm.synthesise("good morning", voice="bert", stream=True)
    first = next(iter(stream))
    assert 0 < len(first) < len(whole.wav) and stream.rate_hz == whole.rate_hz
    joined = stream.join()
    assert np.array_equal(joined.codes, whole.codes) and np.abs(joined.wav - whole.wav).max() < 1e-4
    with pytest.raises(ValueError, match="stream=True takes one text"):
        made.lm.synthesise(["good", "morning"], stream=True)


def test_speech_is_saved_as_its_name_says(made, tmp_path):
    speech = made.lm.translate(made.a, to="speech")
    for name in ("x.wav", "x.flac", "x.mp3", "x.opus", "deep/x.ogg"):
        wav, _ = load_wav(speech.save(tmp_path / name), speech.rate_hz)
        assert abs(len(wav) - len(speech.wav)) < 0.2 * RATE_HZ
    with pytest.raises(ValueError, match="sound format 'exe' is unknown. Expected one of wav, flac"):
        speech.save(tmp_path / "x.exe")


def test_what_is_shared_is_in_memory_once(tmp_path):
    exp = make_experiment(tmp_path, ("asr", "s2tt"))
    (exp / "sft_s2tt/model.safetensors").write_bytes((exp / "sft_asr/model.safetensors").read_bytes())
    engine = SpeechLM.from_pretrained(exp)._engine
    asr, s2tt = engine.load("asr"), engine.load("s2tt")
    assert asr.text is s2tt.text and asr.model is not s2tt.model
    assert all(p.data_ptr() == q.data_ptr() for p, q in zip(asr.model.parameters(), s2tt.model.parameters()))


def test_another_dtype_is_used_and_an_unknown_one_or_device_refused(made):
    lm = SpeechLM.from_pretrained(made.exp / "sft_asr", dtype=torch.bfloat16)
    assert (
        lm.transcribe(made.a, lang="es").text and lm._engine.load("asr").model.new_head.weight.dtype == torch.bfloat16
    )
    for wrong in ({"dtype": "int8"}, {"device": "abacus"}):
        with pytest.raises(ValueError, match=f"{list(wrong)[0]} '{list(wrong.values())[0]}'.*[Ee]xpected"):
            SpeechLM.from_pretrained(made.exp, **wrong)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Files that are no speech."""
    root = tmp_path_factory.mktemp("bad")
    (root / "text.wav").write_text("this is no sound")
    (root / "empty.wav").touch()
    save_wav(root / "silence.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    save_wav(root / "hour.wav", np.tile(sound(10, rate_hz=1000), HOUR_SEC // 10), 1000)
    save_wav(root / "click.wav", sound(0.01), RATE_HZ)
    save_wav(root / "minute.wav", np.random.default_rng(0).normal(0, 0.05, 60 * RATE_HZ), RATE_HZ)
    return root


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda lm, bad: lm.transcribe(bad / "text.wav", "es"), "text.wav: not an audio file"),
        (lambda lm, bad: lm.transcribe(bad / "empty.wav", "es"), "empty.wav: an empty file"),
        (lambda lm, bad: lm.transcribe(bad / "none.wav", "es"), "none.wav: no such file"),
        (lambda lm, bad: lm.transcribe(bad, "es"), "a folder or a device; expected a file"),
        (lambda lm, bad: lm.transcribe(bad / "silence.wav", "es"), "silence.wav: no sample differs .* expected speech"),
        (lambda lm, bad: lm.transcribe(bad / "hour.wav", "es"), "hour.wav: 3600 s or more; expected at most 300 s"),
        (lambda lm, bad: lm.transcribe(bad / "click.wav", "es"), "click.wav: 160 samples are shorter than one frame"),
        (
            lambda lm, bad: lm.transcribe(bad / "minute.wav", "es"),
            "minute.wav: 60 s in which nobody speaks; expected speech",
        ),
        (lambda lm, bad: lm.transcribe("a" * 5000, "es"), "no such file"),
        (lambda lm, bad: lm.transcribe("a\0b", "es"), "no such file"),
        (lambda lm, bad: lm.transcribe(sound(), "es"), "a sound is ndarray; expected a path, or a pair"),
        (lambda lm, bad: lm.transcribe((sound(), 0), "es"), "rate of an array is 0; expected 1000 to"),
        (
            lambda lm, bad: lm.transcribe((np.stack([sound()] * 2), RATE_HZ), "es"),
            r"shape \[2, 16000\]; expected \[samples\]",
        ),
        (lambda lm, bad: lm.transcribe((np.full(9999, np.nan), RATE_HZ), "es"), "9999 NaN or infinite"),
        (
            lambda lm, bad: lm.transcribe(bad / "x.wav", "fr"),
            r"Speech recognition \(asr\): asked for fr; the model was trained for es, en",
        ),
        (
            lambda lm, bad: lm.translate(bad / "x.wav", "en", "es"),
            "asked for en to es; the model was trained for es to en",
        ),
        (lambda lm, bad: lm.translate(bad / "x.wav", to="song"), "to='song': expected 'text' or 'speech'"),
        (lambda lm, bad: lm.synthesise(" \n"), "the text is empty; expected words"),
        (lambda lm, bad: lm.synthesise("?!"), r"the text is '\?!'; expected words"),
        (lambda lm, bad: lm.synthesise("x" * 2**20), "1,048,576 characters; expected at most 5,000"),
        (lambda lm, bad: lm.synthesise("good morning " * 99), "too long: the input takes"),
        (lambda lm, bad: lm.synthesise(b"bytes"), "the text is bytes; expected a str"),
        (lambda lm, bad: lm.synthesise("good \ud800"), "half a character"),
        (
            lambda lm, bad: lm.synthesise("good", voice="zoe"),
            "voice 'zoe': no such file, and no voice .* it has anna, bert",
        ),
    ],
)
def test_bad_input_is_one_line(made, bad, call, told):
    with pytest.raises(ValueError, match=told) as caught:
        call(made.lm, bad)
    assert "\n" not in str(caught.value)


def test_a_task_that_the_model_lacks_is_refused_with_those_it_has(made):
    with pytest.raises(
        ValueError, match=r"sft_asr: no model for Speech synthesis \(tts\). It has Speech recognition \(asr\)."
    ):
        SpeechLM.from_pretrained(made.exp / "sft_asr").synthesise("good morning")


def test_a_folder_without_a_model_is_refused(made, tmp_path):
    for name, told in (
        (tmp_path, "no trained model in it"),
        ("nothing", "no such folder, and not a hub name"),
        ("../x/y", "not a hub name"),
    ):
        with pytest.raises(ValueError, match=f"{told}.*Expected a recipe's experiment"):
            SpeechLM.from_pretrained(name)


def test_of_two_models_for_a_task_its_own_is_taken_or_the_choice_left_to_the_user(tmp_path):
    exp = make_experiment(tmp_path, ("asr",))
    cpt = exp / "cpt"
    (exp / "sft_asr").rename(cpt)
    assert SpeechLM.from_pretrained(exp)._by_task["asr"].folder == cpt
    for name in ("sft_a_asr", "sft_b_asr"):
        (exp / name).mkdir()
        for path in ("model.safetensors", "vocab.json", "config.yaml"):
            (exp / name / path).write_bytes((cpt / path).read_bytes())
    with pytest.raises(
        ValueError, match=r"several models for asr \(cpt, sft_a_asr, sft_b_asr\). Give the folder of one"
    ):
        SpeechLM.from_pretrained(exp)
    (exp / "sft_a_asr").rename(exp / "sft_asr")
    assert SpeechLM.from_pretrained(exp)._by_task["asr"].folder.name == "sft_asr"


def test_the_model_comes_without_a_voice_if_its_sets_are_gone(tmp_path):
    exp = make_experiment(tmp_path, ("tts",))
    (tmp_path / "dump").rename(tmp_path / "elsewhere")
    lm = SpeechLM.from_pretrained(exp)
    with pytest.raises(ValueError, match="comes without a voice for en: give voice=RECORDING"):
        lm.synthesise("good morning")
    assert len(lm.synthesise("good morning", voice=tmp_path / "a.wav").codes)
