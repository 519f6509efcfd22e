"""What checkpoints cost: steps per second with one every 100 steps and with none, side by side.

    python -m tests.long.checkpoint_cost                 # on a machine that does nothing else

The model has the size of egs/mini_cvss (its llm_model.yaml and cpt.yaml), the codes are random. Both kinds of training
take turns `--repeats` times, so that a machine that becomes slower changes both, and the median of each counts, since a shared
machine stalls now and then. The time is that of the steps from --skip to the last, whatever happens between them; one
checkpoint at least lies within. What the checkpoints themselves took is shown as a share of that time too.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.long.kill_training import make_recipe, server, training

ROOT = Path(__file__).resolve().parents[2]


def timed(folder: Path, out: str, save_interval: int, steps: int, skip: int) -> dict[str, float]:
    """Train in a process of its own; return steps per second after the first `skip`, and what a checkpoint took and weighs."""
    process = server.Process(target=_train, args=(folder, out, save_interval, steps))
    process.start()
    process.join()
    times = json.loads((folder / f"{out}.json").read_text())
    rate = (steps - 1 - skip) / (times["began"][-1] - times["began"][skip])
    saved = times["saved"][:-1] or times["saved"]  # the last one is written after the last step
    share = sum(times["saved"][:-1]) / (times["began"][-1] - times["began"][skip])
    size = (folder / out / "checkpoint.pth").stat().st_size
    return {"steps/s": rate, "checkpoint s": statistics.median(saved), "share": share, "MB": size / 1e6}


def _train(folder: Path, out: str, save_interval: int, steps: int) -> None:
    import os

    from speechlm.bin.train import main as train_main
    from speechlm.espnet.trainer import Run

    os.chdir(folder)
    times = {"began": [], "saved": []}
    one_step, save = Run.one_step, Run.save

    def timed_step(*args):
        times["began"].append(time.perf_counter())
        return one_step(*args)

    def timed_save(*args):
        began = time.perf_counter()
        save(*args)
        times["saved"].append(time.perf_counter() - began)

    Run.one_step, Run.save = timed_step, timed_save
    sys.argv = ["train", *training(out, "--save_interval", str(save_interval), "--max_steps", str(steps), "--log_level", "WARNING")]
    train_main()
    Path(f"{out}.json").write_text(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=311)
    parser.add_argument("--skip", type=int, default=10, help="first steps that are not timed")
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cpt = yaml.safe_load((ROOT / "egs/mini_cvss/conf/cpt.yaml").read_text())
    mixture = {"mixture": {"continuation": 0.4, "asr": 0.3, "tts": 0.3}, "task_langs": {}, "eval_interval": 10**6, "accum_grad": 1}
    llm = yaml.safe_load((ROOT / "egs/mini_cvss/conf/llm_model.yaml").read_text())["model"]
    found: dict[str, list[dict]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_recipe(folder, llm, **cpt | mixture, dtype="bfloat16")
        for repeat in range(args.repeats):
            for kind, interval in (("with", args.interval), ("without", 10**6)):
                found[kind].append(timed(folder, f"{kind}{repeat}", interval, args.steps, args.skip))
                print(f"{kind:8} {found[kind][-1]['steps/s']:.3f} steps/s", flush=True)
    middle = {kind: statistics.median(run["steps/s"] for run in runs) for kind, runs in found.items()}
    cost = 1 - middle["with"] / middle["without"]
    sec, share = (statistics.median(run[name] for run in found["with"]) for name in ("checkpoint s", "share"))
    print(f"checkpoint: {found['with'][0]['MB']:.0f} MB, {1000 * sec:.0f} ms, {100 * share:.2f} % of the time")
    print(
        f"a checkpoint every {args.interval} steps: {middle['with']:.3f} steps/s; none: {middle['without']:.3f} steps/s; "
        f"cost {100 * cost:.1f} %"
    )
    sys.exit(0 if cost < 0.03 else 1)


if __name__ == "__main__":
    main()
