"""What checkpoints cost: steps per second with one every 100 steps and with none, side by side.

    python -m tests.long.checkpoint_cost                 # on a machine that does nothing else

The model has the size of egs/mini_cvss (its cpt.yaml, TEMPLATE's llm_model.yaml), the codes are random. In a training,
windows of 100 steps take turns: one with a checkpoint in its middle, one without. A shared machine stalls and changes
its pace by more than what is measured here; neighbours in time suffer alike, so each window with is compared with the
one after it, and the median over the pairs counts. What the checkpoints themselves took is shown too.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from speechlm.arms.config import layered
from speechlm.train.checkpoint import newest
from tests.long.kill_training import make_recipe, server, training

ROOT = Path(__file__).resolve().parents[2]


def timed(folder: Path, interval: int, steps: int) -> tuple[list[float], list[float]]:
    """Train in a process of its own; return when each step began, and what each checkpoint took, in seconds."""
    process = server.Process(target=_train, args=(folder, interval, steps))
    process.start()
    process.join()
    times = json.loads((folder / "times.json").read_text())
    return times["began"], times["saved"]


def _train(folder: Path, interval: int, steps: int) -> None:
    import os

    from speechlm.bin.train import main as train_main
    from speechlm.train.loop import Run

    os.chdir(folder)
    times = {"began": [], "saved": []}
    one_step, save = Run.one_step, Run.save

    def timed_step(*args):
        times["began"].append(time.perf_counter())
        return one_step(*args)

    def timed_save(run):
        if run.step < run.options.max_steps and run.step // interval % 2 == 0:
            return  # a window without
        began = time.perf_counter()
        save(run)
        times["saved"].append(time.perf_counter() - began)

    Run.one_step, Run.save = timed_step, timed_save
    sys.argv = [
        "train",
        *training("out", "--save_interval", str(interval), "--max_steps", str(steps), "--log_level", "WARNING"),
    ]
    train_main()
    Path("times.json").write_text(json.dumps(times))


def rates(began: list[float], interval: int) -> tuple[list[float], list[float]]:
    """Return steps per second of the windows with a checkpoint, and of the windows without one that follow them."""
    ends = range(interval // 2, len(began), interval)
    per_second = [interval / (began[end] - began[start]) for start, end in zip(ends, ends[1:])]
    return per_second[0::2], per_second[1::2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=10)
    args = parser.parse_args()
    cpt, _ = layered("cpt", [ROOT / "egs/TEMPLATE/conf", ROOT / "egs/mini_cvss/conf"])
    mixture = {
        "mixture": {"continuation": 0.4, "asr": 0.3, "tts": 0.3},
        "task_langs": {},
        "eval_interval": 10**6,
        "accum_grad": 1,
    }
    llm = yaml.safe_load((ROOT / "egs/TEMPLATE/conf/llm_model.yaml").read_text())["model"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_recipe(folder, llm, **cpt | mixture, dtype="bfloat16")
        began, saved = timed(folder, args.interval, 2 * args.pairs * args.interval + args.interval // 2 + 1)
        size = sum(path.stat().st_size for path in newest(folder / "out").iterdir())
    pairs = list(zip(*rates(began, args.interval)))
    for with_, without in pairs:
        print(f"with {with_:.3f}   without {without:.3f} steps/s")
    cost = statistics.median(1 - with_ / without for with_, without in pairs)
    middle = [statistics.median(side) for side in zip(*pairs)]
    print(
        f"checkpoint: {size / 1e6:.0f} MB, {1000 * statistics.median(saved[:-1]):.0f} ms (median of {len(saved) - 1})"
    )
    print(f"a checkpoint every {args.interval} steps: {middle[0]:.3f} steps/s; none: {middle[1]:.3f} steps/s (medians)")
    print(f"cost, median over {len(pairs)} pairs: {100 * cost:.1f} %")
    sys.exit(0 if cost < 0.03 else 1)


if __name__ == "__main__":
    main()
