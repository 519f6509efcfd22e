"""The page: record or upload, see transcript, translation and spectrograms, hear the result. A mistake is one line on
it.
"""

import io
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing of what is tried here leaves this machine

import gradio as gr  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from PIL import Image  # noqa: E402
from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: E402

from speechlm.api import Speech, SpeechLM  # noqa: E402
from speechlm.api.inputs import read_sound  # noqa: E402
from speechlm.data.audio import resample  # noqa: E402
from speechlm.data.items import printable  # noqa: E402
from speechlm.data.kaldi import list_sides, read_audio  # noqa: E402
from speechlm.report import sound  # noqa: E402

MOST_EXAMPLES = 5
PICTURE_SIZE = (960, 200)  # of a spectrogram, in pixels
SYSTEM_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none is fetched
OUTPUTS = {"asr": "Transcript", "s2tt": "Translation", "s2st": "Spoken translation"}
Line = tuple[str, str | None]  # of examples: recording, language


def make_page(lm: SpeechLM, examples: list[Line]) -> gr.Blocks:
    """Return the page of a model: a tab for recordings, and one for texts, as far as it has tasks for them."""
    with gr.Blocks(title="speechlm", analytics_enabled=False) as page:
        gr.Markdown("# Speech LLM")
        heard = [task for task in OUTPUTS if task in lm.tasks]
        if heard:
            with gr.Tab("Recording"):
                _add_hearing(lm, heard, examples)
        if "tts" in lm.tasks:
            with gr.Tab("Text to speech"):
                _add_speaking(lm)
    return page.queue(max_size=32, default_concurrency_limit=1)


def _add_hearing(lm: SpeechLM, tasks: list[str], examples: list[Line]) -> None:
    """Add what is done with a recording."""
    pairs = list(dict.fromkeys(pair for task in tasks for pair in lm.tasks[task]))
    sources = list(dict.fromkeys(src for src, _ in pairs))
    targets = list(dict.fromkeys(tgt for task in tasks for src, tgt in lm.tasks[task] if src != tgt))
    with gr.Row():
        with gr.Column():
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", buttons=[], label="Recording", elem_id="recording"
            )
            wanted = gr.CheckboxGroup(
                [(OUTPUTS[task], task) for task in tasks], value=tasks, label="Make", elem_id="wanted"
            )
            src = gr.Dropdown(sources, value=sources[0], label="Spoken language", elem_id="src")
            tgt = gr.Dropdown(
                targets, value=next(iter(targets), None), label="Translate into", elem_id="tgt", visible=bool(targets)
            )
            button = gr.Button("Run", variant="primary", elem_id="run")
            names = [(f"{Path(path).name} ({lang})", number) for number, (path, lang) in enumerate(examples)]
            chosen = gr.Dropdown(
                names, value=None, label="From the test set", elem_id="examples", visible=bool(examples)
            )
            chosen.input(lambda number: examples[number], chosen, [audio, src], api_name=False)
        with gr.Column():
            message = gr.Textbox(label="Message", interactive=False, elem_id="message")
            transcript = gr.Textbox(label="Transcript", interactive=False, elem_id="transcript", visible="asr" in tasks)
            translation = gr.Textbox(
                label="Translation", interactive=False, elem_id="translation", visible="s2tt" in tasks
            )
            given = gr.Image(label="Spectrogram of the recording", interactive=False, buttons=[], elem_id="given")
            spoken = gr.Audio(
                label="Spoken translation",
                interactive=False,
                buttons=["download"],
                elem_id="spoken",
                visible="s2st" in tasks,
            )
            picture = gr.Image(
                label="Its spectrogram", interactive=False, buttons=[], elem_id="picture", visible="s2st" in tasks
            )
    outputs = [message, transcript, translation, given, spoken, picture]
    button.click(lambda *values: hear(lm, *values), [audio, wanted, src, tgt], outputs, api_name=False)


def _add_speaking(lm: SpeechLM) -> None:
    """Add what is done with a text."""
    langs = [src for src, _ in lm.tasks["tts"]]
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(label="Text", lines=3, elem_id="text")
            lang = gr.Dropdown(langs, value=langs[0], label="Language", elem_id="lang")
            voice = gr.Dropdown(
                list(lm.voices),
                value=next(iter(lm.voices), None),
                label="Voice",
                elem_id="voice",
                visible=bool(lm.voices),
            )
            own = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                buttons=[],
                label="Or a recording of the voice",
                elem_id="own",
            )
            button = gr.Button("Speak", variant="primary", elem_id="speak")
        with gr.Column():
            message = gr.Textbox(label="Message", interactive=False, elem_id="message_of_speech")
            speech = gr.Audio(label="Speech", interactive=False, buttons=["download"], elem_id="speech")
            picture = gr.Image(label="Its spectrogram", interactive=False, buttons=[], elem_id="speech_picture")
    button.click(
        lambda *values: speak(lm, *values), [text, lang, voice, own], [message, speech, picture], api_name=False
    )


