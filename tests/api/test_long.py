"""Long recordings: cut at their pauses, decoded piece by piece, and put together in order."""

import json

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import serving

from speechlm import SpeechLM
from speechlm.api.pauses import CLEAR_SEC, CLICK_SEC, SPEECH, WINDOW_SEC, cut
from speechlm.data.audio import load_wav, save_wav
from speechlm.data.espeak import Voice
from speechlm.demo.page import hear

RATE_HZ = 16000
SENTENCES = ("el gato duerme en la casa", "la casa es muy roja", "mi perro come mucho pan", "el mar es azul y grande")
PAUSES_SEC = (0.8, 1.5, 2.5)
WORDS = "uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis"


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A recording of four sentences with pauses between them, and where they begin and end."""
    noise, spoken, spans = np.random.default_rng(0), [], []
    for text, pause_sec in zip(SENTENCES, (*PAUSES_SEC, 0.5)):
        wav_N = Voice("anna", 110, 170, 110).speak(text, "es", RATE_HZ)
        start = sum(map(len, spoken))
        spans.append((start / RATE_HZ, (start + len(wav_N)) / RATE_HZ))
        spoken += [wav_N, noise.normal(0, 1e-3, round(pause_sec * RATE_HZ))]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    save_wav(path, np.concatenate(spoken), RATE_HZ)
    return path, spans


@pytest.fixture(scope="module")
def lm(made):
    """The model, for which three seconds are long."""
    lm = SpeechLM.from_pretrained(made.exp)
    lm.piece_sec = 3.0
    return lm


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), max_size=30), st.integers(4, 60))
def test_pieces_are_short_enough_in_order_and_hold_all_speech(runs, longest):
    speech_F = np.repeat([level for level, _ in runs], [count for _, count in runs]).astype(np.float32)
    pieces = cut(speech_F, longest)
    assert all(0 < end - start <= longest for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in zip(pieces, pieces[1:]))
    left_F = speech_F >= SPEECH
    for start, end in pieces:
        left_F[start:end] = False
    talks = np.split(left_F, np.flatnonzero(np.diff(left_F)) + 1)  # what is in no piece is too short to be a word
    assert all(len(talk) <= CLICK_SEC / WINDOW_SEC for talk in talks if len(talk) and talk[0])


def test_it_is_cut_at_clear_pauses_then_at_the_longest_short_one():
    clear, short = round(CLEAR_SEC / WINDOW_SEC) + 1, 3
    parts = np.ones(20), np.zeros(clear), np.ones(30), np.zeros(1), np.ones(4), np.zeros(short), np.ones(30)
    assert cut(np.concatenate(parts), 50) == [
        (0, 20),
        (20 + clear, 55 + clear),
        (55 + clear + short, 85 + clear + short),
    ]
    assert cut(np.concatenate([np.ones(20), [0.6], np.ones(20)]), 30) == [(0, 20), (20, 41)]


def test_a_long_recording_is_what_its_sentences_are(lm, talk):
    path, spans = talk
    text, [short] = lm.transcribe(path, lang="es"), lm.transcribe(path, lang="es").segments[:1]
    assert len(text.segments) == 4 and text.text == " ".join(segment.text for segment in text.segments if segment.text)
    for (start_sec, end_sec), segment in zip(spans, text.segments):
        assert abs(segment.start_sec - start_sec) < 0.3 and abs(segment.end_sec - end_sec) < 0.3
    wav_N = load_wav(path)[0]
    pieces = [wav_N[round(s.start_sec * RATE_HZ) : round(s.end_sec * RATE_HZ)] for s in text.segments]
    alone = [lm.transcribe((piece_N, RATE_HZ), lang="es") for piece_N in pieces]
    assert [one.text for one in alone] == [segment.text for segment in text.segments] and short == text.segments[0]
    assert lm.transcribe([path, (wav_N[: 2 * RATE_HZ], RATE_HZ)], lang="es")[0] == text


def test_translated_speech_keeps_the_pauses(lm, talk):
    job = lm.prepare("s2st", talk[0], None, None)
    [speech] = lm.run([job])
    ones = [lm.run([type(job)(job.task, job.lang, (part,))])[0] for part in job.parts]
    pauses = [round((after.start_sec - before.end_sec) * RATE_HZ) for before, after in zip(job.parts, job.parts[1:])]
    assert all(abs(found / RATE_HZ - sec) < 0.5 for found, sec in zip(pauses, PAUSES_SEC)) and min(pauses) > 0
    assert len(speech.wav) == sum(len(one.wav) for one in ones) + sum(pauses)
    start = len(ones[0].wav)
    assert not speech.wav[start : start + pauses[0]].any() and np.abs(speech.wav[start - 2000 : start]).any()
    assert np.array_equal(speech.codes, np.concatenate([one.codes for one in ones]))
    assert np.abs(np.concatenate(list(lm.stream(job))) - speech.wav).max() < 1e-4


def test_speech_without_a_pause_is_cut_where_it_is_quietest(lm):
    wav_N = Voice("bert", rate_wpm=120).speak(WORDS, "es", RATE_HZ)
    segments = lm.transcribe((wav_N, RATE_HZ), lang="es").segments
    assert len(segments) > 2 and all(segment.end_sec - segment.start_sec <= 3 for segment in segments)
    assert segments[0].start_sec == 0 and segments[-1].end_sec == pytest.approx(len(wav_N) / RATE_HZ, abs=0.3)


def test_what_is_not_speech_is_one_line(lm, tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.05, 20 * RATE_HZ)
    save_wav(tmp_path / "noise.wav", noise, RATE_HZ)
    with pytest.raises(ValueError, match=r"^\S+noise.wav: 20 s in which nobody speaks; expected speech$"):
        lm.transcribe(tmp_path / "noise.wav", lang="es")
    with pytest.raises(ValueError, match="expected speech"):
        lm.transcribe((np.zeros(20 * RATE_HZ), RATE_HZ), lang="es")
    short = (noise[: 2 * RATE_HZ] / 100, RATE_HZ)  # an empty room
    for use in (lambda: lm.transcribe(short, lang="es"), lambda: lm.synthesise("the sea", lang="en", voice=short)):
        with pytest.raises(ValueError, match="^the array: 2.0 s in which nobody speaks; expected speech$"):
            use()
    lm.check_speech = False
    lm.transcribe(short, lang="es")
    lm.check_speech = True


def test_what_is_long_for_a_model_is_what_it_was_trained_on_and_saved_with_it(lm, made, tmp_path):
    engine, task = lm._engine, lm.prepare("asr", made.a, "es", "es").task
    assert engine.longest_sec(task, "es", 100) == engine.longest_sec(task, "es") == pytest.approx((256 - 12 - 5) / 12.5)
    saved = lm.save_pretrained(tmp_path / "saved")
    (saved / "sft_asr/examples_train.json").write_text(json.dumps({"longest_heard": {"asr": 50}}))
    again = SpeechLM.from_pretrained(SpeechLM.from_pretrained(saved).save_pretrained(tmp_path / "twice"))
    assert again._engine.longest_sec(task, "es") == 6.0 and again._engine.longest_sec(task, "es", 3.0) == 3.0


def test_looking_for_pauses_takes_no_thread_away(lm, talk):
    before = torch.get_num_threads()
    lm.transcribe(talk[0], lang="es")
    assert torch.get_num_threads() == before


def test_server_page_and_command_cut_too(lm, talk, made, monkeypatch, capsys):
    from speechlm import cli

    path, text = talk[0], lm.transcribe(talk[0], lang="es")
    with serving(lm) as server, open(path, "rb") as stream:
        form = {"model": "tiny", "language": "es", "response_format": "verbose_json"}
        answer = httpx.post(
            f"{server.url}/v1/audio/transcriptions", data=form, files={"file": stream}, timeout=60
        ).json()
    assert answer["text"] == text.text and [each["end"] for each in answer["segments"]] == [
        each.end_sec for each in text.segments
    ]
    told, transcript, *_, spoken, _ = hear(lm, str(path), ["asr", "s2st"], "es", "en")
    assert (told, transcript) == ("", text.text) and len(spoken[1]) == len(lm.translate(path, to="speech").wav)
    words = ["speechlm", "transcribe", "--model", str(made.exp), "--lang", "es", "--piece_sec", "3", str(path)]
    monkeypatch.setattr("sys.argv", words)
    cli.main()
    assert capsys.readouterr().out == f"{path}\t{text}\n"
