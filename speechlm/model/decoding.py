"""How bin/decode decodes test sets: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Each set is decoded in one pass: when an utterance ends, the next one takes its place in the batch. Finished utterances
are kept, so an interrupted decoding resumes where it stopped.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from collections.abc import Sequence as Many
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec, decode_all
from speechlm.data.audio import save_wav
from speechlm.data.codes import write_codes
from speechlm.data.files import atomic_write, digests_of, settings_digest, stage
from speechlm.data.items import LEFT_OUT, BadItem, write_items
from speechlm.data.layers import source_of
from speechlm.data.machine import code_version, describe_machine
from speechlm.data.manifest import load_manifest
from speechlm.data.parts import as_they_end, read_parts
from speechlm.data.pool import pool_on
from speechlm.model.folder import TrainedModel, load_model, trained_with, usual_limit
from speechlm.model.generate import DecodeOptions, Generated, compile_steps, generate, read_decode_config
from speechlm.tasks import Task, get_task
from speechlm.tasks.examples import (
    ExampleBuilder,
    Item,
    PromptIndex,
    keep_listed,
    keep_prompted,
    list_items,
    stable_hash,
)

COMPILED_FROM = 500  # examples of a set and device, by `--compile auto`


@dataclass(frozen=True)
class TestItems:
    """What is decoded of a test set, and the ids that are not, because their voice has no other recording."""

    items: Many[Item]
    prompts: PromptIndex
    left_out: list[str]

    @property
    def settings(self) -> dict[str, str]:
        """Return how voices without another recording are treated, if there are any."""
        if self.left_out:
            return {"without_voice_prompt": f"{len(self.left_out)} left out"}
        unprompted = self.items[0].task.prompted and self.prompts.for_item(self.items[0], 0) is None
        return {"voice_prompt": "none"} if unprompted else {}


def list_test(task: Task, manifest: Path, lang: str, tgt_lang: str) -> TestItems:
    """Return the whole test set, or what it lists to be synthesised, as far as there are voice prompts.

    ValueError if an utterance lacks a part.
    """
    records = load_manifest(manifest)
    items = list_items(task, records, [(lang, tgt_lang if task.languages == "pair" else lang)])
    lacking = sorted({r.id for r in records} - {item.record.id for item in items})
    if lacking:
        raise ValueError(
            f"{manifest}: {len(lacking)} of {len(records)} utterances lack a part of {task.name} ({lang}):"
            f" {', '.join(lacking[:5])}. A test set never shrinks silently: complete the data, or name another --lang."
        )
    prompts, listed = PromptIndex(records), keep_listed(items)
    kept = keep_prompted(listed, prompts)
    left_out = [] if kept is listed else sorted({item.record.id for item in listed} - {item.record.id for item in kept})
    return TestItems(kept, prompts, left_out)


def prepare(
    trained: TrainedModel, test: TestItems, prompt_frames: int
) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """Return {utterance id: prefix ids_TK}, and {id: codes_TK} of the beginnings that are given, not decoded."""
    builder = ExampleBuilder(trained.vocab, trained.text, prompt_frames)
    beginnings = {
        item.record.id: codes_TK.tolist() for item in test.items if (codes_TK := builder.beginning(item)) is not None
    }
    return {item.record.id: builder.prefix(item, test.prompts.for_item(item, 0)) for item in test.items}, beginnings


def require_prompt_frames(exp: Path, given: int | None, config: str) -> int:
    """Return the length of a voice prompt that the model was trained with; ValueError if the config gives another
    length, or neither gives one.
    """
    trained = trained_with(exp, "prompt_frames")
    if given is None and trained is None:
        raise ValueError(
            f"{config}: no prompt_frames, and {exp} does not say which length it was trained with. Write"
            " prompt_frames: N there."
        )
    if None not in (given, trained) and given != trained:
        raise ValueError(
            f"{config}: prompt_frames is {given}, but {exp} was trained with {trained}. Leave prompt_frames out of"
            " the file to use the model's."
        )
    return trained if given is None else given


def say_unprompted(test: TestItems, task: str, manifest: Path, out: Path) -> None:
    """Print and list (`left_out.tsv`) what is not decoded, or say that voices are free."""
    why = "no other recording of their speaker, to be shown as a voice prompt"
    left_out, listed = test.left_out, out / LEFT_OUT
    write_items(listed, [BadItem(key, "no voice prompt", str(manifest), why) for key in left_out])
    if left_out:
        whole = len(test.items) + len(left_out)
        print(f"{task}: {len(left_out)} of {whole} utterances left out: {why}; listed in {listed}", flush=True)
    elif test.settings:
        print(f"{task}: all {len(test.items)} utterances are synthesised without a voice prompt: {why}", flush=True)


def decode(
    trained: TrainedModel, task: Task, prefixes: dict[str, np.ndarray], options: DecodeOptions, parts: Path
) -> dict[str, Generated]:
    """Decode all prefixes in one pass; finished utterances are kept in `parts`. A sample depends only on the seed and
    its id.
    """

    def work(keys: list[str]) -> Iterator[tuple[str, dict]]:
        numbers = [stable_hash(key) for key in keys]
        for place, generated in generate(trained.model, task.speaks, [prefixes[key] for key in keys], options, numbers):
            yield keys[place], {"output": np.asarray(generated.output).tolist(), "ended": generated.ended}

    found = as_they_end(sorted(prefixes), work, parts, f"{task.name}: decoded", options.batch_size)
    return {key: Generated(**found[key]) for key in sorted(found)}


def compiles(asked: str, device: str, examples: int) -> bool:
    """Are a model's steps compiled, as `asked` (auto: on GPUs, where enough is to be decoded)?"""
    return asked == "true" or (asked == "auto" and device != "cpu" and examples >= COMPILED_FROM)


