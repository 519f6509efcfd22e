"""How long does planning take? Milliseconds a step at a simulated world of 64, the paper's batch of 640 rows of 4,096
positions.

Run from the repository: `python tools/bench/plan.py` (the CPU, two minutes), or with few `--utterances`. The corpus is
made up: utterances of 300 to 1,200 frames in two languages with texts of 30 words, and the seven tasks of the paper.
Every rank plans the batches of all ranks, so this is what each spends (`plan_ms`, of a core). With loader workers a
process of its own does it, and the training only waits for its plan (`wait_ms`). The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path

from made_up import MIXTURE, PAPER, make_vocabulary, open_corpus, write_set

from speechlm.data.machine import code_version, describe_machine
from speechlm.train.iterator import Corpus, make_training_iterator

WORLD, ROWS, ROW_LENGTH = 64, 640, 4096
LAYOUT = {"row_length": ROW_LENGTH, "pad_id": make_vocabulary(PAPER).pad_id, "num_columns": PAPER.streams}
POSITIONS_PER_GPU_SEC = 85_000  # of Qwen1.5-0.5B on an H100: what planning is compared with


def measure(corpus: Corpus, rows: int, steps: int) -> dict:
    """Plan some steps of one rank, in batches of `rows` rows; return milliseconds a step, and the examples of a step of
    all ranks.
    """
    layout = LAYOUT | {"rows": rows}
    iterator, batches = make_training_iterator(corpus, MIXTURE, layout, 1, (0, WORLD), 0), ROWS // WORLD // rows
    iterator.plan()
    before, began = sum(iterator.plan()[1]["drawn"].values()), time.process_time()
    for _ in range(steps * batches):
        _, state = iterator.plan()
    spent = (time.process_time() - began) / steps
    return {
        "rows": rows,
        "plan_ms": round(1e3 * spent, 2),
        "examples": round((sum(state["drawn"].values()) - before) / steps),
    }


def received(corpus: Corpus, rows: int, steps: int, step_sec: float) -> float:
    """Return the milliseconds a step that the training waits for its plan, if the planner has the time of a step for
    it.
    """
    layout = LAYOUT | {"rows": rows}
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
    parser.add_argument(
        "--utterances", type=int, default=1_200_000, help="more than a million: orders are computed place by place"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 10], help="of a batch of one process")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    step_sec = ROWS * ROW_LENGTH / (WORLD * POSITIONS_PER_GPU_SEC)
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(write_set(Path(folder), args.utterances, PAPER), PAPER)
        found = []
        for rows in args.rows:
            made = measure(corpus, rows, args.steps)
            made |= {
                "plan_share": round(made["plan_ms"] / 1e3 / step_sec, 4),
                "wait_ms": received(corpus, rows, args.steps, step_sec),
            }
            found.append(made | {"wait_share": round(made["wait_ms"] / 1e3 / step_sec, 4)})
            print(json.dumps(found[-1]), flush=True)
    about = {"world": WORLD, "step_ms": round(1e3 * step_sec), "utterances": args.utterances, "commit": code_version()}
    print(json.dumps({"planning": found, **about, "machine": describe_machine()}))


if __name__ == "__main__":
    main()
