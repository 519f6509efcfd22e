"""How fast does a speech LLM train, and in how much memory? Over row lengths and numbers of rows, on a GPU or the CPU.

Run from the repository: `python tools/bench/train.py` (a GPU: Qwen1.5-0.5B with random weights, four minutes), or with
`--toy` (the CPU, a minute). A step is that of the training: the forward pass under autocast, the loss, the backward
pass, clipping, AdamW. There is no loader; tools/bench/gpu.py is `bin/train` as a whole. MFU is by the formula of
`--dry_run`, of the data sheet's dense bf16. The last line is JSON.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from models import CODES, LARGE, STREAMS, TOY, random_model

from speechlm.data.machine import code_version, describe_machine
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.sequence import Sequence, join, speech_segment, text_segment
from speechlm.tokens.vocabulary import Vocabulary
from speechlm.train.dry_run import GPUS
from speechlm.train.iterator import pack
from speechlm.train.loop import batch_on
from speechlm.train.loss import TrainingModel
from speechlm.train.precision import autocast


def make_model(sizes: dict[str, int], device: str, compiled: str) -> TrainingModel:
    """Return the model that a training makes of an LLM of these sizes."""
    model = TrainingModel(random_model(sizes, device), [1.0] * STREAMS, 1.0, ["tts"]).to(device).train()
    model.prepare(device, compiled)
    return model


def make_batch(vocab: Vocabulary, rows: int, row_length: int) -> dict[str, torch.Tensor]:
    """Return rows that are filled with examples of a fourteenth to a quarter of a row: 300 to 1,000 positions
    of 4,096.
    """
    rng = np.random.default_rng(rows)

    def example(length: int) -> Sequence:
        words = length // 16
        text = text_segment(rng.integers(0, 1000, words).tolist(), vocab)
        return join([*text, *speech_segment(rng.integers(0, CODES, (length - words - 4, STREAMS)), vocab)], 1.0, "tts")

    def row() -> list[Sequence]:
        lengths, left = [], row_length
        while left > row_length // 14 + 8:
            lengths.append(min(left, int(rng.integers(row_length // 14, row_length // 4)) + 8))
            left -= lengths[-1]
        return [example(length) for length in lengths]

    return pack([row() for _ in range(rows)], row_length, vocab.pad_id, vocab.num_columns)


def measure(model: TrainingModel, rows: int, row_length: int, steps: int, device: str) -> dict[str, float]:
    """Train some steps on one batch; return positions a second, and the peak of memory in GB."""
    batch = batch_on(make_batch(model.speechlm.vocab, rows, row_length), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    positions, began = int((batch["segment_BL"] >= 0).sum()), 0.0
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for step in range(3 + steps):
        if step == 3:  # compiled, and memory reserved
            wait()
            began = time.perf_counter()
        with autocast(device, "bfloat16"):
            total, table_S2 = model(**batch)
        (total / table_S2[0, 1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    wait()
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "positions_per_sec": round(positions * steps / (time.perf_counter() - began)),
        "peak_gb": round(peak / 1e9, 2),
    }


def flops_per_position(speechlm: SpeechLM, row_length: int) -> float:
    """As `--dry_run` counts them: 6 per parameter of a matrix product, and attention over half a row."""
    config = speechlm.llm.config
    layers = sum(p.numel() for name, p in speechlm.llm.named_parameters() if ".layers." in name)
    heads = config.vocab_size * config.hidden_size + speechlm.new_head.weight.numel()
    return 6 * (layers + heads) + 6 * config.num_hidden_layers * config.hidden_size * row_length


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a small model, on the CPU too")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="(default: 2 and 8)")
    parser.add_argument(
        "--row_lengths", type=int, nargs="+", default=[], help="(default: 1024 and 4096; toy 128 and 256)"
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--compile", default="auto", choices=["auto", "true", "false"])
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else describe_machine()
    peak = next((flops for gpu, flops in GPUS.items() if gpu in name), None)
    found = []
    for row_length in args.row_lengths or ([128, 256] if args.toy else [1024, 4096]):
        for rows in args.rows or [2, 8]:
            model = make_model(TOY if args.toy else LARGE, device, args.compile)
            made = {"rows": rows, "row_length": row_length} | measure(model, rows, row_length, args.steps, device)
            if peak:
                made["mfu"] = round(
                    made["positions_per_sec"] * flops_per_position(model.speechlm, row_length) / peak, 3
                )
            found.append(made)
            print(json.dumps(made), flush=True)
            del model
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
    print(
        json.dumps(
            {"training": found, "toy": args.toy, "compile": args.compile, "device": name, "commit": code_version()}
        )
    )


if __name__ == "__main__":
    main()
