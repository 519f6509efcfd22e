"""The endpoints. What a request may hold beyond OpenAI's: `language` in all three (what is spoken), `target` in
translations (default: en).

Speech of response_format pcm is streamed while it is being made. Other formats are sent when they are complete, and are
decoded together with other requests.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import Annotated

import numpy as np
import soxr
from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from speechlm.api import Speech, SpeechLM, Text
from speechlm.api.inputs import read_sound
from speechlm.data.items import printable
from speechlm.server.gate import Gate, Limits, error_response
from speechlm.server.metrics import Metrics
from speechlm.server.worker import Request as Work
from speechlm.server.worker import Worker

TEXT_FORMATS = ("json", "text", "verbose_json")
SOUND_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "pcm": "audio/pcm",
}
PCM_HZ = 24000  # of response_format pcm, as OpenAI's: 16 bits, little-endian, one channel
DEFAULT_VOICE = "default"


class SpeechRequest(BaseModel):
    """The body of /v1/audio/speech."""

    model: str
    input: str
    voice: str = DEFAULT_VOICE
    response_format: str = "mp3"
    speed: float = 1.0
    language: str | None = None


class Service:
    """What the endpoints share: the model, its public name, and the worker that uses it."""

    def __init__(self, lm: SpeechLM, name: str, limits: Limits):
        self.lm, self.name, self.metrics = lm, name, Metrics()
        self.worker = Worker(lm, self.metrics, limits.max_batch)

    def require_model(self, model: str) -> None:
        """Raise HTTPException 404 for another model's name."""
        if model != self.name:
            raise HTTPException(404, f"model {printable(model)!r}: not here. Expected {self.name}.")

    async def run(self, task: str, given, src: str | None, tgt: str | None, voice: str | None = None) -> Text | Speech:
        """Return the result of one request when its turn comes; a ValueError is the user's mistake."""
        self.lm.languages(task, src, tgt)
        work = Work(lambda: self.lm.prepare(task, given, src, tgt, voice))
        return await asyncio.wrap_future(self.worker.submit(work))

    async def stream(self, given: str, lang: str | None, voice: str | None) -> AsyncIterator[np.ndarray]:
        """Return chunks of samples of a text that is spoken, when the first is there."""
        self.lm.languages("tts", lang, lang)
        loop, chunks = asyncio.get_running_loop(), asyncio.Queue()
        emit = lambda chunk: loop.call_soon_threadsafe(chunks.put_nowait, chunk)  # noqa: E731
        work = Work(lambda: self.lm.prepare("tts", given, lang, lang, voice), emit)
        await asyncio.wrap_future(self.worker.submit(work))
        return _receive(chunks, work)


async def _receive(chunks: asyncio.Queue, work: Work) -> AsyncIterator[np.ndarray]:
    try:
        while (chunk := await chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
    finally:
        work.left.set()


def make_app(
    lm: SpeechLM, name: str, limits: Limits | None = None, key: str | None = None, hosts: list[str] | None = None
) -> FastAPI:
    """Return the application. `name` is the model's public name; `hosts` the names that a request may call this machine
    by (None: any).
    """
    limits = limits or Limits()
    service = Service(lm, name, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.worker.close)

    app = FastAPI(title="speechlm", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    add_audio(app, service)
    add_status(app, service)
    add_errors(app)
    app.add_middleware(Gate, key=key, limits=limits, metrics=service.metrics)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


def add_audio(app: FastAPI, service: Service) -> None:
    """Add the endpoints that need the model."""

    @app.post("/v1/audio/transcriptions")
    async def transcriptions(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        language: Annotated[str | None, Form()] = None,
        response_format: Annotated[str, Form()] = "json",
    ) -> Response:
        return await answer_text(service, "asr", file, model, (language or None, language or None), response_format)

    @app.post("/v1/audio/translations")
    async def translations(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        language: Annotated[str | None, Form()] = None,
        target: Annotated[str, Form()] = "en",
        response_format: Annotated[str, Form()] = "json",
    ) -> Response:
        return await answer_text(service, "s2tt", file, model, (language or None, target), response_format)

    @app.post("/v1/audio/speech")
    async def speech(asked: SpeechRequest) -> Response:
        return await answer_speech(service, asked)


def add_status(app: FastAPI, service: Service) -> None:
    """Add the endpoints that only report."""
    entry = {"id": service.name, "object": "model", "created": 0, "owned_by": "speechlm", "tasks": service.lm.tasks}

    @app.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [entry]}

    @app.get("/v1/models/{model:path}")
    async def one_model(model: str) -> dict:
        service.require_model(model)
        return entry

    @app.get("/health")
    async def health() -> JSONResponse:
        alive = service.worker.alive
        return JSONResponse(
            {"status": "ok" if alive else "the worker has ended", "active": service.metrics.active},
            200 if alive else 503,
        )

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics.text())


