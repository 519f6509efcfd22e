"""Check, before anything is trained, that the outputs can be scored: protocols, judge, and what these need (packages,
weights).

    python -m speechlm.bin.check_scoring --tasks asr tts --protocol mini --judge whisper:openai/whisper-base.en
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.score import add_protocol_options
from speechlm.metrics.protocol import rules_for
from speechlm.metrics.quality import load_measure
from speechlm.metrics.speech import recogniser_of
from speechlm.tasks import SCORED, TASKS

WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", required=True, choices=SCORED)
    add_protocol_options(parser)
    args = parser.parse_args()
    for task in args.tasks:
        try:
            print(f"{task}: scored by {check(task, args.protocol, args.judge)}", flush=True)
        except ValueError as error:
            raise ValueError(
                f"{task} could not be scored: {error}\nTo train without scores, give --stop_stage 8."
            ) from None


def check(task: str, protocols: list[str], judge: str | None) -> str:
    """Return what a task is scored by; raise ValueError if something for it is missing."""
    rules = rules_for(protocols, task, judge)
    if not TASKS[task].speaks:
        return ", ".join(rules.metrics)
    parts = [recogniser_of(rules, task, "cpu"), *map(load_measure, rules.quality)]
    for folder in filter(None, (getattr(part, "folder", None) for part in parts)):
        if not any(path.suffix in WEIGHTS for path in Path(folder).rglob("*")):
            raise ValueError(f"{folder}: found no weights in this folder. Expected a file {' or '.join(WEIGHTS)}.")
    return ", ".join([*rules.metrics, *(part.signature for part in parts)])


if __name__ == "__main__":
    run_main(main)
