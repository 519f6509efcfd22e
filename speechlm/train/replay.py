"""The batch at which a training stopped, computed again on the saved state: bin/replay.py."""

import argparse
import math
from pathlib import Path

import torch

from speechlm.data.settings import read_json, read_yaml
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
    """Return what a training wrote of the batch at which it stopped; ValueError if it wrote nothing."""
    path = folder / "bad_batch.json"
    if not path.exists():
        expected = "Expected the --output_dir of a training that stopped at a bad batch, which writes this file"
        raise ValueError(f"{path}: not found. {expected}.")
    return read_json(path)


def load_state(folder: Path, args: argparse.Namespace, device: str) -> tuple[TrainingModel, Corpus]:
    """Return the model as the last checkpoint has it, and the corpus."""
    vocab = Vocabulary.load(folder / "vocab.json")
    model = training_model(SpeechLM(load_llm(str(folder / "llm"), random_init=True), vocab), args)
    path = newest(folder)
    if path is None:
        expected = "Expected the folder of the training that stopped; start that training again"
        raise ValueError(f"{folder}: no checkpoint. {expected}.")
    load_tensors(path, model)
    return model.to(device).eval(), load_corpus(args, vocab, args.train_sets)


def measure(
    model: TrainingModel, batches: list, corpus: Corpus, args: argparse.Namespace
) -> list[tuple[float, float, str]]:
    """Return (loss, gradient norm, name) of every example alone, worst first: not finite ones, then the largest
    loss.
    """
    vocab, device, found = model.speechlm.vocab, next(model.parameters()).device, []
    build = PlannedBatches(corpus, args.row_length, vocab.pad_id, vocab.num_columns).build
    for entry in [entry for batch in batches for row in batch for entry in row]:
        draw = Draw(entry["task"], entry["index"], entry["number"])
        if corpus.name(draw) != entry["name"]:
            other = f"bad_batch.json names {entry['name']}, the corpus has {corpus.name(draw)} there"
            raise ValueError(f"{other}. Run the training again.")
        with autocast(device.type, args.dtype):
            loss = model.mean_loss(**batch_on(build([[draw]]), device.type))
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        found.append((float(loss), float(norm), entry["name"]))
    return sorted(found, key=lambda row: (math.isfinite(row[0] + row[1]), -row[0]))


def replay(exp: Path, device: str) -> None:
    """Print loss and gradient norm of each example of the batch at which a training stopped."""
    bad = read_bad_batch(exp)
    args = argparse.Namespace(**read_yaml(exp / "config.yaml"))
    args.output_dir = str(exp)
    model, corpus = load_state(exp, args, device)
    message = f"step {bad['step']}: loss {bad['loss']}, gradient norm {bad['grad_norm']}"
    print(f"{message}. Each example alone: loss in nats per row, gradient norm, name")
    for loss, norm, name in measure(model, bad["batches"], corpus, args):
        print(f"{loss:10.3f} {norm:10.3f}  {name}")
