"""How long does planning take? Milliseconds a step at a simulated world of 64, the paper's batch of 640 rows of 4,096 positions.

Run from the repository: `python tools/bench/plan.py` (the CPU, two minutes), or with few `--utterances`. The corpus is made up: utterances of 300 to
1,200 frames in two languages with texts of 30 words, and the seven tasks of the paper. Every rank plans the batches of all ranks, so this is what
each spends (`plan_ms`, of a core). With loader workers a process of its own does it, and the training only waits for its plan (`wait_ms`). The
last line is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from speechlm.data.machine import code_version, describe_machine
from speechlm.data.manifest import load_manifest, write_manifest
from speechlm.tasks import TASKS, get_task
from speechlm.tasks.examples import ExampleBuilder, PromptIndex, list_items
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from speechlm.train.iterator import Corpus, make_training_iterator

WORLD, ROWS, ROW_LENGTH = 64, 640, 4096
POSITIONS_PER_GPU_SEC = 85_000  # of Qwen1.5-0.5B on an H100: what planning is compared with
MIXTURE = {"continuation": 0.15, "asr": 0.15, "tts": 0.15, "s2tt": 0.15, "t2st": 0.15, "lm": 0.05, "mt_text": 0.05}
LANGS, PAIRS = ("en", "zh"), {"same": [("en", "en"), ("zh", "zh")], "pair": [("en", "zh"), ("zh", "en")]}


class Words:
    """A tokenizer of one id a word: what a real one would say has been stored."""

    size, bos_id, eos_id, fingerprint, key = 1000, 1, 2, "text", "words"

    def encode(self, text: str) -> list[int]:
        """Return one id for each word."""
        return [3 + len(word) for word in text.split()]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of several texts."""
        return list(map(self.encode, texts))


def lines(utterances: int) -> Iterator[dict]:
    """Yield the lines of a made-up manifest."""
    rng = np.random.default_rng(0)
    for i, frames in enumerate(rng.integers(300, 1200, (utterances, 2)).tolist()):
        codes = {lang: ["codes.ark:0", length] for lang, length in zip(LANGS, frames, strict=True)}
        yield {"id": f"u{i:08d}", "speaker": f"s{i * 31 % 20_000}", "text": dict.fromkeys(LANGS, "word " * 30), "codes": codes}


def make_corpus(folder: Path, utterances: int) -> Corpus:
    """Write a manifest and its tokens, and open them."""
    write_manifest(folder / "manifest.jsonl", lines(utterances))
    records = load_manifest(folder / "manifest.jsonl", encoder=Words())
    vocab = Vocabulary(1000, (*BOUNDARIES, *(f"<{name}>" for name in [*TASKS, *LANGS])), (1024,) * 8, "parallel", "text", "codec")
    items = {name: list_items(get_task(name), records, PAIRS[get_task(name).languages]) for name in MIXTURE}
    return Corpus(items, PromptIndex(records, listed=False), ExampleBuilder(vocab, Words(), 225), 1.0)


def measure(corpus: Corpus, rows: int, steps: int) -> dict:
    """Plan some steps of one rank, in batches of `rows` rows; return milliseconds a step, and the examples of a step of all ranks."""
    layout = {"rows": rows, "row_length": ROW_LENGTH, "pad_id": 1000, "num_columns": 8}
    iterator, batches = make_training_iterator(corpus, MIXTURE, layout, 1, (0, WORLD), 0), ROWS // WORLD // rows
    iterator.plan()
    before, began = sum(iterator.plan()[1]["drawn"].values()), time.process_time()
    for _ in range(steps * batches):
        _, state = iterator.plan()
    spent = (time.process_time() - began) / steps
    return {"rows": rows, "plan_ms": round(1e3 * spent, 2), "examples": round((sum(state["drawn"].values()) - before) / steps)}


def received(corpus: Corpus, rows: int, steps: int, step_sec: float) -> float:
    """Return the milliseconds a step that the training waits for its plan, if the planner has the time of a step for it."""
    layout = {"rows": rows, "row_length": ROW_LENGTH, "pad_id": 1000, "num_columns": 8}
    batches, spent = ROWS // WORLD // rows, 0.0
    with closing(make_training_iterator(corpus, MIXTURE, layout, 1, (0, WORLD), 1).plans()) as plans:
        next(plans)
        for _ in range(steps * batches):
            time.sleep(step_sec / batches)
            began = time.perf_counter()
            next(plans)
            spent += time.perf_counter() - began
    return round(1e3 * spent / steps, 2)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_200_000, help="more than a million: orders are computed place by place")
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 10], help="of a batch of one process")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    step_sec = ROWS * ROW_LENGTH / (WORLD * POSITIONS_PER_GPU_SEC)
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder), args.utterances)
        found = []
        for rows in args.rows:
            made = measure(corpus, rows, args.steps)
            made |= {"plan_share": round(made["plan_ms"] / 1e3 / step_sec, 4), "wait_ms": received(corpus, rows, args.steps, step_sec)}
            found.append(made | {"wait_share": round(made["wait_ms"] / 1e3 / step_sec, 4)})
            print(json.dumps(found[-1]), flush=True)
    about = {"world": WORLD, "step_ms": round(1e3 * step_sec), "utterances": args.utterances, "commit": code_version()}
    print(json.dumps({"planning": found, **about, "machine": describe_machine()}))


if __name__ == "__main__":
    main()
