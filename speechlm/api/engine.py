"""What runs: the models of a `Source`, loaded when they are first needed, and what they share, held in memory once.
Imports torch.

Shapes: T frames or rows, K codebooks, N samples.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from speechlm.api.pauses import find_pieces, speaks
from speechlm.api.sources import Model, Source
from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec, decode_all
from speechlm.codecs.stream import stream_audio
from speechlm.data.settings import fill
from speechlm.model.folder import TrainedModel, load_model, longest_heard, usual_limit
from speechlm.model.generate import DecodeOptions, compile_steps, generate, stream_speech
from speechlm.tasks import Task
from speechlm.tasks.examples import build_prefix
from speechlm.tokens.patterns import get_pattern

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EMPTY_SEC = 0.1  # of silence, where a model produces nothing
UNKNOWN_SEC = 30.0  # given at a time to a model that does not say how long the sounds in its training were


@dataclass(frozen=True, eq=False)
class Part:
    """What is decoded at a time; of a sound, the stretch from `start_sec` to `end_sec`."""

    prefix_TK: np.ndarray
    start_sec: float = 0.0
    end_sec: float = 0.0


@dataclass(frozen=True, eq=False)
class Job:
    """One input, checked and coded: what a task is decoded from. A long sound has several parts.

    `lang` is the language of the output.
    """

    task: Task
    lang: str
    parts: tuple[Part, ...]

    @property
    def pauses_sec(self) -> list[float]:
        """The pause before each part; none before the first."""
        return [0.0, *(after.start_sec - before.end_sec for before, after in pairwise(self.parts))]


class Engine:
    """The codec and the models of a source on one device. May be used by several threads, one of which computes at a
    time.
    """

    def __init__(self, source: Source, device: str | None, dtype: Any):
        self.device, self.dtype = _find_device(device), _find_dtype(dtype)
        self._models = source.by_task()
        self._loaded: dict[str, TrainedModel] = {}
        self._codec_spec = source.codec
        self._lock, self._compiled = threading.RLock(), False
        self.options = {task: _options(source, task, model) for task, model in self._models.items()}

    @cached_property
    def codec(self) -> Codec:
        """The codec that all models speak."""
        return load_codec(self._codec_spec)

    def load(self, task: str) -> TrainedModel:
        """Return the model that does a task, loaded the first time."""
        model = self._models[task]
        with self._lock:
            if model.folder.name not in self._loaded:
                self._loaded[model.folder.name] = self._load(model)
            return self._loaded[model.folder.name]

    def compile(self) -> None:
        """Compile the steps of all models, including those that are loaded later."""
        with self._lock:
            self._compiled = True
            for trained in self._loaded.values():
                compile_steps(trained.model)

    def _load(self, model: Model) -> TrainedModel:
        trained = load_model(model.folder, self.codec.fingerprint)
        trained.model.to(self.device).cast(self.dtype)
        if self._compiled:
            compile_steps(trained.model)
        for other in self._loaded.values():
            share_equal(trained.model, other.model)
            if other.vocab.text_fingerprint == trained.vocab.text_fingerprint:
                trained = replace(trained, text=other.text)
        return trained

    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """Return codes_TK of a sound at the codec's rate."""
        with self._lock:
            return self.codec.encode(wav_N)

    def part(
        self, task: Task, lang: str, given: dict[str, str | np.ndarray], start_sec: float = 0.0, end_sec: float = 0.0
    ) -> Part:
        """Return what a task is decoded from; `given` has its parts: texts, codes_TK. ValueError: too long for the
        model.
        """
        prefix_TK = self._prefix(task, lang, given)
        positions, output = self._room(task)
        if positions and len(prefix_TK) + output > positions:
            raise ValueError(
                f"too long: the input takes {len(prefix_TK)} positions, its output up to {output}; the model has"
                f" {positions}. Give a shorter part."
            )
        return Part(prefix_TK, start_sec, end_sec)

    def _prefix(self, task: Task, lang: str, given: dict[str, str | np.ndarray]) -> np.ndarray:
        trained, prompt_frames = self.load(task.name), self._models[task.name].prompt_frames
        parts = [
            (kind := part.split(":")[0], given[part][:prompt_frames] if kind == "prompt" else given[part])
            for part in task.condition
        ]
        return build_prefix(task, lang, parts, trained.vocab, trained.text)

    def _room(self, task: Task) -> tuple[int | None, int]:
        """Return how many positions the model of a task has (None: any number), and the most that an output takes."""
        trained, limit = self.load(task.name), self.options[task.name].max_rows
        positions = getattr(trained.model.llm.config.get_text_config(), "max_position_embeddings", None)
        return positions, (
            get_pattern(trained.vocab.pattern).rows(limit, trained.vocab.num_codebooks) if task.speaks else limit
        )

    def longest_sec(self, task: Task, lang: str, wanted_sec: float | None = None) -> float:
        """Return how long a sound a task is given whole: as wanted, else half as long again as the longest in training.

        It is less if the model has no room for that.
        """
        trained = self.load(task.name)
        heard, (positions, output) = longest_heard(trained.folder, task.name), self._room(task)
        usual_sec = UNKNOWN_SEC if heard is None else 1.5 * heard / self.codec.frame_rate_hz
        frames = (wanted_sec or usual_sec) * self.codec.frame_rate_hz
        if positions:
            K, pattern = trained.vocab.num_codebooks, get_pattern(trained.vocab.pattern)
            one_frame = self._prefix(task, lang, {"speech:src": np.zeros((1, K), np.int32)})
            left = max(0, positions - output - (len(one_frame) - pattern.rows(1, K)))
            frames = min(frames, bisect_right(range(left + 1), left, key=lambda frames: pattern.rows(frames, K)) - 1)
        return frames / self.codec.frame_rate_hz

    def cut(self, wav_N: np.ndarray, longest_sec: float) -> list[tuple[float, float]]:
        """Return (start, end) in seconds of the pieces of a sound at the codec's rate; a short one is one piece.

        ValueError if nobody speaks in a long one.
        """
        sec = len(wav_N) / self.codec.sample_rate_hz
        if sec <= longest_sec:
            return [(0.0, sec)]
        with self._lock:
            pieces = find_pieces(wav_N, self.codec.sample_rate_hz, longest_sec)
        if not pieces:
            raise ValueError(_nobody(sec))
        return pieces

    def require_speech(self, wav_N: np.ndarray) -> None:
        """Raise ValueError if nobody speaks in a sound at the codec's rate."""
        with self._lock:
            if not speaks(wav_N, self.codec.sample_rate_hz):
                raise ValueError(_nobody(len(wav_N) / self.codec.sample_rate_hz))

    def run(self, jobs: list[Job]) -> list[list[list[int] | np.ndarray]]:
        """Return text ids, or codes_TK, of each part of jobs of one task."""
        task, prefixes = jobs[0].task, [part.prefix_TK for job in jobs for part in job.parts]
        with self._lock:
            found = dict(generate(self.load(task.name).model, task.speaks, prefixes, self.options[task.name]))
        outputs = (found[place].output for place in range(len(prefixes)))
        return [list(islice(outputs, len(job.parts))) for job in jobs]

    def stream(self, job: Job, codes: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield wav_N of one job while it is decoded, in [-1, 1]; the codes_TK made are added to `codes`."""
        for part, pause_sec in zip(job.parts, job.pauses_sec):
            if pause_sec:
                yield self.silence(pause_sec)
            yield from self._stream(job.task, part, codes)

    def _stream(self, task: Task, part: Part, codes: list[np.ndarray]) -> Iterator[np.ndarray]:
        trained = self.load(task.name)

        def made() -> Iterator[np.ndarray]:
            for codes_TK in stream_speech(trained.model, part.prefix_TK, self.options[task.name]):
                codes.append(codes_TK)
                yield codes_TK

        chunks = stream_audio(self.codec, made())
        while True:
            with self._lock:  # others may compute between two chunks
                wav_N = next(chunks, None)
            if wav_N is None:
                return
            yield np.clip(wav_N, -1.0, 1.0)

    def text(self, task: str, ids: list[int]) -> str:
        """Return the text of ids, with single spaces."""
        return " ".join(self.load(task).text.decode(ids).split())

    def sounds(self, outputs: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """Return wav_N, in [-1, 1], of the codes_TK of each job's parts; of none, silence."""
        codes = {(job, part): codes_TK for job, parts in enumerate(outputs) for part, codes_TK in enumerate(parts)}
        with self._lock:
            made = decode_all(self.codec, {place: codes_TK for place, codes_TK in codes.items() if len(codes_TK)})
        sounds = {
            place: np.clip(made[place], -1.0, 1.0) if place in made else self.silence(EMPTY_SEC) for place in codes
        }
        return [[sounds[job, part] for part in range(len(parts))] for job, parts in enumerate(outputs)]

    def silence(self, sec: float) -> np.ndarray:
        """Return wav_N of silence."""
        return np.zeros(round(self.codec.sample_rate_hz * sec), np.float32)


def _nobody(sec: float) -> str:
    return f"{sec:.{0 if sec >= 10 else 1}f} s in which nobody speaks"


def _options(source: Source, task: str, model: Model) -> DecodeOptions:
    """Return how a task is decoded: as its test sets were, else bounded by the longest output in training."""
    usual = {"max_rows": usual_limit(model.folder, task, DecodeOptions.max_rows)}
    return fill(DecodeOptions, source.decoding.get(task, usual), f"{source.folder}: {task}")


def share_equal(model: nn.Module, other: nn.Module) -> None:
    """Let the weights of `model` that equal those of the same name in `other` be the same memory."""
    theirs = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        if name in theirs and parameter.shape == theirs[name].shape and torch.equal(parameter, theirs[name]):
            parameter.data = theirs[name].data


def _find_device(device: str | None) -> torch.device:
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r}: {str(error).splitlines()[0]}. Expected cpu, or on a machine with GPUs cuda or cuda:N."
        ) from None
    return found


def _find_dtype(dtype: Any) -> torch.dtype:
    name = str(dtype or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    return DTYPES[name]