_trained: TrainedModel | None = None  # of a process on a device of its own


def _start(device: str, exp: Path, codec_fingerprint: str, dtype: str) -> None:
    global _trained
    _trained = load_model(exp, codec_fingerprint)
    _trained.model.to(device).cast(getattr(torch, dtype))


def _decode_share(
    task: str, prefixes: dict[str, np.ndarray], options: DecodeOptions, parts: Path, compiled: bool
) -> None:
    if compiled:
        compile_steps(_trained.model)
    decode(_trained, get_task(task), prefixes, options, parts)


def decode_on(
    pool: ProcessPoolExecutor,
    count: int,
    task: Task,
    prefixes: dict[str, np.ndarray],
    options: DecodeOptions,
    parts: Path,
    compiled: bool = False,
) -> dict[str, Generated]:
    """Decode as `decode` does, in `count` processes, each with a share of the prefixes; the shares are about equally
    long.
    """
    kept = read_parts(parts)
    left = sorted((key for key in prefixes if key not in kept), key=lambda key: (-len(prefixes[key]), key))
    shares = [left[number::count] for number in range(min(count, len(left)))]
    wanted = [{key: prefixes[key] for key in share} for share in shares]
    works = [
        pool.submit(_decode_share, task.name, part, options, parts / str(i), compiled) for i, part in enumerate(wanted)
    ]
    try:
        for work in works:
            work.result()
    except BrokenProcessPool:
        fix = "What is finished is kept: run the command again, with a smaller batch_size in the config"
        raise ValueError(f"a process that decoded was killed (out of memory?). {fix}") from None
    found = read_parts(parts)
    return {key: Generated(**found[key]) for key in sorted(prefixes)}


def not_ended(found: dict[str, Generated], max_rows: int, task: str) -> list[str]:
    """Return, and say, which outputs did not end by themselves."""
    cut = sorted(key for key, generated in found.items() if not generated.ended)
    if cut:
        print(
            f"{task}: {len(cut)} of {len(found)} outputs did not end by themselves: cut at max_rows {max_rows}",
            flush=True,
        )
    return cut


def write_cost(out: Path, began: float, found: dict[str, Generated]) -> None:
    """Record the cost of decoding in `cost.json`; after an interruption, that of the rest only."""
    rows = sum(len(generated.output) for generated in found.values())
    cost = {"seconds": round(time.monotonic() - began, 1), "utterances": len(found), "rows": rows}
    with atomic_write(out / "cost.json") as stream:
        json.dump(
            cost | {"threads": torch.get_num_threads(), "machine": describe_machine(), "commit": code_version()},
            stream,
            indent=1,
        )


def write_text(out: Path, trained: TrainedModel, found: dict[str, list[int]]) -> None:
    """Write a line for each utterance: its id, and its text with single spaces."""
    with atomic_write(out / "text") as stream:
        for key, ids in found.items():
            stream.write(f"{key} {' '.join(trained.text.decode(ids).split())}".rstrip() + "\n")


