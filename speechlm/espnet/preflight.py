"""The checks of `bin/preflight`."""

import argparse
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from speechlm.data.files import atomic_write, settings_digest, stage
from speechlm.data.machine import device_for
from speechlm.espnet.imports import set_all_random_seed
from speechlm.espnet.options import parse_options
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.generate import DecodeOptions, generate_speech, generate_text
from speechlm.tasks import get_task
from speechlm.tokens.sequence import grid_to_codes
from speechlm.train.build import load_corpus
from speechlm.train.iterator import Corpus, pack
from speechlm.train.lengths import check_lengths
from speechlm.train.loop import batch_on
from speechlm.train.meter import Meter
from speechlm.train.mixture import Draw
from speechlm.train.record import input_files, result_settings

MAX_STEPS, CHECK_STEPS, LEARNING_RATE = 600, 50, 2e-3
TOLERANCE = 0.25  # of ln V, for the initial loss of a random head


def run_preflight(argv: list[str]) -> None:
    """Check what the command line describes, unless it passed before."""
    args, trainings = parse_trainings(argv)
    device_for(args.ngpu)
    settings = {
        "options": settings_digest(result_settings(args, 1)),
        "trainings": settings_digest([result_settings(training, 1) for training in trainings]),
    }
    out = Path(args.output_dir)
    with stage(out, "preflight", settings, input_files(args, dev=True), ["preflight.json"]) as todo:
        if todo:
            found = check(args, trainings)
            with atomic_write(out / "preflight.json") as stream:
                json.dump(found, stream, indent=1)


def one_batch(corpus: Corpus, tasks: list[str], vocab, device: str) -> tuple[list, dict]:
    """Return the first example of each task, and them as a batch of one row each."""
    draws = [Draw(task, 0, 0) for task in tasks if corpus.sizes()[task]]
    rows = [[corpus.sequence(draw)] for draw in draws]
    longest = max(len(row[0]) for row in rows)
    return draws, batch_on(pack(rows, longest, vocab.pad_id, vocab.num_columns), device)


@torch.inference_mode()
def check_text_logits(speechlm) -> None:
    """Raise ValueError if the logits of a text differ from the LLM's own: its family scales something that this package
    doesn't know of.
    """
    vocab, device = speechlm.vocab, speechlm.new_head.weight.device
    ids_1L = torch.arange(min(16, vocab.text_size), device=device)[None]
    rows_1LK = torch.full((*ids_1L.shape, vocab.num_columns), vocab.pad_id, device=device)
    rows_1LK[..., 0] = ids_1L
    hidden = speechlm.eval().hidden(
        rows_1LK, torch.ones_like(ids_1L), torch.arange(ids_1L.shape[1], device=device)[None]
    )
    found, expected = speechlm.first_logits(hidden)[..., : vocab.text_size], speechlm.llm(ids_1L).logits
    if not torch.allclose(found, expected, rtol=0, atol=1e-2 * expected.std().item()):
        raise ValueError(
            f"preflight: {speechlm.llm.config.model_type}: the logits of a text differ from those in transformers;"
            " training would damage the LLM. Expected a family that is listed in README.md, LLMs; or add what the"
            " family scales to speechlm/model/speechlm.py"
        )


@torch.inference_mode()
def check_packing(speechlm) -> None:
    """Raise ValueError if an example sees its neighbours in a row: the LLM's masks are not the ones that transformers
    makes for all models.
    """
    vocab, device, half = speechlm.vocab, speechlm.new_head.weight.device, 4
    rows_2LK = torch.full((2, 2 * half, vocab.num_columns), vocab.pad_id, device=device)
    rows_2LK[..., 0] = torch.arange(2 * half, device=device)
    rows_2LK[1, :half, 0] = half  # another first example, the same second one
    one_LD, other_LD = speechlm.eval().hidden(rows_2LK, None, torch.arange(half, device=device).repeat(2, 2))
    if not torch.allclose(one_LD[half:], other_LD[half:], rtol=0, atol=1e-3 * one_LD.std().item()):
        raise ValueError(
            f"preflight: {speechlm.llm.config.model_type}: examples that are packed into one row see each other."
            " Expected an LLM whose masks transformers makes from positions (masking_utils), like those listed in"
            " README.md, LLMs"
        )


def check_initial_loss(model, batch: dict) -> dict[str, tuple[float, float]]:
    """Return {stream: (loss, ln V)} of the new heads; ValueError if one is off by more than TOLERANCE."""
    meter = Meter(model.figures, batch["ids_BLK"].device)
    with torch.no_grad():
        meter.add(model.eval()(**batch)[1])
    means = meter.means()
    vocab = model.speechlm.vocab
    columns, first = vocab.num_columns, model.first_choices
    sizes = [first] * vocab.num_codebooks if columns == 1 else [first, *vocab.codebook_sizes[1:]]
    found = {f"code{k}": (means[f"code{k}"], math.log(size)) for k, size in enumerate(sizes)}
    # An LLM prefers its text tokens: what stands in the first column may start above ln V, so only later ones are bound
    # on both sides.
    off = [
        k
        for k, (loss, expected) in found.items()
        if loss < (1 - TOLERANCE) * expected or (k != "code0" and columns > 1 and loss > (1 + TOLERANCE) * expected)
    ]
    if off:
        raise ValueError(
            f"preflight: initial loss far from ln V in {off}: {found}. Expected random heads; was a trained model given"
            " with --llm?"
        )
    return found


