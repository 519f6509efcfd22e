"""From options to a training: its model, its optimizers, its data."""

import argparse
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import torch

from speechlm.codecs import load_codec
from speechlm.data.files import atomic_write
from speechlm.data.manifest import Records, load_manifest
from speechlm.model.adapter import add_lora, describe
from speechlm.model.folder import copy_llm_files, load_llm, load_model
from speechlm.model.speechlm import SpeechLM
from speechlm.tasks import TOKEN_TASKS, get_task
from speechlm.tasks.examples import ExampleBuilder, PromptIndex, list_items
from speechlm.tokens.patterns import PATTERN
from speechlm.tokens.text import TextTokenizer, load_text_tokenizer
from speechlm.tokens.vocabulary import Vocabulary, make_vocabulary
from speechlm.train.elastic import require_alike
from speechlm.train.hang import limit_waiting, watch
from speechlm.train.iterator import (
    Batch,
    Corpus,
    PlannedBatches,
    TrainingIterator,
    fixed_batches,
    make_training_iterator,
)
from speechlm.train.lengths import Lengths, check_lengths
from speechlm.train.loss import TrainingModel, training_model
from speechlm.train.precision import Muon
from speechlm.train.record import result_settings
from speechlm.train.sharding import shard


def build_model(args: argparse.Namespace) -> TrainingModel:
    """Return the model that the options ask for, in all processes alike; the first one writes what it is to the output
    folder.
    """
    limit_waiting(args.dist_timeout_min)
    watch(args.dist_timeout_min)
    require_alike(result_settings(args, 1))
    speechlm = start_from_model(args) if args.init_from else start_from_llm(args)
    if is_first_process():
        folder = Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        source = str(Path(args.init_from) / "llm") if args.init_from else args.llm
        copy_llm_files(source, speechlm.llm.config, folder / "llm")
        speechlm.save_config(folder)
        text = load_text_tokenizer(str(folder / "llm"))
        load_records(
            args, [*args.train_sets, *args.dev_set], text
        )  # for all processes: makes the tokens that are missing
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # everybody reads these files
    if args.use_adapter:
        adapt(speechlm, args)
    model = training_model(speechlm, args)
    if args.sharding == "full":
        require_shardable(args)
        shard(model, speechlm.llm.get_decoder().layers, "cuda" if args.ngpu else "cpu", args.dtype)
    return model


def build_optimizers(args: argparse.Namespace, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW; with --muon_lr, Muon (torch.optim) for the matrices of the backbone's layers."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_layer = ".layers." in name and parameter.ndim == 2 and "lora_" not in name
            (matrices if args.muon_lr and in_layer else others).append(parameter)
    optimizers = [torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=args.weight_decay, fused=True)]
    if matrices:
        options = {"lr": args.muon_lr, "ns_steps": args.muon_ns, "weight_decay": args.weight_decay}
        optimizers.append(Muon(matrices, "cuda" if args.ngpu else "cpu", **options))
    return optimizers


def build_data(args: argparse.Namespace, process: tuple[int, int], mode: str) -> TrainingIterator | list[Batch]:
    """Return the data of process (rank, world): endless for mode "train", for validation a list of batches."""
    vocab = Vocabulary.load(Path(args.output_dir) / "vocab.json")
    corpus = load_corpus(args, vocab, args.train_sets if mode == "train" else args.dev_set, mode == "train")
    layout = {
        "rows": args.rows,
        "row_length": args.row_length,
        "pad_id": vocab.pad_id,
        "num_columns": vocab.num_columns,
    }
    logging.info(f"{mode} examples: {corpus.sizes()}")
    lengths = check_lengths(corpus, args) if mode == "train" else []
    if is_first_process():
        note_examples(corpus, Path(args.output_dir), mode, lengths)
    if mode == "train":
        return make_training_iterator(corpus, args.mixture, layout, args.seed, process, args.num_workers)
    batches = PlannedBatches(corpus, args.row_length, vocab.pad_id, vocab.num_columns)
    plans, left_out = fixed_batches(corpus, args.rows, args.row_length, args.eval_examples)
    if said := left_out.message(
        {task: min(size, args.eval_examples) for task, size in corpus.sizes().items()}, args.row_length
    ):
        logging.warning(f"valid: {said}")
    return [batches.build(plan) for plan in plans]


def note_examples(corpus: Corpus, folder: Path, mode: str, lengths: Iterable[Lengths] = ()) -> None:
    """Write `examples_<mode>.json`: how many examples each task has, and how many lack the voice prompt that it has
    (and say it).

    Of those looked at, the longest target too, in frames or tokens (what decoding is bounded by), and the longest sound
    given, in frames (longer ones are cut at pauses).
    """
    sizes, unprompted = corpus.sizes(), corpus.unprompted()
    for task, count in unprompted.items():
        print(
            f"{mode}: {count} of {sizes[task]} examples of {task} have no voice prompt: no other recording of their"
            " speaker",
            flush=True,
        )
    with atomic_write(folder / f"examples_{mode}.json") as stream:
        targets, heard = (
            {each.task: int(getattr(each, of).max()) for each in lengths} for of in ("targets_N", "heard_N")
        )
        found = {
            "examples": sizes,
            "without_voice_prompt": unprompted,
            "longest_target": targets,
            "longest_heard": heard,
        }
        json.dump(found, stream, indent=1)


def is_first_process() -> bool:
    """Is this the process that writes the files?"""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def require_shardable(args: argparse.Namespace) -> None:
    """Raise ValueError if there is one process only, or an option that needs the whole model in each."""
    if not torch.distributed.is_initialized():
        raise ValueError(
            "--sharding full: found one process; expected several (--ngpu, --nproc or torchrun), or --sharding none."
        )
    if args.init_param:
        raise ValueError(
            "--sharding full: --init_param needs the whole model in each process. Start from a model folder by"
            " --init_from."
        )


