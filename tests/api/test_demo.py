"""The page in a real browser: upload, click, read, hear; a broken upload is one line; nothing is asked of a network."""

import re

import httpx
import numpy as np
import pytest
from experiment import RATE_HZ
from serving import running

from speechlm.data.audio import save_wav
from speechlm.demo.page import hear, make_app, make_page, read_examples, speak

CLIENT_SEC = 60


@pytest.fixture(scope="module")
def demo(made):
    examples = read_examples(made.root / "data/dev", ["es", "en"])
    assert len(examples) == 8 and examples[0][1] == "es"
    with running(make_app(make_page(made.lm, examples), examples, 1.0, ["127.0.0.1"])) as server:
        yield server


@pytest.fixture
def page(chromium, demo):
    """The opened page; at the end, no error may have been complained of, and nothing asked of another machine."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page, errors, elsewhere = context.new_page(), [], []
    page.set_default_timeout(CLIENT_SEC * 1000)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((demo.url, "blob:", "data:")) else elsewhere.append(request.url),
    )
    page.add_init_script(NOTE_PLAYING)
    page.goto(demo.url)
    page.wait_for_selector("#run")
    yield page
    context.close()
    assert not errors and not elsewhere


def value(page, name):
    return page.locator(f"#{name} textarea, #{name} input").first.input_value()


def wait_for_text(page, name, message):
    page.wait_for_function(
        "([name, message]) => document.querySelector(`#${name} textarea`).value.includes(message)", arg=[name, message]
    )
    return value(page, name)


def upload(page, path, name="recording"):
    page.set_input_files(f"#{name} input[type=file]", str(path))


def plays(page, name):
    """Play a sound, and wait until its time has moved."""
    page.locator(f"#{name} button[aria-label=Play]").first.click()
    page.wait_for_function("() => window.heardSec > 0.1")


NOTE_PLAYING = """const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
    this.addEventListener("timeupdate", () => { window.heardSec = this.currentTime; });
    return play.call(this);
};"""


def test_a_recording_is_uploaded_and_its_translation_read_and_heard(page, made):
    upload(page, made.a)
    page.wait_for_selector("#recording button[aria-label=Play]")
    page.click("#run")
    text = str(made.lm.transcribe(made.a, lang="es"))
    page.wait_for_function("() => document.querySelector('#transcript textarea').value")
    assert "".join(value(page, "transcript").split()) == "".join(text.split()) and not value(page, "message")
    assert value(page, "translation")
    page.wait_for_selector("#given img"), page.wait_for_selector("#picture img")
    plays(page, "spoken")


def test_a_text_is_spoken(page, made):
    page.get_by_role("tab", name="Text to speech").click()
    page.fill("#text textarea", "good morning")
    page.click("#speak")
    page.wait_for_selector("#speech_picture img")
    plays(page, "speech")
    page.fill("#text textarea", "")
    page.click("#speak")
    assert wait_for_text(page, "message_of_speech", "empty") == "the text is empty; expected words to say"


def test_a_broken_upload_is_one_line(page, made, tmp_path):
    (tmp_path / "broken.wav").write_text("no sound")
    upload(page, tmp_path / "broken.wav")
    page.wait_for_timeout(1000)
    page.click("#run")
    assert re.match(r"broken.wav: not an audio file", wait_for_text(page, "message", "not an audio"))


def test_an_example_is_taken_and_what_does_not_fit_it_is_said(page, made):
    page.click("#examples input")
    page.get_by_role("option", name="anna-1.en.wav (en)").click()
    page.wait_for_selector("#recording button[aria-label=Play]")
    page.wait_for_function("() => document.querySelector('#src input').value === 'en'")
    page.click("#run")
    message = wait_for_text(page, "message", "trained for es to en")
    assert message.startswith("Speech-to-text translation (s2tt): asked for en; the model") and value(
        page, "transcript"
    )


def test_what_is_bad_is_one_line(made, tmp_path):
    save_wav(tmp_path / "silence.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    for call, message in (
        (lambda: hear(made.lm, None, ["asr"], "es", "en"), "Record something, or upload a file."),
        (lambda: hear(made.lm, str(tmp_path / "silence.wav"), ["asr"], "es", "en"), "silence.wav: no sample differs"),
        (lambda: hear(made.lm, str(made.a), ["asr"], "fr", "en"), "asked for fr"),
        (lambda: speak(made.lm, "x" * 2**20, "en", "anna", None), "1,048,576 characters"),
        (
            lambda: speak(made.lm, "hello", "en", "/etc/passwd", None),
            "no voice '/etc/passwd'; expected one of anna, bert",
        ),
        (lambda: speak(made.lm, "hello", "en", "anna", str(tmp_path / "silence.wav")), "silence.wav: no sample"),
    ):
        line, *others = call()
        assert (
            message in line
            and "\n" not in line
            and str(tmp_path) not in line
            and not any(other for other in others[:2])
        )


def test_no_file_of_this_machine_is_used_and_large_uploads_are_refused(demo, made):
    [hearing] = [
        call["id"] for call in httpx.get(f"{demo.url}/config").json()["dependencies"] if len(call["outputs"]) == 6
    ]
    for number, path in enumerate(("/etc/hostname", "../../etc/hostname", str(made.a))):
        assert httpx.get(f"{demo.url}/gradio_api/file={path}").status_code in (403, 404)
        given, session = {"path": path, "meta": {"_type": "gradio.FileData"}}, f"session{number}"
        asked = {"data": [given, ["asr"], "es", "en"], "fn_index": hearing, "session_hash": session}
        assert httpx.post(f"{demo.url}/gradio_api/queue/join", json=asked).status_code == 200
        message = httpx.get(f"{demo.url}/gradio_api/queue/data?session_hash={session}", timeout=60).text
        assert '"success":false' in message and "not an audio file" not in message
    upload = httpx.post(f"{demo.url}/gradio_api/upload", files={"files": ("a.wav", b"x" * 2_000_000)})
    assert upload.status_code == 413
    assert httpx.get(demo.url, headers={"Host": "evil.example"}).status_code == 400
