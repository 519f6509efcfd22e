"""The best that a speech output can score: the judge on the original recordings, and on the codec's reconstructions.

`python -m speechlm.bin.ceiling --data data/test --lang en --codec codec_16k --judge judge_en --out exp/ceiling/test`

Writes `<out>/score.json`, `<out>/{originals,reconstruction}/heard` and the reconstructed `<out>/reconstruction/wav/*.wav`.
Rows are for tts (WER) and, if the set is parallel, for s2st (ASR-BLEU, ASR-chrF) too.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.codecs import load_codec
from speechlm.data.audio import load_span, save_wav
from speechlm.data.files import file_digest, settings_digest, stage
from speechlm.data.kaldi import Span, list_sides, read_audio, read_text, require_valid, side_path, write_table
from speechlm.metrics.judge import Judge
from speechlm.metrics.rows import Row, write_rows
from speechlm.metrics.speech import asr_bleu, intelligibility, transcribe
from speechlm.metrics.text import pair_up

ORIGINALS, RECONSTRUCTION = "originals", "codec reconstruction"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="Kaldi data directory of a test set")
    parser.add_argument("--lang", required=True, help="language of the speech to score")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--test_set", help="name in the table (default: the directory's name)")
    args = parser.parse_args()
    if not side_path(args.data, "wav.scp", args.lang).is_file():
        print(f"{args.data}: no recordings in {args.lang}, so no ceiling for speech in it")
        return
    require_valid(args.data, args.lang)
    codec, judge = load_codec(args.codec), Judge.load(args.judge)
    settings = {"lang": args.lang, "codec": codec.fingerprint, "judge": judge.fingerprint, "test_set": args.test_set or args.data.name}
    inputs = [side_path(args.data, stem, args.lang) for stem in ("wav.scp", "text")]
    outputs = ["score.json", "*/heard", "reconstruction/wav.scp", "reconstruction/wav/*.wav"]
    with stage(args.out, "ceiling", settings, inputs, outputs) as todo:
        if todo:
            digest = settings_digest(settings | {"inputs": [file_digest(path) for path in inputs]})
            score_both(args, codec, judge, args.out / f".wav.{digest}")


def score_both(args: argparse.Namespace, codec, judge: Judge, parts: Path) -> None:
    """Write the reconstructions and the score.json of both."""
    spans = read_audio(args.data, args.lang)
    made = reconstruct(spans, codec, args.out / "reconstruction", parts)
    sources = {
        ORIGINALS: (copy_originals(spans, args.out / "originals"), ""),
        RECONSTRUCTION: (made, f"|codec:{codec.name}@{codec.fingerprint[:12]}"),
    }
    rows = []
    for name, (wavs, signature) in sources.items():
        rows += score_source(args, judge, name, wavs, signature)
    write_rows(args.out / "score.json", rows)
    for row in rows:
        print(f"{row.model} {row.task} {row.test_set}: {row.metric} {row.value:.2f} ({row.n} utterances)")


def score_source(args: argparse.Namespace, judge: Judge, name: str, wavs: dict[str, str], signature: str) -> list[Row]:
    """Return the rows of one kind of audio."""
    refs = read_text(args.data, args.lang)
    pair_up(wavs, refs)
    heard = transcribe(judge, wavs, args.lang, args.out / name.split()[-1] / "heard")
    scores = [("tts", s) for s in intelligibility(heard, refs, judge)]
    if len(list_sides(args.data, args.lang)) > 1:
        scores += [("s2st", s) for s in asr_bleu(heard, refs, judge)]
    signed = [(task, replace(s, signature=s.signature + signature)) for task, s in scores]
    return [Row(name, task, args.test_set or args.data.name, s.metric, s.value, s.n, s.signature) for task, s in signed]


def copy_originals(spans: dict[str, Span], folder: Path) -> dict[str, str]:
    """Return {id: path}; stretches of longer recordings are cut out to files, whole files are used where they are."""
    paths = {}
    for key, span in spans.items():
        paths[key] = span.path
        if span.end_sec is not None:
            paths[key] = str(folder / "wav" / f"{key}.wav")
            save_wav(paths[key], load_span(span, 16000), 16000)
    return paths


def reconstruct(spans: dict[str, Span], codec, folder: Path, parts: Path) -> dict[str, str]:
    """Write codec.decode(codec.encode(original)) of each utterance; return {id: path}, also written as wav.scp.

    The files are collected in `parts`, which becomes `<folder>/wav` at the end: what an interrupted run made is kept.
    """
    paths, start = {}, time.monotonic()
    for done, (key, span) in enumerate(spans.items(), start=1):
        paths[key] = str(folder / "wav" / f"{key}.wav")
        if not (parts / f"{key}.wav").exists():
            wav_T = codec.decode(codec.encode(load_span(span, codec.sample_rate_hz)))
            save_wav(parts / f"{key}.wav", wav_T, codec.sample_rate_hz)
        if done % 100 == 0 or done == len(spans):
            left_sec = (time.monotonic() - start) / done * (len(spans) - done)
            print(f"{folder}: {done}/{len(spans)} utterances reconstructed, {left_sec:.0f} s left", flush=True)
    shutil.rmtree(folder / "wav", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    parts.rename(folder / "wav")
    write_table(folder / "wav.scp", paths)
    return paths


if __name__ == "__main__":
    run_main(main)
