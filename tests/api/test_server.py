"""The server by OpenAI's own client, by plain HTTP, and by whatever else may be sent to it."""

import io
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
import soundfile
from experiment import RATE_HZ, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import serving

from speechlm.data.audio import resample
from speechlm.server import gate

http = httpx.Client(timeout=60)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.lists(st.text(max_size=5), max_size=3),
)


def dump(value) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def server(made):
    with serving(made.lm) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)


def wav_file(wav=None, rate_hz=RATE_HZ) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound() if wav is None else wav, rate_hz, format="WAV")
    return content.getvalue()


def test_openais_client_hears_and_reads(client, made):
    text = str(made.lm.transcribe(made.a, lang="es"))
    with open(made.a, "rb") as file:
        assert client.audio.transcriptions.create(model="tiny", file=file, language="es").text == text
        file.seek(0)
        assert (
            client.audio.transcriptions.create(model="tiny", file=file, language="es", response_format="text").strip()
            == text.strip()
        )
        file.seek(0)
        told = client.audio.transcriptions.create(
            model="tiny", file=file, language="es", response_format="verbose_json"
        )
        assert told.text == text and told.duration == 1.0 and told.language == "es"
        file.seek(0)
        assert client.audio.translations.create(model="tiny", file=file).text == str(made.lm.translate(made.a))


def test_openais_client_gets_speech(client, made, tmp_path):
    speech = made.lm.synthesise("good morning", voice="bert")
    asked = {"model": "tiny", "input": "good morning", "voice": "bert"}
    for kind in ("wav", "flac", "mp3", "opus"):
        client.audio.speech.create(**asked, response_format=kind).write_to_file(tmp_path / "x")
        wav, rate_hz = soundfile.read(tmp_path / "x")
        assert abs(len(wav) / rate_hz - speech.sec) < 0.2
    assert (
        np.abs(
            soundfile.read(io.BytesIO(client.audio.speech.create(**asked, response_format="wav").content))[0]
            - speech.wav
        ).max()
        < 1e-3
    )
    pcm = client.audio.speech.create(**asked, response_format="pcm").content
    assert abs(len(pcm) / 2 / 24000 - speech.sec) < 0.01
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        assert sum(map(len, response.iter_bytes())) > 1000


def test_pcm_is_streamed_while_others_are_served(server, made):
    asked = {"model": "tiny", "input": "good morning", "voice": "bert", "response_format": "pcm"}
    with http.stream("POST", f"{server.url}/v1/audio/speech", json=asked) as answer:
        chunks = [chunk for chunk in answer.iter_raw() if chunk]
    wav = np.frombuffer(b"".join(chunks), "<i2") / 32767
    whole = resample(made.lm.synthesise("good morning", voice="bert").wav, RATE_HZ, 24000)
    assert len(chunks) > 1 and abs(len(wav) - len(whole)) < 50
    assert np.abs(wav[: len(whole)] - np.clip(whole, -1, 1)[: len(wav)]).max() < 0.02
    with http.stream("POST", f"{server.url}/v1/audio/speech", json=asked) as answer:
        next(answer.iter_raw())  # and then nobody listens
    assert http.post(f"{server.url}/v1/audio/speech", json=asked | {"response_format": "wav"}).status_code == 200
    assert http.post(f"{server.url}/v1/audio/speech", json=asked | {"input": ""}).status_code == 400