def adapt(speechlm: SpeechLM, args: argparse.Namespace) -> None:
    """Put LoRA adapters into the LLM; ESPnet is not to add its own (by loralib) afterwards."""
    if args.adapter != "lora":
        raise ValueError(f"--adapter {args.adapter}: found no such adapter for an LLM; expected lora.")
    add_lora(speechlm.llm, args.adapter_conf)
    args.use_adapter = False
    if is_first_process():
        print(f"LoRA: {describe(speechlm)}", flush=True)


def start_from_model(args: argparse.Namespace) -> SpeechLM:
    """Start from a trained model folder (CPT to SFT)."""
    trained = load_model(args.init_from, load_codec(args.codec).fingerprint)
    for name in [f"<{task}>" for task in args.mixture if not get_task(task).plain]:
        trained.vocab.special_id(name)
    require_same(args, trained.vocab)
    return trained.model.train()


def require_same(args: argparse.Namespace, vocab: Vocabulary) -> None:
    """Raise ValueError if an option asks for what the model to start from, `--init_from`, has decided otherwise."""
    wanted = {f"<{name}>" for name in [*(args.tasks or []), *args.langs]}
    if args.pattern not in (None, vocab.pattern) or not wanted <= set(vocab.specials):
        found = (
            f"--pattern {args.pattern}"
            if args.pattern not in (None, vocab.pattern)
            else ", ".join(sorted(wanted - set(vocab.specials)))
        )
        raise ValueError(
            f"--init_from {args.init_from}: the model has the pattern {vocab.pattern} and the tokens"
            f" {' '.join(vocab.specials)}, which stay as they are; found {found} in the config or among the options."
            " Leave that out, or train the model again with it."
        )


def start_from_llm(args: argparse.Namespace) -> SpeechLM:
    """Start from a textual LLM: its vocabulary is extended by special tokens and codes."""
    if not args.llm:
        raise ValueError(
            "no model to start from. Expected --llm (a textual LLM) or --init_from (a trained model folder)."
        )
    text = load_text_tokenizer(args.llm)
    llm = load_llm(args.llm, args.llm_random)
    rows = llm.get_input_embeddings().weight.shape[0]
    if text.size > rows:
        raise ValueError(
            f"--llm {args.llm}: its tokenizer has ids up to {text.size - 1}, its embedding table {rows} rows: they"
            " don't belong together. Restore the tokenizer files that the LLM was published with."
        )
    text.size = rows  # padding rows of the table are text ids too
    langs = args.langs or list(dict.fromkeys([args.src_lang, args.tgt_lang]))
    codec = load_codec(args.codec)
    model = SpeechLM(llm, make_vocabulary(text, codec, args.tasks or TOKEN_TASKS, langs, args.pattern or PATTERN))
    if args.codebook_init:
        model.init_codes(torch.from_numpy(codec.codebooks()))
    return model


def load_corpus(args: argparse.Namespace, vocab: Vocabulary, sets: list[str], training: bool = True) -> Corpus:
    """Collect the examples of the mixture's tasks from the sets' manifests; a set is a folder's name in the dump, or
    its path.

    `task_sets` restricts training, not validation, whose sets have other names.
    """
    text = load_text_tokenizer(str(Path(args.output_dir) / "llm"))
    records = load_records(args, sets, text)
    langs = args.langs or list(dict.fromkeys([args.src_lang, args.tgt_lang]))
    items = {}
    for name in args.mixture:
        task = get_task(name)
        chosen = args.task_langs.get(name, langs)
        pairs = [(lang, lang) for lang in chosen] if task.languages == "same" else directions(args)
        used = sets_of_task(args, name, sets) if training else sets
        items[name] = list_items(task, records if used == sets else load_records(args, used, text), pairs)
    return Corpus(
        items,
        PromptIndex(records, listed=False),
        ExampleBuilder(vocab, text, args.prompt_frames),
        args.condition_weight,
        args.hide_target if training else 0.0,
    )


def load_records(args: argparse.Namespace, sets: Iterable[str], text: TextTokenizer) -> Records:
    """Return the utterances of some sets, with the token ids of their texts."""
    return load_manifest(*(Path(args.dump) / name / "manifest.jsonl" for name in sets), encoder=text)


def directions(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the translation pairs (source, target) of --directions, by default the recipe's own."""
    langs = args.langs or [args.src_lang, args.tgt_lang]
    named = {f"{src}-{tgt}": (src, tgt) for src in langs for tgt in langs}  # a language may have a hyphen too: zh-CN
    pairs = [named.get(direction, (direction,)) for direction in args.directions] or [(args.src_lang, args.tgt_lang)]
    for direction, pair in zip(args.directions, pairs):
        if len(pair) != 2 or not set(pair) <= set(langs):
            raise ValueError(
                f"directions: found {direction!r}; expected SOURCE-TARGET of the languages {', '.join(langs)}, such as"
                " en-zh"
            )
    return pairs


def sets_of_task(args: argparse.Namespace, task: str, sets: Iterable[str]) -> list[str]:
    """Return which of the training sets a task uses; ValueError if its `task_sets` names one that is not among them."""
    names = args.task_sets.get(task)
    if names is None:
        return list(sets)
    if unknown := [name for name in names if name not in sets]:
        raise ValueError(
            f"task_sets: {task} uses {', '.join(unknown)}; the training sets are {', '.join(sets)}. Name some of them."
        )
    return list(names)