def add_errors(app: FastAPI) -> None:
    """Give every error the form that OpenAI's clients expect."""

    @app.exception_handler(ValueError)
    async def users_mistake(request: Request, error: ValueError) -> Response:
        return error_response(400, str(error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), **(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        message = "; ".join(
            f"{'.'.join(map(str, fault['loc'][1:])) or 'the request'}: {fault['msg']}" for fault in error.errors()[:5]
        )
        return error_response(400, message)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return error_response(500, "something went wrong here; the server's log says what")


async def answer_text(
    service: Service,
    task: str,
    file: UploadFile,
    model: str,
    languages: tuple[str | None, str | None],
    response_format: str,
) -> Response:
    """Answer with the text of a recording."""
    service.require_model(model)
    if response_format not in TEXT_FORMATS:
        raise ValueError(f"response_format {printable(response_format)!r}: expected one of {', '.join(TEXT_FORMATS)}")
    service.lm.languages(task, *languages)
    wav_N = await run_in_threadpool(read_upload, file, service.lm)
    result = await service.run(task, (wav_N, service.lm.rate_hz), *languages)
    if response_format == "text":
        return PlainTextResponse(f"{result}\n")
    if response_format == "json":
        return JSONResponse({"text": result.text})
    more = {"task": task, "language": result.lang, "duration": round(len(wav_N) / service.lm.rate_hz, 3)}
    stretches = [(each.start_sec, each.end_sec, each.text) for each in result.segments]
    segments = [{"id": i, **dict(zip(("start", "end", "text"), stretch))} for i, stretch in enumerate(stretches)]
    return JSONResponse({"text": result.text, **more, "segments": segments})


def read_upload(file: UploadFile, lm: SpeechLM) -> np.ndarray:
    """Return wav_N of an uploaded file, at the model's rate. Its name is only used in the ValueError for a bad file."""
    with tempfile.NamedTemporaryFile(prefix="speechlm-") as copy:
        while block := file.file.read(1 << 20):
            copy.write(block)
        copy.flush()
        try:
            return read_sound(copy.name, lm.rate_hz, lm.max_sec)
        except ValueError as error:
            shown = printable(PurePath(file.filename or "").name) or "the file"
            raise ValueError(str(error).replace(copy.name, shown)) from None


async def answer_speech(service: Service, asked: SpeechRequest) -> Response:
    """Answer with a text spoken."""
    service.require_model(asked.model)
    if asked.response_format not in SOUND_TYPES:
        raise ValueError(
            f"response_format {printable(asked.response_format)!r}: expected one of {', '.join(SOUND_TYPES)}"
        )
    if asked.speed != 1.0:
        raise ValueError(f"speed {asked.speed:g}: expected 1; this model speaks at its own")
    if asked.voice != DEFAULT_VOICE and asked.voice not in service.lm.voices:  # a path is no voice here
        known = ", ".join([DEFAULT_VOICE, *service.lm.voices])
        raise ValueError(f"voice {printable(asked.voice)!r}: no voice of this model. Expected one of {known}.")
    lang, voice = asked.language or None, None if asked.voice == DEFAULT_VOICE else asked.voice
    if asked.response_format == "pcm":
        chunks = await service.stream(asked.input, lang, voice)
        return StreamingResponse(as_pcm(chunks, service.lm.rate_hz), media_type=SOUND_TYPES["pcm"])
    result = await service.run("tts", asked.input, lang, lang, voice)
    content = await run_in_threadpool(result.encode, asked.response_format)
    return Response(content, media_type=SOUND_TYPES[asked.response_format])


async def as_pcm(chunks: AsyncIterator[np.ndarray], rate_hz: int) -> AsyncIterator[bytes]:
    """Yield chunks of samples as raw 16 bits at `PCM_HZ`."""
    resampler = soxr.ResampleStream(rate_hz, PCM_HZ, 1, dtype="float32")
    convert = lambda wav_N: (np.clip(wav_N, -1, 1) * 32767).astype("<i2").tobytes()  # noqa: E731
    async for wav_N in chunks:
        yield convert(resampler.resample_chunk(wav_N))
    yield convert(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
