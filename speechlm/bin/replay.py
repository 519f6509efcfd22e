"""Compute again, on the saved state, the batch at which a training stopped (`bad_batch.json`): loss and gradient norm of each example.

Run it in the folder in which the training was started: the paths are those of its options.
"""

import argparse
import logging
import math
from pathlib import Path

import torch

from speechlm.bin.command import run_main
from speechlm.data.machine import device_for
from speechlm.data.settings import Count, Option, read_json, read_yaml
from speechlm.model.folder import load_llm
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.vocabulary import Vocabulary
from speechlm.train.build import load_corpus
from speechlm.train.checkpoint import load_tensors, newest
from speechlm.train.iterator import Corpus, PlannedBatches
from speechlm.train.loop import batch_on
from speechlm.train.loss import TrainingModel, training_model
from speechlm.train.mixture import Draw
from speechlm.train.precision import autocast


def read_bad_batch(folder: Path) -> dict:
    path = folder / "bad_batch.json"
    if not path.exists():
        raise ValueError(f"{path}: not found. Expected the --output_dir of a training that stopped at a bad batch, which writes this file.")
    return read_json(path)


def load_state(folder: Path, args: argparse.Namespace, device: str) -> tuple[TrainingModel, Corpus]:
    """Return the model as the last checkpoint has it, and the corpus."""
    vocab = Vocabulary.load(folder / "vocab.json")
    model = training_model(SpeechLM(load_llm(str(folder / "llm"), random_init=True), vocab), args)
    path = newest(folder)
    if path is None:
        raise ValueError(f"{folder}: no checkpoint. Expected the folder of the training that stopped; start that training again.")
    load_tensors(path, model)
    return model.to(device).eval(), load_corpus(args, vocab, args.train_sets)


def measure(model: TrainingModel, batches: list, corpus: Corpus, args: argparse.Namespace) -> list[tuple[float, float, str]]:
    """Return (loss, gradient norm, name) of every example alone, worst first: what is not finite, then the largest loss."""
    vocab, device, found = model.speechlm.vocab, next(model.parameters()).device, []
    build = PlannedBatches(corpus, args.row_length, vocab.pad_id, vocab.num_columns).build
    for entry in [entry for batch in batches for row in batch for entry in row]:
        draw = Draw(entry["task"], entry["index"], entry["number"])
        if corpus.name(draw) != entry["name"]:
            raise ValueError(f"bad_batch.json names {entry['name']}, the corpus has {corpus.name(draw)} there. Run the training again.")
        with autocast(device.type, args.dtype):
            loss = model.mean_loss(**batch_on(build([[draw]]), device.type))
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        found.append((float(loss), float(norm), entry["name"]))
    return sorted(found, key=lambda row: (math.isfinite(row[0] + row[1]), -row[0]))


def main() -> None:
    logging.basicConfig(level="WARNING")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the training")
    parser.add_argument("--ngpu", type=Option(Count), default=0, help="1: on the GPU")
    options = parser.parse_args()
    device = device_for(options.ngpu)
    bad = read_bad_batch(options.exp)
    args = argparse.Namespace(**read_yaml(options.exp / "config.yaml"))
    args.output_dir = str(options.exp)
    model, corpus = load_state(options.exp, args, device)
    print(
        f"step {bad['step']}: loss {bad['loss']}, gradient norm {bad['grad_norm']}. Each example alone: loss in nats per row, gradient norm, name"
    )
    for loss, norm, name in measure(model, bad["batches"], corpus, args):
        print(f"{loss:10.3f} {norm:10.3f}  {name}")


if __name__ == "__main__":
    run_main(main)
