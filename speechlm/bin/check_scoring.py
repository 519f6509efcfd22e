"""Check, before anything is trained, that the outputs can be scored: protocols, judge, and what these need (packages,
weights).

    python -m speechlm.bin.check_scoring --tasks asr tts --protocol mini --judge whisper:openai/whisper-base.en
"""

import argparse

from speechlm.bin.command import run_main
from speechlm.bin.score import add_protocol_options
from speechlm.metrics.protocol import rules_for
from speechlm.metrics.quality import load_measure
from speechlm.metrics.recognisers import load_recogniser
from speechlm.tasks import SCORED, TASKS


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
    if not rules.recogniser:
        raise ValueError("spoken outputs need a recogniser. Give --judge judge_en, or one that you trained.")
    heard_by = load_recogniser(rules.recogniser, rules.beam, "cpu").signature
    measures = [load_measure(spec).signature for spec in rules.quality]
    return ", ".join([*rules.metrics, heard_by, *measures])


if __name__ == "__main__":
    run_main(main)
