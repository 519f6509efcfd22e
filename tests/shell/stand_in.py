"""Stands in for the commands of a recipe that take long: writes what they write, as a function of their options alone.

`stand_in.py -m speechlm.bin.score --task tts ... --out x/score.json`; the commands of the comparison itself are run as
they are.
"""

import json
import math
import random
import runpy
import sys
import time
import zlib
from itertools import takewhile
from pathlib import Path

from speechlm.metrics.rows import SENTENCES, UTTERANCES, Row, write_lines, write_rows

KEYS = [f"u{i}" for i in range(30)]
WORDS = "the boy finds a red lamp in my garden this morning".split()
QUALITY = {"joint": 0.1, "speech_only": 0.3, "no_cpt": 0.8, "random": 0.9}  # share of wrong words
REFS = {key: " ".join(random.Random(i).choices(WORDS, k=8)) for i, key in enumerate(KEYS)}


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def text_of(folder: Path) -> dict[str, str]:
    """Return hypotheses whose errors follow from the arm in the folder's path."""
    arm = next((name for name in QUALITY if name in folder.parts), "joint")
    rng = random.Random(zlib.crc32(str(folder).encode()))
    return {
        key: " ".join("x" if rng.random() < QUALITY[arm] else word for word in ref.split()) for key, ref in REFS.items()
    }


def train() -> None:
    out, steps = Path(option("--output_dir")), 40
    out.mkdir(parents=True, exist_ok=True)
    if (out / "model.safetensors").exists():
        return
    time.sleep(0.2)  # so that there is a time to be killed in
    lines = [
        {"kind": kind, "step": step, "loss": 1.0, "text": 2.0, "task.asr": 1.0}
        for step in (20, 40)
        for kind in ("train", "valid")
    ]
    (out / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    session = {"commit": "c", "machine": "m", "began": "b", "seconds": 1.0}
    cost = {
        "steps": steps,
        "parameters": 10,
        "seconds": 1.0,
        "core_hours": 0.1,
        "gpu_hours": 0.0,
        "sessions": [session],
    }
    (out / "cost.json").write_text(json.dumps(cost))
    after = sys.argv[sys.argv.index("--keep_steps") + 1 :] if "--keep_steps" in sys.argv else []
    for step in takewhile(str.isdecimal, after):
        (out / "steps" / step).mkdir(parents=True, exist_ok=True)
    (out / "model.safetensors").write_text("weights")


def score() -> None:
    from speechlm.metrics.protocol import rules_for
    from speechlm.metrics.scoring import Output, score_texts

    task, out = option("--task"), Path(option("--out"))
    rules = rules_for(["mini"], task)
    scores, lines = score_texts(rules, Output(task, "en", text_of(out.parent), REFS))
    write_lines(out.with_name(UTTERANCES), lines)
    write_rows(out, [one.to_row(rules, option("--model"), task, "test", "") for one in scores])


def perplexity() -> None:
    out = Path(option("--out"))
    rng = random.Random(zlib.crc32(str(out).encode()))
    nats = [(rng.uniform(5, 6), 5) for _ in KEYS]
    write_lines(out.with_name(SENTENCES), [{"id": key, "lang": "en", "ppl": pair} for key, pair in zip(KEYS, nats)])
    value = math.exp(sum(n for n, _ in nats) / sum(t for _, t in nats))
    write_rows(out, [Row("m", "lm", "text_test.en", "ppl", value, len(KEYS), "s")])


def lm_eval() -> None:
    out = Path(option("--out"))
    out.parent.mkdir(parents=True, exist_ok=True)
    value = random.Random(zlib.crc32(str(out).encode())).uniform(0.4, 0.6)
    write_rows(
        out,
        [
            Row(
                out.parent.name,
                "lm_eval",
                "held_out_final_word",
                "acc",
                value,
                len(KEYS),
                "s",
                value - 0.1,
                value + 0.1,
            )
        ],
    )


def main() -> None:
    module = sys.argv[2].removeprefix("speechlm.bin.")
    if module != "layers":
        with open("calls", "a") as stream:
            stream.write(" ".join(sys.argv[2:]) + "\n")
    if module in ("arms", "tasks", "layers"):
        sys.argv = [module, *sys.argv[3:]]
        runpy.run_module(f"speechlm.bin.{module}", run_name="__main__")
    elif module in ("train", "score", "perplexity", "lm_eval"):
        {"train": train, "score": score, "perplexity": perplexity, "lm_eval": lm_eval}[module]()
    elif module == "extract_codes":
        for name in ("train", "test"):
            folder = Path(option("--dump")) / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "manifest.jsonl").write_text("{}\n")


if __name__ == "__main__":
    main()