def write_speech(out: Path, codec: Codec, found: dict[str, list]) -> None:
    """Write codes and waveforms; an empty output is a tenth of a second of silence, so that it stays in the
    test set.
    """
    codes = {key: np.asarray(rows, dtype=np.int32).reshape(-1, codec.num_codebooks) for key, rows in found.items()}
    write_codes(out, codes)
    silence = np.zeros(codec.sample_rate_hz // 10, dtype=np.float32)
    wavs = decode_all(codec, {key: codes_TK for key, codes_TK in codes.items() if len(codes_TK)})
    for key in codes:
        save_wav(out / "wav" / f"{key}.wav", wavs.get(key, silence), codec.sample_rate_hz)
    for path in (out / "wav").glob("*.wav"):
        if path.stem not in codes:  # of another test set
            path.unlink()
    with atomic_write(out / "wav.scp") as stream:
        stream.writelines(f"{key} {out}/wav/{key}.wav\n" for key in codes)


@dataclass
class Decoder:
    """Decodes test sets with one model and task; the model is loaded when there is something to do.

    On several of `args.devices`, each has it in a process of its own.
    """

    args: argparse.Namespace

    def __post_init__(self):
        args, self.task = self.args, get_task(self.args.task)
        self.kind = "speech" if self.task.speaks else "text"
        limit = usual_limit(args.exp, args.task)
        self.options, stated = read_decode_config(args.config, self.kind, seed=args.seed, max_rows=limit)
        self.prompt_frames = require_prompt_frames(args.exp, stated, source_of(args.config))

    @cached_property
    def codec(self) -> Codec:
        return load_codec(self.args.codec).to(self.device)

    @property
    def device(self) -> str:
        """Where this process computes, in torch's words."""
        return "cpu" if self.args.devices[0] == "cpu" else "cuda"

    @cached_property
    def trained(self) -> TrainedModel:
        trained = load_model(self.args.exp, self.codec.fingerprint)
        if len(self.args.devices) == 1:
            trained.model.to(self.device).cast(getattr(torch, self.args.dtype))
        return trained

    @cached_property
    def pool(self) -> ProcessPoolExecutor:
        args = self.args
        return pool_on(args.devices, _start, args.exp, self.codec.fingerprint, args.dtype)

    def decode(self, prefixes: dict[str, np.ndarray], parts: Path) -> dict[str, Generated]:
        """Decode all prefixes, here or on several devices; finished utterances are kept in `parts`."""
        compiled = compiles(self.args.compile, self.device, len(prefixes) // len(self.args.devices))
        if len(self.args.devices) > 1:
            return decode_on(self.pool, len(self.args.devices), self.task, prefixes, self.options, parts, compiled)
        if compiled:
            compile_steps(self.trained.model)
        return decode(self.trained, self.task, prefixes, self.options, parts)

    def settings(self, lang: str, test: TestItems) -> dict:
        """Return what the outputs depend on, besides the model and the data."""
        args = self.args
        settings = {
            "task": args.task,
            "lang": lang,
            "tgt_lang": args.tgt_lang,
            "codec": args.codec,
            self.kind: vars(self.options),
        }
        settings |= {"prompt_frames": self.prompt_frames} | test.settings
        return settings if args.dtype == "float32" else settings | {"dtype": args.dtype}

    def run(self, manifest: Path, lang: str, out: Path) -> None:
        """Decode one set in one language to a folder, unless that is done."""
        test = list_test(self.task, manifest, lang, self.args.tgt_lang)
        settings = self.settings(lang, test)
        outputs = ["codes.ark", "codes.scp", "wav.scp", "wav/*.wav"] if self.task.speaks else ["text"]
        inputs = {"manifest.jsonl": manifest} | {
            name: self.args.exp / name for name in ("model.safetensors", "vocab.json")
        }
        with stage(out, "decode", settings, inputs, [*outputs, "decode.json"]) as todo:
            if not todo:
                return
            prefixes, beginnings = prepare(self.trained, test, self.prompt_frames)
            say_unprompted(test, self.args.task, manifest, out)
            began = time.monotonic()
            found = self.decode(prefixes, out / f".parts.{settings_digest(settings | digests_of(inputs))}")
            write_cost(out, began, found)
            self.write(out, {key: [*beginnings.get(key, []), *generated.output] for key, generated in found.items()})
            with atomic_write(out / "decode.json") as stream:
                json.dump(
                    settings | {"not_ended": not_ended(found, self.options.max_rows, self.args.task)}, stream, indent=1
                )
            for finished in out.glob(".parts.*"):  # those of earlier settings too
                shutil.rmtree(finished)

    def write(self, out: Path, outputs: dict[str, list]) -> None:
        if self.task.speaks:
            write_speech(out, self.codec, outputs)
        else:
            write_text(out, self.trained, outputs)


def decode_sets(args: argparse.Namespace) -> None:
    """Decode all sets that the options name, one after the other."""
    decoder = Decoder(args)
    for manifest, lang, out in zip(args.manifest, args.lang, args.out):
        decoder.run(manifest, lang, out)
    if "pool" in vars(decoder):
        decoder.pool.shutdown()
