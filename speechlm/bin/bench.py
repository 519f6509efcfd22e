"""Measure how fast a model decodes on this machine: the time, rows per second, and seconds of audio per second for each
task and batch size.
"""

import argparse
import time

import numpy as np

from speechlm.api import SpeechLM
from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load
from speechlm.data.files import atomic_write

HEADER = ("task", "batch", "sec", "rows/s", "ms/row", "audio s/s")
TEXT = "the quick brown fox jumps over the lazy dog"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="batch sizes (default: 1 8 32)")
    parser.add_argument("--tasks", nargs="+", help="tasks to measure (default: all that the model has)")
    parser.add_argument(
        "--sec", type=float, default=3.0, help="length of each input recording, in seconds (default: 3)"
    )
    parser.add_argument(
        "--repeat", type=int, default=3, help="number of runs, of which the fastest counts (default: 3)"
    )
    parser.add_argument("--json", help="also write the figures to this file")
    add_model_options(parser)
    args = parser.parse_args()
    lm = load(args)
    lm.check_speech = False  # of noise
    print("  ".join(f"{name:>9}" for name in HEADER))
    rows = []
    for task in args.tasks or [task for task in lm.tasks if task in ("asr", "s2tt", "s2st", "tts")]:
        for size in args.batch:
            rows.append(measure(lm, task, size, args.sec, args.repeat))
            print("  ".join(f"{value:>9}" for value in rows[-1].values()), flush=True)
    if args.json:
        import json

        with atomic_write(args.json) as stream:
            json.dump(rows, stream, indent=1)


def measure(lm: SpeechLM, task: str, size: int, sec: float, repeat: int) -> dict:
    """Return one line of figures: decoding of `size` inputs together, vocoding included, input coding not."""
    src, tgt = lm.tasks[task][0] if task in lm.tasks else lm.languages(task, None, None)
    noise = np.random.default_rng(0)
    sound = lambda: (noise.normal(0, 0.1, int(sec * lm.rate_hz)).astype(np.float32), lm.rate_hz)  # noqa: E731
    jobs = [
        lm.prepare(task, TEXT if task == "tts" else sound(), src, tgt, sound() if task == "tts" else None)
        for _ in range(size)
    ]
    best, results = float("inf"), []
    for _ in range(repeat):
        began = time.perf_counter()
        results = lm.run(jobs)
        best = min(best, time.perf_counter() - began)
    rows = sum(len(result.codes) if task in ("tts", "s2st") else len(result.text) for result in results)
    audio_sec = sum(result.sec for result in results) if task in ("tts", "s2st") else size * sec
    figures = (
        f"{best:.3f}",
        f"{rows / best:.0f}",
        f"{1000 * best / max(1, rows / size):.2f}",
        f"{audio_sec / best:.1f}",
    )
    return dict(zip(HEADER, (task, size, *figures)))


if __name__ == "__main__":
    run_main(main)
