"""What runs: models of a `Source`, loaded when they are first needed, and what they share in memory once. Imports torch.

Shapes: T frames or rows, K codebooks, N samples.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from speechlm.api.sources import Model, Source
from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec
from speechlm.codecs.stream import stream_audio
from speechlm.data.settings import fill
from speechlm.model.folder import TrainedModel, load_model, usual_limit
from speechlm.model.generate import DecodeOptions, generate, stream_speech
from speechlm.tasks import Task
from speechlm.tasks.examples import build_prefix
from speechlm.tokens.patterns import get_pattern

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EMPTY_SEC = 0.1  # of silence, where a model says nothing


@dataclass(frozen=True, eq=False)
class Job:
    """One input, checked and coded: what a task is decoded from. `lang` is that of the output."""

    task: Task
    lang: str
    prefix_TK: np.ndarray


class Engine:
    """The codec and the models of a source on one device. May be used by several threads, one of which computes at a time."""

    def __init__(self, source: Source, device: str | None, dtype: Any):
        self.device, self.dtype = _find_device(device), _find_dtype(dtype)
        self._models = source.by_task()
        self._loaded: dict[str, TrainedModel] = {}
        self._codec_spec = source.codec
        self._lock = threading.RLock()
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

    def _load(self, model: Model) -> TrainedModel:
        trained = load_model(model.folder, self.codec.fingerprint)
        trained.model.to(self.device).cast(self.dtype)
        for other in self._loaded.values():
            share_equal(trained.model, other.model)
            if other.vocab.text_fingerprint == trained.vocab.text_fingerprint:
                trained = replace(trained, text=other.text)
        return trained

    def encode(self, wav_N: np.ndarray) -> np.ndarray:
        """Return codes_TK of a sound at the codec's rate."""
        with self._lock:
            return self.codec.encode(wav_N)

    def job(self, task: Task, lang: str, given: dict[str, str | np.ndarray]) -> Job:
        """Return the job of a task; `given` has its parts: texts, codes_TK. ValueError if it is too long for the model."""
        trained, prompt_frames = self.load(task.name), self._models[task.name].prompt_frames
        parts = [(kind := part.split(":")[0], given[part][:prompt_frames] if kind == "prompt" else given[part]) for part in task.condition]
        prefix_TK = build_prefix(task, lang, parts, trained.vocab, trained.text)
        self._require_room(trained, task, len(prefix_TK))
        return Job(task, lang, prefix_TK)

    def _require_room(self, trained: TrainedModel, task: Task, rows: int) -> None:
        most = getattr(trained.model.llm.config.get_text_config(), "max_position_embeddings", None)
        limit = self.options[task.name].max_rows
        output = get_pattern(trained.vocab.pattern).rows(limit, trained.vocab.num_codebooks) if task.speaks else limit
        if most and rows + output > most:
            raise ValueError(
                f"too long: the input takes {rows} positions, its output up to {output}; the model has {most}. Give a shorter part."
            )

    def run(self, jobs: list[Job]) -> list[list[int] | np.ndarray]:
        """Return text ids, or codes_TK, of jobs of one task."""
        task, prefixes = jobs[0].task, [job.prefix_TK for job in jobs]
        with self._lock:
            found = dict(generate(self.load(task.name).model, task.speaks, prefixes, self.options[task.name]))
        return [found[place].output for place in range(len(jobs))]

    def stream(self, job: Job, codes: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield wav_N of one job while it is decoded, in [-1, 1]; the codes_TK made are added to `codes`."""
        trained = self.load(job.task.name)

        def made() -> Iterator[np.ndarray]:
            for codes_TK in stream_speech(trained.model, job.prefix_TK, self.options[job.task.name]):
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
        """Return the text of ids, with single blanks."""
        return " ".join(self.load(task).text.decode(ids).split())

    def sound(self, codes_TK: np.ndarray) -> np.ndarray:
        """Return wav_N of codes, in [-1, 1]; silence if there are none."""
        if not len(codes_TK):
            return np.zeros(round(self.codec.sample_rate_hz * EMPTY_SEC), np.float32)
        with self._lock:
            return np.clip(self.codec.decode(codes_TK), -1.0, 1.0)


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