def hear(lm: SpeechLM, path: str | None, wanted: list[str], src: str, tgt: str | None) -> list:
    """Return (message, transcript, translation, spectrogram, spoken translation, its spectrogram) of a recording."""

    def work() -> list:
        if path is None:
            raise ValueError("Record something, or upload a file.")
        given = (read_sound(path, lm.rate_hz, lm.max_sec), lm.rate_hz)
        message, fitting = _fitting(
            lm, {task: (src, src if task == "asr" else tgt) for task in OUTPUTS if task in wanted}
        )
        jobs = {task: lm.prepare(task, given, *pair) for task, pair in fitting.items()}
        results = dict(zip(jobs, lm.run(list(jobs.values()))))
        spoken = results.get("s2st")
        texts = [str(results[task]) if task in results else None for task in ("asr", "s2tt")]
        return [
            message,
            *texts,
            spectrogram(*given),
            spoken and as_audio(spoken),
            spoken and spectrogram(spoken.wav, spoken.rate_hz),
        ]

    return _tried(work, 5, path)


def _fitting(lm: SpeechLM, asked: dict[str, tuple[str, str | None]]) -> tuple[str, dict[str, tuple[str, str | None]]]:
    """Return (message, tasks with their languages): those that the model does in these languages, and a word on the
    others.
    """
    messages, fitting = [], {}
    for task, pair in asked.items():
        try:
            lm.languages(task, *pair)
            fitting[task] = pair
        except ValueError as error:
            messages.append(str(error))
    return " ".join(messages), fitting


def speak(lm: SpeechLM, text: str, lang: str, voice: str | None, own: str | None) -> list:
    """Return (message, speech, its spectrogram) of a text; `own` is a recording that goes before the `voice`."""

    def work() -> list:
        chosen = (read_sound(own, lm.rate_hz, lm.max_sec), lm.rate_hz) if own else voice
        if not own and voice not in {None, *lm.voices}:  # a path is no voice here
            raise ValueError(f"no voice {printable(str(voice))!r}; expected one of {', '.join(lm.voices)}")
        [speech] = lm.run([lm.prepare("tts", text, lang, lang, chosen)])
        return ["", as_audio(speech), spectrogram(speech.wav, speech.rate_hz)]

    return _tried(work, 2, own)


def _tried(work: Callable[[], list], outputs: int, path: str | None) -> list:
    """Return what `work` gives, a message and outputs; of a mistake, a line and as many empty outputs."""
    try:
        return work()
    except ValueError as error:
        message = str(error).replace(str(path), printable(Path(path).name)) if path else str(error)
        return [" ".join(message.split())] + [None] * outputs


def as_audio(speech: Speech) -> tuple[int, np.ndarray]:
    """Return speech as Gradio takes it: 16 bits."""
    return speech.rate_hz, (speech.wav * 32767).astype(np.int16)


def spectrogram(wav_N: np.ndarray, rate_hz: int) -> Image.Image:
    """Return a picture of a sound's log-mel spectrogram, as in the report."""
    picture = Image.open(io.BytesIO(sound.picture(resample(wav_N, rate_hz, sound.RATE_HZ))))
    return picture.convert("RGB").resize(PICTURE_SIZE)


def read_examples(folder: Path | None, langs: list[str]) -> list[Line]:
    """Return the first recordings of a set (a Kaldi directory) in these languages; none without a folder. ValueError if
    it is no such set.

    A set of one language (files without a suffix) is taken for the first of `langs`.
    """
    if folder is None:
        return []
    sides = list_sides(folder, langs[0])
    return [line for lang in langs if lang in sides for line in _of_language(folder, lang)]


def _of_language(folder: Path, lang: str) -> Iterator[Line]:
    whole = (item for item in read_audio(folder, lang).items() if item[1].end_sec is None)
    for key, span in islice(whole, MOST_EXAMPLES):
        found = next(
            (base / span.path for base in (Path("."), *folder.resolve().parents) if (base / span.path).is_file()), None
        )
        if found is None:
            raise ValueError(
                f"{folder}: {span.path} of {key} isn't there. Run from the recipe's folder, or make its data again."
            )
        yield str(found.resolve()), lang


def make_app(page: gr.Blocks, examples: list[Line], max_mb: float, hosts: list[str] | None = None) -> FastAPI:
    """Return the page as an application; `hosts` are the names that a request may call this machine by (None: any)."""
    page.has_launched = True  # else Gradio doesn't check that the file which a request names is one that was uploaded
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        allowed_paths=[path for path, _ in examples],
        footer_links=[],
        show_error=False,
        max_file_size=f"{max_mb:g}mb",
        ssr_mode=False,
        enable_monitoring=False,
        theme=gr.themes.Soft(**SYSTEM_FONTS),
    )
