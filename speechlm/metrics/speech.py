"""Scores of spoken output: what a recogniser hears, and measures of the sound. Both are kept as files and computed once
for given recordings.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from speechlm.data.audio import KEEPABLE, load_wav
from speechlm.data.files import file_digest, settings_digest, stage
from speechlm.data.items import shorten
from speechlm.data.kaldi import Span, read_table, write_table
from speechlm.data.parts import as_they_end, in_parts
from speechlm.data.pool import pool_on
from speechlm.data.recording import split_place
from speechlm.metrics.protocol import Rules
from speechlm.metrics.quality import Measure, load_measure
from speechlm.metrics.quality.base import measure_one
from speechlm.metrics.recognisers import Recogniser, load_recogniser
from speechlm.metrics.recognisers.base import duration_sec, hear
from speechlm.metrics.rows import read_lines, write_lines
from speechlm.metrics.scoring import Mean, Output, Score, score_texts
from speechlm.metrics.text import pair_up

BATCH = 32  # recordings of similar length that are kept, and reported, together


def recogniser_of(rules: Rules, task: str, device: str) -> Recogniser:
    """Return what transcribes the speech of a task; ValueError if the rules name none, or it cannot be loaded."""
    if not rules.recogniser:
        raise ValueError(
            f"--task {task}: spoken outputs need a recogniser. Give --judge judge_en, or one that you trained"
        )
    return load_recogniser(rules.recogniser, rules.beam, device)


def score_speech(
    rules: Rules, output: Output, folder: Path, devices: Sequence[str] = ("cpu",)
) -> tuple[list[Score], list[dict]]:
    """Return the scores and lines of spoken outputs. The slow parts are kept in `<folder>/heard` and
    `<folder>/quality_*.jsonl`.

    `devices` are those of `devices_for`: on several, a recogniser runs on each. An utterance without a recording is a
    ValueError that names it.
    """
    device = "cpu" if devices[0] == "cpu" else "cuda"
    pair_up(output.wavs, output.refs)
    recogniser = recogniser_of(rules, output.task, device)
    many = (lambda: pool_on(devices, _start, rules.recogniser, rules.beam)) if len(devices) > 1 else nullcontext
    heard = transcribe(recogniser, output.wavs, output.lang, folder / "heard", many)
    scores, lines = score_texts(rules, replace(output, hyps=heard), recogniser.signature)
    for spec in rules.quality:
        measure = load_measure(spec, device)
        values = measure_all(measure, output, folder / f"quality_{spec.split(':')[0]}.jsonl")
        for name in measure.names:
            mean = Mean(name, measure.signature)
            scores.append(
                Score(
                    name,
                    mean,
                    mean.counts([values[key][name] for key in output.refs if key in values]),
                    measure.signature,
                )
            )
        for line in (line for line in lines if line["id"] in values):
            line |= {name: values[line["id"]][name] for name in measure.names}
    return scores, lines


_recogniser: Recogniser | None = None  # of a process on a device of its own


def _start(device: str, spec: str, beam: int) -> None:
    global _recogniser
    _recogniser = load_recogniser(spec, beam, device)


def _listen(recogniser: Recogniser | None, wavs: Mapping[str, str | Path], lang: str, keys: list[str]) -> list[str]:
    """Return what is heard, with single spaces; by the recogniser of this process, if none is given."""
    heard = (recogniser or _recogniser).transcribe([str(wavs[key]) for key in keys], lang)
    return [" ".join(text.split()) for text in heard]


def transcribe(
    recogniser: Recogniser,
    wavs: Mapping[str, str | Path],
    lang: str,
    keep: str | Path,
    many: Callable[[], AbstractContextManager[Executor | None]] = nullcontext,
) -> dict[str, str]:
    """Return {utterance id: what was heard}, also written to the Kaldi file `keep` for a person to read.

    Done once for the same recordings (by content) and recogniser. `many` makes a pool of processes that have this
    recogniser, if there is one. Raises ValueError if it does not understand the language.
    """
    spoken = (
        lang if lang in recogniser.languages else lang.partition("-")[0]
    )  # recognisers know languages, not their regions
    if recogniser.languages and spoken not in recogniser.languages:
        understood = ", ".join(map(repr, recogniser.languages))
        raise ValueError(
            f"the speech is in {lang!r}, but the judge understands {understood}. Give --judge for {lang}, or train one."
        )
    keep = Path(keep)
    settings = {"recogniser": recogniser.signature, "lang": lang, "wavs": digest_of(wavs)}
    with stage(keep.parent, keep.name, settings, outputs=[keep.name]) as todo:
        if todo:
            parts = _parts(keep, settings)
            with many() as pool:
                work = partial(_listen, None if pool else recogniser, wavs, spoken)
                write_table(keep, in_parts(batches_by_length(wavs), work, parts, f"{keep}: transcribed", pool))
            shutil.rmtree(parts, ignore_errors=True)
    heard = read_table(keep, may_be_empty=True)
    return {key: heard[key] for key in wavs}


def measure_all(measure: Measure, output: Output, keep: Path) -> dict[str, dict[str, float]]:
    """Return {utterance id: {name: value}}, also written to `keep`; done once for the same recordings and measure.

    If the measure compares with the speaker's other recordings, utterances without one are left out; ValueError if none
    is left.
    """
    others = {"": {}, "speaker": output.voices, "original": output.originals}[measure.against]
    lacking = [key for key in output.refs if measure.against and key not in others]
    if lacking and (measure.against == "original" or len(lacking) == len(output.refs)):
        found = f"{len(lacking)} utterances have none in {output.lang}: {', '.join(lacking[:5])}"
        raise ValueError(
            f"{', '.join(measure.names)} compares with the {measure.against}'s recordings, and {found}. Leave it out of"
            " the protocol."
        )
    if lacking:
        over = f"over {len(output.refs) - len(lacking)} of {len(output.refs)} utterances"
        print(
            f"{', '.join(measure.names)}: {over}; {len(lacking)} speakers have no other recording ({shorten(lacking)})",
            flush=True,
        )
    wavs = {key: path for key, path in output.wavs.items() if key not in set(lacking)}
    settings = {"measure": measure.signature, "wavs": digest_of(wavs), "against": digest_of(others)}
    with stage(keep.parent, keep.stem, settings, outputs=[keep.name]) as todo:
        if todo:
            parts = _parts(keep, settings)
            work = lambda keys: ((key, _measure_file(measure, wavs[key], others.get(key))) for key in keys)  # noqa: E731
            found = as_they_end(list(wavs), work, parts, f"{keep}: measured", BATCH)
            write_lines(keep, [{"id": key, "lang": output.lang} | found[key] for key in wavs])
            shutil.rmtree(parts, ignore_errors=True)
    return {line["id"]: line for line in read_lines(keep)}


def _measure_file(measure: Measure, path: str, other: Span | None) -> dict[str, float]:
    rate_hz = measure.rate_hz or load_wav(path)[1]
    other_T = (
        load_wav(other.path, rate_hz, other.start_sec, other.end_sec, KEEPABLE)[0] if other else np.zeros(0, np.float32)
    )
    return measure_one(measure, hear(path, rate_hz), other_T, rate_hz)


def _parts(keep: Path, settings: dict) -> Path:
    return keep.parent / f".parts.{keep.name}.{settings_digest(settings)}"


def batches_by_length(wavs: Mapping[str, str | Path]) -> list[list[str]]:
    """Return all ids in batches of similar duration, shortest first."""
    order = sorted(wavs, key=lambda key: (duration_sec(wavs[key]), key))
    return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]


def digest_of(recordings: Mapping[str, str | Path | Span]) -> str:
    """Return a short digest of the ids and contents of recordings."""
    spans = {key: value if isinstance(value, Span) else Span(str(value)) for key, value in recordings.items()}
    places = {path: split_place(path) for path in {span.path for span in spans.values()}}
    files = {
        path: file_digest(file) + ("" if offset is None else f":{offset}") for path, (file, offset) in places.items()
    }
    return settings_digest({key: [files[span.path], span.start_sec, span.end_sec] for key, span in spans.items()})


def other_recordings(recordings: Mapping[str, Span], speakers: Mapping[str, str]) -> dict[str, Span]:
    """Return {utterance: the next recording of its speaker, by id}; without those of speakers who have no other."""
    by_speaker: dict[str, list[str]] = {}
    for key in sorted(recordings):
        by_speaker.setdefault(speakers.get(key, key), []).append(key)
    return {
        key: recordings[keys[(i + 1) % len(keys)]]
        for keys in by_speaker.values()
        if len(keys) > 1
        for i, key in enumerate(keys)
    }
