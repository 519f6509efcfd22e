"""Decode test sets with a trained model: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Each set is one pass, in which an utterance that waits takes the place of one that has ended. What has ended is kept,
so an interrupted decoding goes on where it was.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from speechlm.bin.command import run_main
from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec, decode_all
from speechlm.data.audio import save_wav
from speechlm.data.codes import write_codes
from speechlm.data.files import atomic_write, digests_of, settings_digest, stage
from speechlm.data.items import LEFT_OUT, BadItem, write_items
from speechlm.data.machine import code_version, describe_machine, device_for
from speechlm.data.manifest import load_manifest
from speechlm.data.parts import as_they_end
from speechlm.data.settings import Count, Option
from speechlm.model.folder import TrainedModel, load_model, trained_with, usual_limit
from speechlm.model.generate import DecodeOptions, Generated, generate, read_decode_config
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


@dataclass(frozen=True)
class TestItems:
    """What is decoded of a test set, and the ids that are not, because there is nothing else of their voice."""

    items: Many[Item]
    prompts: PromptIndex
    left_out: list[str]

    @property
    def settings(self) -> dict[str, str]:
        """Return how voices without another recording are treated, if there are such."""
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
            f"{manifest}: {len(lacking)} of {len(records)} utterances lack a part of {task.name} ({lang}): {', '.join(lacking[:5])}. "
            "A test set never shrinks silently: complete the data, or name another --lang."
        )
    prompts, listed = PromptIndex(records), keep_listed(items)
    kept = keep_prompted(listed, prompts)
    left_out = [] if kept is listed else sorted({item.record.id for item in listed} - {item.record.id for item in kept})
    return TestItems(kept, prompts, left_out)


def prepare(trained: TrainedModel, test: TestItems, prompt_frames: int) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """Return {utterance id: prefix ids_TK}, and {id: codes_TK} of the beginnings that are given, not decoded."""
    builder = ExampleBuilder(trained.vocab, trained.text, prompt_frames)
    beginnings = {item.record.id: codes_TK.tolist() for item in test.items if (codes_TK := builder.beginning(item)) is not None}
    return {item.record.id: builder.prefix(item, test.prompts.for_item(item, 0)) for item in test.items}, beginnings


def require_prompt_frames(exp: Path, given: int | None, config: Path) -> int:
    """Return the length of a voice prompt that the model was trained with; ValueError if the config gives another, or nothing says it."""
    trained = trained_with(exp, "prompt_frames")
    if given is None and trained is None:
        raise ValueError(f"{config}: no prompt_frames, and {exp} does not say with what it was trained. Write prompt_frames: N there.")
    if None not in (given, trained) and given != trained:
        raise ValueError(
            f"{config}: prompt_frames is {given}, {exp} was trained with {trained}. Leave prompt_frames out of the file: then it is the model's."
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


def decode(trained: TrainedModel, task: Task, prefixes: dict[str, np.ndarray], options: DecodeOptions, parts: Path) -> dict[str, Generated]:
    """Decode all prefixes in one pass; what has ended is kept in `parts`. A sample depends on the seed and its id
    alone.
    """

    def work(keys: list[str]) -> Iterator[tuple[str, dict]]:
        numbers = [stable_hash(key) for key in keys]
        for place, generated in generate(trained.model, task.speaks, [prefixes[key] for key in keys], options, numbers):
            yield keys[place], {"output": np.asarray(generated.output).tolist(), "ended": generated.ended}

    found = as_they_end(sorted(prefixes), work, parts, f"{task.name}: decoded", options.batch_size)
    return {key: Generated(**found[key]) for key in sorted(found)}


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
    """Record what decoding took, in `cost.json`; of an interrupted decoding, what was left took."""
    rows = sum(len(generated.output) for generated in found.values())
    cost = {"seconds": round(time.monotonic() - began, 1), "utterances": len(found), "rows": rows}
    with atomic_write(out / "cost.json") as stream:
        json.dump(
            cost | {"threads": torch.get_num_threads(), "machine": describe_machine(), "commit": code_version()},
            stream,
            indent=1,
        )


def write_text(out: Path, trained: TrainedModel, found: dict[str, list[int]]) -> None:
    with atomic_write(out / "text") as stream:
        for key, ids in found.items():
            stream.write(f"{key} {' '.join(trained.text.decode(ids).split())}".rstrip() + "\n")


def write_speech(out: Path, codec: Codec, found: dict[str, list]) -> None:
    """Write codes and waveforms; an empty output is a tenth of a second of silence, so that it stays in the test set."""
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
    """Decodes test sets with one model and task; the model is loaded when there is something to do."""

    args: argparse.Namespace

    def __post_init__(self):
        args, self.task = self.args, get_task(self.args.task)
        self.kind = "speech" if self.task.speaks else "text"
        limit = usual_limit(args.exp, args.task)
        self.options, stated = read_decode_config(args.config, self.kind, seed=args.seed, max_rows=limit)
        self.prompt_frames = require_prompt_frames(args.exp, stated, args.config)

    @cached_property
    def codec(self) -> Codec:
        return load_codec(self.args.codec)

    @cached_property
    def trained(self) -> TrainedModel:
        trained = load_model(self.args.exp, self.codec.fingerprint)
        trained.model.to(self.args.device).cast(getattr(torch, self.args.dtype))
        return trained

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
        inputs = {"manifest.jsonl": manifest} | {name: self.args.exp / name for name in ("model.safetensors", "vocab.json")}
        with stage(out, "decode", settings, inputs, [*outputs, "decode.json"]) as todo:
            if not todo:
                return
            prefixes, beginnings = prepare(self.trained, test, self.prompt_frames)
            say_unprompted(test, self.args.task, manifest, out)
            began = time.monotonic()
            found = decode(
                self.trained,
                self.task,
                prefixes,
                self.options,
                out / f".parts.{settings_digest(settings | digests_of(inputs))}",
            )
            write_cost(out, began, found)
            self.write(out, {key: [*beginnings.get(key, []), *generated.output] for key, generated in found.items()})
            with atomic_write(out / "decode.json") as stream:
                json.dump(settings | {"not_ended": not_ended(found, self.options.max_rows, self.args.task)}, stream, indent=1)
            for finished in out.glob(".parts.*"):  # those of earlier settings too
                shutil.rmtree(finished)

    def write(self, out: Path, outputs: dict[str, list]) -> None:
        if self.task.speaks:
            write_speech(out, self.codec, outputs)
        else:
            write_text(out, self.trained, outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--task", required=True)
    parser.add_argument("--manifest", type=Path, nargs="+", required=True, help="test sets")
    parser.add_argument("--lang", nargs="+", required=True, help="of each set: the source language (of a task of one language: it)")
    parser.add_argument("--tgt_lang", default="en", help="target language of a translation")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML: options of text and of speech decoding, prompt_frames")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="of each set: the folder for its outputs")
    parser.add_argument("--ngpu", type=Option(Count), default=0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the model (default: bfloat16 on GPUs)")
    parser.add_argument("--seed", type=Option(Count), default=0)
    args = parser.parse_args()
    if not len(args.manifest) == len(args.lang) == len(args.out):
        counts = f"{len(args.manifest)} --manifest, {len(args.lang)} --lang and {len(args.out)} --out"
        raise ValueError(f"decode: found {counts}. Expected as many of each: one set, its language and its folder after the other.")
    args.device, args.dtype = device_for(args.ngpu), args.dtype or ("bfloat16" if args.ngpu else "float32")
    decoder = Decoder(args)
    for manifest, lang, out in zip(args.manifest, args.lang, args.out):
        decoder.run(manifest, lang, out)


if __name__ == "__main__":
    run_main(main)