def test_models_health_and_metrics(client, server):
    assert [model.id for model in client.models.list()] == ["tiny"] and client.models.retrieve(
        "tiny"
    ).owned_by == "speechlm"
    assert http.get(f"{server.url}/health").json() == {"status": "ok", "active": 0}
    http.get(f"{server.url}/%22%0a")
    metrics = http.get(f"{server.url}/metrics").text
    assert 'speechlm_requests_total{path="/health",status="200"}' in metrics and 'path="other",status="404"' in metrics
    assert all(len(line.split()) == 2 for line in metrics.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(
    "content, form, told",
    [
        (b"this is no sound", {}, "evil.wav: not an audio file"),
        (b"", {}, "evil.wav: an empty file"),
        (wav_file(np.zeros(RATE_HZ)), {}, "evil.wav: no sample differs"),
        (wav_file(np.tile(sound(10, rate_hz=1000), 360), 1000), {}, "evil.wav: 3600 s or more; expected at most 300 s"),
        (
            wav_file(np.random.default_rng(0).normal(0, 0.05, 60 * RATE_HZ)),
            {},
            "60 s in which nobody speaks; expected speech",
        ),
        (wav_file(), {"language": "fr"}, "Speech recognition (asr): asked for fr; the model was trained for es, en."),
        (wav_file(), {"language": ""}, "asked for no language"),
        (wav_file(), {"response_format": "srt"}, "response_format 'srt': expected one of json, text, verbose_json"),
        (None, {}, "file: Field required"),
    ],
)
def test_a_bad_upload_is_one_line(server, content, form, told):
    files = {"file": ("../../etc/evil.wav", content)} if content is not None else {"x": b""}
    answer = http.post(
        f"{server.url}/v1/audio/transcriptions", data={"model": "tiny", "language": "es"} | form, files=files
    )
    assert (
        answer.status_code == 400
        and told in answer.json()["error"]["message"]
        and "/tmp" not in answer.text
        and "etc" not in answer.text
    )


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"input": ""}, "the text is empty"),
        ({"input": "x" * 2**20}, "1,048,576 characters; expected at most 5,000"),
        ({"input": None}, "input: Input should be a valid string"),
        ({"voice": "/etc/passwd"}, "voice '/etc/passwd': no voice of this model. Expected one of default, anna, bert."),
        ({"speed": 2}, "speed 2: expected 1"),
        ({"response_format": "aac"}, "response_format 'aac': expected one of wav, flac, mp3, opus, ogg, pcm"),
        ({"language": "es"}, "Speech synthesis (tts): asked for es; the model was trained for en."),
    ],
)
def test_a_bad_text_is_one_line(server, asked, told):
    answer = http.post(f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": "hello"} | asked)
    assert answer.status_code == 400 and told in answer.json()["error"]["message"]


def test_another_model_and_another_address_are_not_here(client, server):
    with pytest.raises(openai.NotFoundError, match="model 'gpt': not here. Expected tiny."):
        client.audio.speech.create(model="gpt", input="hello", voice="default")
    for method, path, status in (
        ("GET", "/v1/audio/speech", 405),
        ("GET", "/v1/../etc/passwd", 404),
        ("POST", "/v1/nothing", 404),
    ):
        answer = http.request(method, server.url + path)
        assert answer.status_code == status and answer.json()["error"]["message"]


def test_a_task_that_the_model_lacks(made):
    from speechlm import SpeechLM

    with serving(SpeechLM.from_pretrained(made.exp / "sft_asr")) as server:
        answer = http.post(f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": "hello"})
        assert (
            answer.status_code == 400
            and "no model for Speech synthesis (tts). It has Speech recognition (asr)."
            in answer.json()["error"]["message"]
        )


def test_the_key_is_asked_for_and_the_host_checked(made):
    with serving(made.lm, key="söcret", hosts=["127.0.0.1"]) as server:
        for key, status in ((None, 401), ("Bearer wrong", 401), ("söcret", 401), ("Bearer söcret", 200)):
            headers = {"Authorization": key.encode()} if key else {}
            assert http.get(f"{server.url}/v1/models", headers=headers).status_code == status
        assert http.get(f"{server.url}/health").status_code == 200
        assert http.get(f"{server.url}/health", headers={"Host": "evil.example"}).status_code == 400


def test_what_is_too_large_is_refused_by_its_header_or_where_it_becomes_so(made, server):
    with serving(made.lm, max_bytes=100_000) as small:
        for content in (b"x" * 200_000, (b"x" * 10_000 for _ in range(20))):  # the second has no Content-Length
            answer = http.post(
                f"{small.url}/v1/audio/speech", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 413 and "larger than 0.1 MB" in answer.json()["error"]["message"]


def test_a_body_that_does_not_come_gives_its_place_back(made, monkeypatch):
    monkeypatch.setattr(gate, "BODY_SEC", 0.2)
    with serving(made.lm, max_active=1) as server, socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:"
            b" 100\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(1000)
        assert http.post(f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": "hello"}).status_code == 200


class Held:
    """A model whose `run` waits for `go`, and notes the sizes of its batches."""

    def __init__(self, lm):
        self._lm, self.go, self.sizes = lm, threading.Event(), []

    def __getattr__(self, name):
        return getattr(self._lm, name)

    def run(self, jobs):
        self.sizes.append(len(jobs))
        assert self.go.wait(30)
        return self._lm.run(jobs)


def test_who_waits_is_served_together_and_a_full_queue_says_when_to_come_again(made):
    held = Held(made.lm)
    with serving(held, max_active=6) as server, ThreadPoolExecutor(12) as pool:
        say = lambda text: http.post(f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": text})  # noqa: E731
        answers = [pool.submit(say, f"hello {i}") for i in range(12)]
        while sum(answer.done() for answer in answers) < 6:
            time.sleep(0.01)
        held.go.set()
        statuses = [answer.result().status_code for answer in answers]
        assert (
            sorted(statuses) == [200] * 6 + [429] * 6
            and held.sizes[0] < 6
            and sum(held.sizes) == 6
            and len(held.sizes) < 6
        )
        full = next(answer.result() for answer in answers if answer.result().status_code == 429)
        assert full.headers["Retry-After"] == "2" and "Try again in 2 s" in full.json()["error"]["message"]
        assert say("hello again").status_code == 200


def test_many_at_once_get_each_their_own(server, made):
    """A short load: every answer is what the API gives alone."""
    texts = [f"good morning number {i}" for i in range(10)]
    say = lambda text: http.post(  # noqa: E731
        f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": text, "response_format": "wav"}, timeout=60
    )
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(say, texts * 4))
    alone = [made.lm.synthesise(text).encode("wav") for text in texts]
    assert [answer.content for answer in answers] == alone * 4


def test_a_bug_is_one_requests_own(made, monkeypatch):
    def run(jobs):
        if any(len(job.parts[0].prefix_TK) > 40 for job in jobs):
            raise RuntimeError("a bug")
        return made.lm.run(jobs)

    held = Held(made.lm)
    held.go.set()
    monkeypatch.setattr(held, "run", run)
    with serving(held) as server, ThreadPoolExecutor(4) as pool:
        texts = ["hello", "good morning and good evening to everybody", "hi", "bye"]
        say = lambda text: http.post(f"{server.url}/v1/audio/speech", json={"model": "tiny", "input": text})  # noqa: E731
        answers = list(pool.map(say, texts))
        assert [answer.status_code for answer in answers] == [200, 500, 200, 200] and "a bug" not in answers[1].text
        assert http.get(f"{server.url}/health").status_code == 200


FUZZ = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


@FUZZ
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.dictionaries(st.sampled_from(["model", "input", "voice", "speed", "x"]), ANYTHING).map(dump),
    )
)
def test_no_body_breaks_it(server, body):
    for path, kind in (
        ("speech", "application/json"),
        ("transcriptions", "multipart/form-data; boundary=b"),
        ("translations", "text/x"),
    ):
        answer = http.post(f"{server.url}/v1/audio/{path}", content=body, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500 and answer.json()["error"]["message"]


@FUZZ
@given(
    name=st.text(max_size=40),
    form=st.dictionaries(st.sampled_from(["model", "language", "target"]), st.text(max_size=10)),
    cut=st.integers(0, 500),
)
def test_no_upload_breaks_it(server, name, form, cut):
    content = wav_file(sound(0.3))
    content = content[:cut] + content[cut + 7 :]
    answer = http.post(
        f"{server.url}/v1/audio/transcriptions",
        data={"model": "tiny", "language": "es"} | form,
        files={"file": (name, content)},
    )
    assert answer.status_code < 500 and (answer.status_code == 200 or answer.json()["error"]["message"])


def test_lone_surrogates_and_deep_brackets(server):
    for body in (
        b'{"model": "tiny", "input": "\\ud800"}',
        b'{"model": "\\ud800", "input": "x"}',
        b"[" * 100_000,
        b'{"\\ud800": 1}',
    ):
        answer = http.post(f"{server.url}/v1/audio/speech", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500 and answer.json()["error"]["message"]


def test_without_the_extra_the_command_says_which(monkeypatch):
    from speechlm import cli

    monkeypatch.setattr(sys, "argv", ["speechlm", "serve"])
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        SystemExit, match=r"uvicorn: not installed. They come with the extra `serve`: pip install 'speechlm\[serve\]'"
    ):
        cli.main()