def overfit(model, batch: dict, recovered) -> int:
    """Train on one batch until `recovered()`; return the steps it took. ValueError if MAX_STEPS are not enough."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(1, MAX_STEPS + 1):
        loss = model.train().mean_loss(**batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % CHECK_STEPS == 0:
            wrong = recovered()
            print(
                f"preflight: step {step}, loss {loss.item():.4f}, not yet recovered: {', '.join(wrong) or 'none'}",
                flush=True,
            )
            if not wrong:
                return step
    raise ValueError(
        f"preflight: one batch cannot be learned by heart in {MAX_STEPS} steps; not recovered: {', '.join(wrong)}. The"
        " model or the data is broken."
    )


def not_recovered(model, corpus: Corpus, draws: list[Draw]) -> list[str]:
    """Decode the learned examples greedily; return those whose target is not exactly their own."""
    model.eval()
    return [corpus.name(draw) for draw in draws if not is_recovered(model.speechlm, corpus, draw)]


def is_recovered(speechlm, corpus: Corpus, draw: Draw) -> bool:
    """Does greedy decoding of a learned example give exactly its target?"""
    sequence, prefix = corpus.sequence(draw), corpus.prefix(draw)
    target_TK = sequence.ids_TK[len(prefix) : -1]
    options = DecodeOptions(max_rows=len(target_TK) + 10)
    if get_task(draw.task).speaks:
        [found] = generate_speech(speechlm, [prefix], options)
        return found.output.tolist() == grid_to_codes(target_TK, speechlm.vocab).tolist()
    [found] = generate_text(speechlm, [prefix], options)
    return found.output == target_TK[:, 0].tolist()


def learned_tasks(mixture: Iterable[str], learn_text: bool) -> list[str]:
    """Return the tasks whose target must be reproduced: those with our tokens, or without `learn_text` those whose
    output is speech.
    """
    tasks = [name for name in mixture if not get_task(name).plain and (learn_text or get_task(name).speaks)]
    if not tasks:
        raise ValueError(
            f"preflight: mixture {', '.join(mixture)} with text_weight 0: no task whose output is speech, so"
            " nothing is learned that could be reproduced. Give text a weight, or add a task such as tts."
        )
    return tasks


def parse_trainings(argv: list[str]) -> tuple[argparse.Namespace, list[argparse.Namespace]]:
    """Return the options of the model that is checked, and of each --training, whose files replace --config and
    --overlay.
    """
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--training", nargs="+", action="append", default=[])
    named, argv = own.parse_known_args(argv)
    own.add_argument("--config"), own.add_argument("--overlay", nargs="*")
    _, common = own.parse_known_args(argv)
    trainings = [["--config", config, "--overlay", *overlays, *common] for config, *overlays in named.training]
    whole = SpeechLMTask.get_parser()
    whole.set_defaults(training=None)  # as in the records of earlier preflights
    return parse_options(whole, argv), [parse_options(SpeechLMTask.get_parser(), words) for words in trainings]


def check_rows(args, vocab) -> None:
    """Check the lengths of a training whose model is still to be made."""
    check_lengths(load_corpus(args, replace(vocab, pattern=args.pattern or vocab.pattern), args.train_sets), args)


def check(args, trainings: list) -> dict:
    """Run the checks for parsed options; return what was found."""
    set_all_random_seed(args.seed)
    device = device_for(args.ngpu)
    model = SpeechLMTask.build_model(args).to(device)
    for training in trainings:
        check_rows(training, model.speechlm.vocab)
    args.condition_weight = 0.0
    corpus = load_corpus(args, model.speechlm.vocab, args.dev_set, training=False)
    tasks = learned_tasks(args.mixture, model.learn_text)
    draws, batch = one_batch(corpus, tasks, model.speechlm.vocab, device)
    check_text_logits(model.speechlm)
    check_packing(model.speechlm)
    initial = check_initial_loss(model, batch)
    for stream, (loss, expected) in initial.items():
        print(f"preflight: initial loss of {stream} {loss:.2f}, ln V {expected:.2f}", flush=True)
    steps = overfit(model, batch, lambda: not_recovered(model, corpus, draws))
    print(f"preflight: {len(draws)} examples ({', '.join(tasks)}) recovered exactly after {steps} steps", flush=True)
    return {"initial_loss_and_ln_vocabulary": initial, "tasks": tasks, "steps_to_exact_recovery": steps}
