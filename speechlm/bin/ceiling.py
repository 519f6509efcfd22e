"""Score the best that a speech output can be: the original recordings, and the codec's reconstructions of them.

`python -m speechlm.bin.ceiling --data data/test --lang en --codec codec_16k --protocol mini --out exp/ceiling/test
--cache dump/test`

Writes `<out>/<task>_{originals,reconstruction}/score.json` and utterances.jsonl, for tasks whose output is speech: tts
and, if the set is parallel, translations. Recordings and transcripts are made in `<cache>/ceiling/<digest of codec and
recordings>/`, once for all experiments, or in `<out>` if the cache is read-only.
"""

import argparse
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Iterator

from speechlm.bin.command import run_main
from speechlm.bin.score import add_protocol_options, read_references, show
from speechlm.codecs import load_codec
from speechlm.codecs.base import decode_all, encode_all
from speechlm.data.audio import KEEPABLE, AudioError, load_span, load_wav, save_wav
from speechlm.data.files import settings_digest, stage
from speechlm.data.kaldi import Span, list_sides, read_audio, read_speakers, require_valid, side_path, write_table
from speechlm.data.machine import device_for, devices_for
from speechlm.data.parts import in_parts
from speechlm.metrics.protocol import Rules, rules_for
from speechlm.metrics.rows import UTTERANCES, Row, write_lines, write_rows
from speechlm.metrics.scoring import Output
from speechlm.metrics.speech import BATCH, digest_of, other_recordings, score_speech
from speechlm.tasks import SCORED, TASKS, check_tasks

MODELS = {"originals": "originals", "reconstruction": "codec reconstruction"}  # folder -> name in the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="Kaldi data directory of a test set")
    parser.add_argument("--lang", required=True, help="language of the speech to score")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--cache", type=Path, help="where recordings and transcripts are kept (default: --out)")
    parser.add_argument(
        "--tasks",
        nargs="*",
        default=list(SCORED),
        help="tasks to score the ceiling for; those whose output is text are skipped",
    )
    parser.add_argument("--test_set", help="name in the table (default: the directory's name)")
    add_protocol_options(parser)
    args = parser.parse_args()
    device = device_for(args.ngpu)
    tasks = tasks_of(args)
    if not tasks:
        print(f"{args.data}: none of {' '.join(args.tasks)} produces speech, so there is no ceiling")
        return
    if not side_path(args.data, "wav.scp", args.lang).is_file():
        print(f"{args.data}: no recordings in {args.lang}, so there is no ceiling for its speech")
        return
    require_valid(
        args.data, args.lang, open_audio=False
    )  # what the recordings are like was decided when they were coded
    spans, codec = read_audio(args.data, args.lang), load_codec(args.codec).to(device)
    (args.out / "score.json").unlink(missing_ok=True)  # where all rows lay before there were protocols
    wanted = {key for task in tasks for key in read_references(args.data, task, args.lang)}
    needed = {key: span for key, span in spans.items() if key in wanted}
    folder = own_folder(args, settings_digest({"codec": codec.fingerprint, "audio": digest_of(needed)}))
    with alone(folder):
        wavs = {
            "originals": copy_originals(needed, folder / "originals"),
            "reconstruction": reconstruct(needed, codec, folder),
        }
        for kind, paths in wavs.items():
            made_by = f"codec:{codec.name}@{codec.fingerprint[:12]}" if kind == "reconstruction" else ""
            for task, rules in tasks.items():
                show(score_source(args, rules, output_of(args, task, spans, paths), folder / kind, made_by))


def own_folder(args: argparse.Namespace, name: str) -> Path:
    """Make and return the folder `name` in the cache, or in --out if the cache is read-only."""
    folders = [Path(place) / "ceiling" / name for place in (args.cache, args.out) if place]
    with suppress(OSError):
        folders[0].mkdir(parents=True, exist_ok=True)
        if os.access(folders[0], os.W_OK):
            return folders[0]
    message = f"{folders[0]}: cannot be written to; recordings and transcripts of the ceiling go to {folders[-1]}"
    print(message, flush=True)
    folders[-1].mkdir(parents=True, exist_ok=True)
    return folders[-1]


