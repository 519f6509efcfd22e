"""Three lines from a trained model to its use: `SpeechLM.from_pretrained(...)`, then `transcribe`, `translate`,
`synthesise`.

Every mistake of a user's is a ValueError of one line. torch is imported by `from_pretrained`, not before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from speechlm.api.inputs import Sound, check_text, is_many, is_there, read_sound
from speechlm.api.results import Segment, Speech, SpeechStream, Text
from speechlm.api.sources import Source, read_source
from speechlm.data.audio import MAX_SEC
from speechlm.data.languages import by_character
from speechlm.tasks import Task, get_task

if TYPE_CHECKING:
    from speechlm.api.engine import DecodeOptions, Job, Part

__all__ = ["SpeechLM", "Speech", "Text"]


class SpeechLM:
    """A trained speech LLM, or the several that fine-tuning produced, each used for its task.

    Codec, tokenizer and equal weights are held in memory once; a model is loaded when a task first needs it. `max_sec`
    bounds each sound, and with `check_speech` (True) one in which nobody speaks is refused. Sounds are a path, a pair
    (array [samples] or [samples, channels], rate in Hz), or a list of these, which is decoded in batches.

    A long sound is cut at its pauses, the pieces are decoded in batches, and put together: texts with a space, speech
    with the pauses. A sound is long if it takes more than `piece_sec`; by default (None) that is half as long again as
    the longest sound in training, or 30 s if the model doesn't say, within the model's number of positions.
    """

    def __init__(self, source: Source, device: str | None = None, dtype: Any = None, max_sec: float = MAX_SEC):
        from speechlm.api.engine import Engine

        self.source, self.max_sec, self.piece_sec, self.check_speech = source, max_sec, None, True
        self._engine = Engine(source, device, dtype)
        self._by_task = source.by_task()

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | None = None, dtype: Any = None) -> "SpeechLM":
        """Load a recipe's experiment (all its tasks), a trained model's folder, a saved folder, a packed file, or a hub
        name.

        A hub name is OWNER/NAME[@REVISION]. A packed file (.zip) is unpacked to a temporary folder.

        `device` is a torch device (default: cuda if there is one, else cpu), `dtype` float32 (default), bfloat16 or
        float16. The hub is that of $HF_ENDPOINT, by default huggingface.co. Raises ValueError if nothing is found under
        the name, or its files do not belong together.
        """
        from speechlm.api.hub import fetch
        from speechlm.api.packing import unpack

        path = Path(name) if is_there(name) else fetch(str(name))
        if not path.is_file():
            return cls(read_source(path), device, dtype)
        unpacked = TemporaryDirectory(prefix="speechlm-")
        lm = cls(read_source(unpack(path, Path(unpacked.name))), device, dtype)
        lm._unpacked = unpacked  # removed with it
        return lm

    @property
    def tasks(self) -> dict[str, list[tuple[str, str]]]:
        """The tasks of the model: {name: [(source language, target language)]}, the two equal for a task of one
        language.
        """
        return {task: list(model.tasks[task]) for task, model in self._by_task.items()}

    def load(self, task: str) -> None:
        """Load the model of a task now, rather than when it is first used."""
        self._engine.load(task)

    def compile(self) -> None:
        """Make decoding faster from now on, three times as fast on a GPU; the first answers wait half a minute or so
        for the compiler.
        """
        self._engine.compile()

    @property
    def rate_hz(self) -> int:
        """The sample rate of all speech produced, in Hz."""
        return self._engine.codec.sample_rate_hz

    @cached_property
    def voices(self) -> dict[str, dict[str, list[list[int]]]]:
        """The voices that the model comes with: {name: {language: codes [frames, codebooks]}}."""
        from speechlm.api.voices import read_voices

        return read_voices(self.source, self._engine.codec.fingerprint)

    @property
    def options(self) -> "dict[str, DecodeOptions]":
        """How each task is decoded: {name: DecodeOptions}, which may be replaced."""
        return self._engine.options

    def transcribe(self, audio: Sound | list[Sound], lang: str | None = None) -> Text | list[Text]:
        """Return what was said; `lang` may be left out if the model knows only one language.

        Raises ValueError for a sound that can't be used, another language, or a model without recognition.
        """
        return self._each(audio, lambda sound: self.prepare("asr", sound, lang, lang))

    def translate(
        self, audio: Sound | list[Sound], src: str | None = None, tgt: str | None = None, to: str = "text"
    ) -> Text | Speech | list[Text] | list[Speech]:
        """Return the translation of what was said in language `src`, as text or, with to="speech", as speech.

        Languages may be left out where only one pair fits. Raises ValueError as `transcribe` does.
        """
        if to not in ("text", "speech"):
            raise ValueError(f"to={to!r}: expected 'text' or 'speech'.")
        return self._each(audio, lambda sound: self.prepare("s2tt" if to == "text" else "s2st", sound, src, tgt))

    def synthesise(
        self, text: str | list[str], lang: str | None = None, voice: Sound | None = None, stream: bool = False
    ) -> Speech | SpeechStream | list[Speech]:
        """Return a text spoken. `voice` is a recording of a speaker, or the name of one of `voices` (default: the first
        of them).

        With `stream` the samples of one text come in chunks while they are made: `for wav in lm.synthesise(...,
        stream=True)`. Raises ValueError for an empty or very long text, another language, a voice that can't be used,
        or a model without synthesis.
        """
        if not stream:
            return self._each(text, lambda one: self.prepare("tts", one, lang, lang, voice))
        if is_many(text):
            raise ValueError("stream=True takes one text; without it, a list is spoken in batches.")
        return self.stream(self.prepare("tts", text, lang, lang, voice))

    def stream(self, job: "Job") -> SpeechStream:
        """Return the speech of a job (tts or s2st) while it is being produced."""
        codes: list[np.ndarray] = []
        return SpeechStream(self._engine.stream(job, codes), codes, self.rate_hz, job.lang)

    def _each(self, given: Any, prepare: Callable[[Any], "Job"]) -> Any:
        if is_many(given):
            return self.run([prepare(one) for one in given])
        return self.run([prepare(given)])[0]

    def prepare(self, task: str, given: Any, src: str | None, tgt: str | None, voice: Sound | None = None) -> "Job":
        """Check one input of a task (asr, s2tt, s2st: a sound; tts: a text) and return it as a job for `run`;
        ValueError as above.
        """
        from speechlm.api.engine import Job

        _, lang = self.languages(task, src, tgt)
        if get_task(task).hears:
            return Job(get_task(task), lang, tuple(self._hear(get_task(task), given, lang)))
        given = {"text:src": check_text(given), "prompt:src": self._voice(voice, lang)}
        return Job(get_task(task), lang, (self._engine.part(get_task(task), lang, given),))

    def _hear(self, task: Task, sound: Sound, lang: str) -> "list[Part]":
        """Return what a sound is decoded from: all of it or, if it is long, its pieces."""
        wav_N = read_sound(sound, self.rate_hz, self.max_sec)
        with _named(sound):
            if self.check_speech:
                self._engine.require_speech(wav_N)
            spans = self._engine.cut(wav_N, self._engine.longest_sec(task, lang, self.piece_sec))
            pieces = [
                wav_N[round(start_sec * self.rate_hz) : round(end_sec * self.rate_hz)] for start_sec, end_sec in spans
            ]
            codes = [self._engine.encode(piece_N) for piece_N in pieces]
        return [self._engine.part(task, lang, {"speech:src": codes_TK}, *span) for codes_TK, span in zip(codes, spans)]

    def run(self, jobs: "list[Job]") -> list[Text | Speech]:
        """Return the results of jobs, in their order; those of one task are decoded together."""
        results: dict[int, Text | Speech] = {}
        for task in dict.fromkeys(job.task.name for job in jobs):
            places = [place for place, job in enumerate(jobs) if job.task.name == task]
            results |= zip(places, self._run([jobs[place] for place in places]))
        return [results[place] for place in range(len(jobs))]

    def _run(self, jobs: "list[Job]") -> list[Text | Speech]:
        """Return the results of jobs of one task."""
        outputs = self._engine.run(jobs)
        if not jobs[0].task.speaks:
            return [self._text(*of_one) for of_one in zip(jobs, outputs)]
        return [self._speech(*of_one) for of_one in zip(jobs, self._engine.sounds(outputs), outputs)]

    def languages(self, task: str, src: str | None, tgt: str | None) -> tuple[str, str]:
        """Return (source, target) of a task, filling in what is None if only one pair fits; ValueError names the
        languages that there are.
        """
        if task not in self._by_task:
            raise ValueError(
                f"{self.source.folder}: no model for {_describe(task)}. It has"
                f" {', '.join(map(_describe, self._by_task))}."
            )
        pairs = self._by_task[task].tasks[task]
        fitting = [pair for pair in pairs if src in (None, pair[0]) and tgt in (None, pair[1])]
        if len(fitting) != 1:
            asked = (
                " to ".join(dict.fromkeys(str(lang)[:20] for lang in (src, tgt) if lang is not None)) or "no language"
            )
            known = ", ".join(" to ".join(dict.fromkeys(pair)) for pair in pairs)
            raise ValueError(f"{_describe(task)}: asked for {asked}; the model was trained for {known}.")
        return fitting[0]

    def _voice(self, voice: Sound | None, lang: str) -> np.ndarray:
        from speechlm.api.voices import choose_voice

        if voice is None or (isinstance(voice, str) and not is_there(voice)):
            return choose_voice(self.voices, voice, lang)
        wav_N = read_sound(voice, self.rate_hz, self.max_sec)
        with _named(voice):
            if self.check_speech:
                self._engine.require_speech(wav_N)
            return self._engine.encode(wav_N)

    def _text(self, job: "Job", outputs: list[list[int]]) -> Text:
        texts = [self._engine.text(job.task.name, ids) for ids in outputs]
        segments = (Segment(part.start_sec, part.end_sec, text) for part, text in zip(job.parts, texts))
        return Text(("" if by_character(job.lang) else " ").join(filter(None, texts)), job.lang, tuple(segments))

    def _speech(self, job: "Job", sounds: list[np.ndarray], outputs: list[np.ndarray]) -> Speech:
        pauses = map(self._engine.silence, job.pauses_sec)
        wav_N = np.concatenate([wav_N for pause_N, sound_N in zip(pauses, sounds) for wav_N in (pause_N, sound_N)])
        return Speech(wav_N, self.rate_hz, np.concatenate(outputs), job.lang)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write all that `from_pretrained` needs: weights, vocabularies, tokenizers, codec (its files or its name),
        voices, model card.

        Return the folder. Raises ValueError if something else is in it.
        """
        from speechlm.api.saving import save

        return save(self, Path(folder))

    def pack(self, path: str | Path) -> Path:
        """Write what `save_pretrained` writes to one file, FILE.zip, that `from_pretrained` and ESPnet's model zoo
        read.

        Return its path. Raises ValueError if something else is there.
        """
        from speechlm.api.packing import pack

        return pack(self, Path(path))

    def push_to_hub(self, name: str, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to the hub as OWNER/NAME, created if it does not exist; return its
        address.

        `token` is by default the one of `hf auth login`. Raises ValueError if the hub refuses.
        """
        from speechlm.api.hub import push

        return push(self, name, private, token)


@contextmanager
def _named(sound: Sound) -> Iterator[None]:
    """Let a ValueError about a sound begin with its name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{sound if isinstance(sound, (str, Path)) else 'the array'}: {error}; expected speech"
        ) from None


def _describe(task: str) -> str:
    return f"{get_task(task).description} ({task})"