def tasks_of(args: argparse.Namespace) -> dict[str, Rules]:
    """Return {task: rules} of the spoken ones among --tasks; translations only for a parallel set."""
    check_tasks(args.tasks, SCORED, "--tasks")
    parallel = len(list_sides(args.data, args.lang)) > 1
    spoken = [
        task
        for task in SCORED
        if task in args.tasks and TASKS[task].speaks and (parallel or TASKS[task].languages == "same")
    ]
    return {task: rules_for(args.protocol, task, args.judge) for task in spoken}


def output_of(args: argparse.Namespace, task: str, spans: dict[str, Span], wavs: dict[str, str]) -> Output:
    """Return what is scored: the recordings against their own texts, voices and originals."""
    refs, speakers = read_references(args.data, task, args.lang), read_speakers(args.data)
    voices = other_recordings(spans, speakers)
    return Output(task, args.lang, {}, refs, speakers, {key: wavs[key] for key in refs}, voices, spans)


def score_source(args: argparse.Namespace, rules: Rules, output: Output, folder: Path, made_by: str) -> list[Row]:
    """Write and return the rows of one task and one kind of audio."""
    if made_by:
        rules = replace(rules, quality=(*rules.quality, *rules.codec_quality))
    folder_of_task = folder / settings_digest({"recogniser": rules.recogniser, "beam": rules.beam})
    scores, lines = score_speech(rules, output, folder_of_task, devices_for(args.ngpu))
    test_set, out = args.test_set or args.data.name, args.out / f"{output.task}_{folder.name}"
    rows = [score.to_row(rules, MODELS[folder.name], output.task, test_set, made_by) for score in scores]
    write_lines(out / UTTERANCES, lines)
    write_rows(out / "score.json", rows)
    return rows


def copy_originals(spans: dict[str, Span], folder: Path) -> dict[str, str]:
    """Return {id: path}: whole files where they are; what is a stretch, an entry of an archive or cut, in a file made
    of it.
    """
    paths = {}
    for key, span in spans.items():
        paths[key] = span.path
        if not _is_whole(span):
            paths[key] = str(folder / "wav" / f"{key}.wav")
            if not Path(paths[key]).exists():
                save_wav(paths[key], load_span(span, 16000, keep=KEEPABLE), 16000)
    return paths


def _is_whole(span: Span) -> bool:
    """Tell whether a recogniser can be given the file itself."""
    try:
        return span.end_sec is None and Path(span.path).is_file() and bool(load_wav(span.path))
    except AudioError:
        return False


def reconstruct(spans: dict[str, Span], codec, folder: Path) -> dict[str, str]:
    """Write what the codec makes of its codes of each original, in batches of equal length; return {id: path}.

    wav.scp is written, too.

    The files are collected in a hidden folder, renamed to `reconstruction/wav` at the end: what an interrupted run made
    is kept.
    """
    out, parts = folder / "reconstruction", folder / ".wav"
    paths = {key: str(out / "wav" / f"{key}.wav") for key in spans}

    def make(keys: list[str]) -> list[str]:
        left = [key for key in keys if not (parts / f"{key}.wav").exists()]
        wavs = ((key, load_span(spans[key], codec.sample_rate_hz, keep=KEEPABLE)) for key in left)
        codes = dict(encode_all(codec, wavs))
        if bad := [f"{spans[key].path}: {found}" for key, found in codes.items() if isinstance(found, ValueError)]:
            raise ValueError(bad[0])
        for key, wav_T in decode_all(codec, codes).items():
            save_wav(parts / f"{key}.wav", wav_T, codec.sample_rate_hz)
        return [paths[key] for key in keys]

    with stage(out, "reconstruct", {"codec": codec.fingerprint}, outputs=["wav.scp", "wav/*.wav"]) as todo:
        if todo:
            keys = list(spans)
            batches = [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)]
            in_parts(batches, make, parts / "parts", f"{out}: reconstructed")
            shutil.rmtree(parts / "parts")
            shutil.rmtree(out / "wav", ignore_errors=True)
            out.mkdir(exist_ok=True)
            parts.rename(out / "wav")
            write_table(out / "wav.scp", paths)
    return paths


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: experiments that share a codec and a set wait for the first to make its ceiling."""
    with open(folder / ".lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            message = f"{folder}: locking does not work here ({error.strerror}): do not score this set in another run"
            print(message, flush=True)
        yield


if __name__ == "__main__":
    run_main(main)
