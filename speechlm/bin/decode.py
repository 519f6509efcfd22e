"""Decode a test set with a trained model: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Batches of similar length; finished batches are kept, so an interrupted decoding goes on where it was.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from speechlm.bin.command import run_main
from speechlm.codecs import load_codec
from speechlm.codecs.base import Codec
from speechlm.data.audio import save_wav
from speechlm.data.codes import write_codes
from speechlm.data.files import atomic_write, digests_of, settings_digest, stage
from speechlm.data.items import LEFT_OUT, BadItem, write_items
from speechlm.data.machine import code_version, describe_machine, device_for
from speechlm.data.manifest import load_manifest
from speechlm.data.parts import in_parts
from speechlm.data.settings import Count, Option
from speechlm.model.folder import TrainedModel, load_model, longest_target, trained_with
from speechlm.model.generate import DecodeOptions, generate_speech, generate_text, read_decode_config
from speechlm.tasks import Task, get_task
from speechlm.tasks.examples import ExampleBuilder, Item, PromptIndex, keep_listed, keep_prompted, list_items


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


def list_test(task: Task, args: argparse.Namespace) -> TestItems:
    """Return the whole test set, or what it lists to be synthesised, as far as there are voice prompts.

    ValueError if an utterance lacks a part.
    """
    records = load_manifest(args.manifest)
    items = list_items(task, records, [(args.lang, args.tgt_lang if task.languages == "pair" else args.lang)])
    lacking = sorted({r.id for r in records} - {item.record.id for item in items})
    if lacking:
        raise ValueError(
            f"{args.manifest}: {len(lacking)} of {len(records)} utterances lack a part of {task.name} ({args.lang}): {', '.join(lacking[:5])}. "
            "A test set never shrinks silently: complete the data, or name another --lang."
        )
    prompts, listed = PromptIndex(records), keep_listed(items)
    kept = keep_prompted(listed, prompts)
    left_out = [] if kept is listed else sorted({item.record.id for item in listed} - {item.record.id for item in kept})
    return TestItems(kept, prompts, left_out)


def prepare(trained: TrainedModel, test: TestItems, prompt_frames: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return {utterance id: prefix ids_TK}, and {id: codes_TK} of the beginnings that are given, not decoded."""
    builder = ExampleBuilder(trained.vocab, trained.text, prompt_frames)
    beginnings = {item.record.id: codes_TK for item in test.items if (codes_TK := builder.beginning(item)) is not None}
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


def usual_limit(exp: Path, task: str) -> int:
    """Return the most frames or tokens of an output, where no config says it: half as many again as the longest target in training."""
    longest = longest_target(exp, task)
    return DecodeOptions.max_rows if longest is None else longest * 3 // 2 + 8


def say_unprompted(test: TestItems, args: argparse.Namespace) -> None:
    """Print and list (`left_out.tsv`) what is not decoded, or say that voices are free."""
    why = "no other recording of their speaker, to be shown as a voice prompt"
    left_out, listed = test.left_out, args.out / LEFT_OUT
    write_items(listed, [BadItem(key, "no voice prompt", str(args.manifest), why) for key in left_out])
    if left_out:
        whole = len(test.items) + len(left_out)
        print(f"{args.task}: {len(left_out)} of {whole} utterances left out: {why}; listed in {listed}", flush=True)
    elif test.settings:
        print(f"{args.task}: all {len(test.items)} utterances are synthesised without a voice prompt: {why}", flush=True)


def decode(trained: TrainedModel, task: Task, prefixes: dict[str, np.ndarray], options: DecodeOptions, parts: Path) -> dict:
    """Decode in batches of similar length, each kept in `parts`; return {id: list of text ids, or codes_TK}."""
    order = sorted(prefixes, key=lambda key: (len(prefixes[key]), key))
    batches = [order[i : i + options.batch_size] for i in range(0, len(order), options.batch_size)]
    run = generate_speech if task.speaks else generate_text

    def work(keys: list[str]) -> list[list]:
        return [np.asarray(output).tolist() for output in run(trained.model, [prefixes[key] for key in keys], options)]

    found = in_parts(batches, work, parts, f"{task.name}: decoded")
    return {key: found[key] for key in sorted(found)}


def write_cost(out: Path, began: float, prefixes: dict, found: dict[str, list]) -> None:
    """Record what decoding took, in `cost.json`; of an interrupted decoding, what was left took."""
    cost = {"seconds": round(time.monotonic() - began, 1), "utterances": len(prefixes), "rows": sum(map(len, found.values()))}
    with atomic_write(out / "cost.json") as stream:
        json.dump(cost | {"threads": torch.get_num_threads(), "machine": describe_machine(), "commit": code_version()}, stream, indent=1)


def write_text(out: Path, trained: TrainedModel, found: dict[str, list[int]]) -> None:
    with atomic_write(out / "text") as stream:
        for key, ids in found.items():
            stream.write(f"{key} {' '.join(trained.text.decode(ids).split())}".rstrip() + "\n")


def write_speech(out: Path, codec: Codec, found: dict[str, list]) -> None:
    """Write codes and waveforms; an empty output is a tenth of a second of silence, so that it stays in the test set."""
    codes = {key: np.asarray(rows, dtype=np.int32).reshape(-1, codec.num_codebooks) for key, rows in found.items()}
    write_codes(out, codes)
    for key, codes_TK in codes.items():
        wav = codec.decode(codes_TK) if len(codes_TK) else np.zeros(codec.sample_rate_hz // 10, dtype=np.float32)
        save_wav(out / "wav" / f"{key}.wav", wav, codec.sample_rate_hz)
    for path in (out / "wav").glob("*.wav"):
        if path.stem not in codes:  # of another test set
            path.unlink()
    with atomic_write(out / "wav.scp") as stream:
        stream.writelines(f"{key} {out}/wav/{key}.wav\n" for key in codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--task", required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--lang", required=True, help="source language (of a task of one language: the language)")
    parser.add_argument("--tgt_lang", default="en", help="target language of a translation")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML: options of text and of speech decoding, prompt_frames")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ngpu", type=Option(Count), default=0)
    parser.add_argument("--seed", type=Option(Count), default=0)
    args = parser.parse_args()
    device_for(args.ngpu)

    task = get_task(args.task)
    kind = "speech" if task.speaks else "text"
    options, stated = read_decode_config(args.config, kind, seed=args.seed, max_rows=usual_limit(args.exp, args.task))
    prompt_frames = require_prompt_frames(args.exp, stated, args.config)
    test = list_test(task, args)
    settings = {
        "task": args.task,
        "lang": args.lang,
        "tgt_lang": args.tgt_lang,
        "codec": args.codec,
        kind: vars(options),
        "prompt_frames": prompt_frames,
    } | test.settings
    outputs = ["codes.ark", "codes.scp", "wav.scp", "wav/*.wav"] if task.speaks else ["text"]
    inputs = {"manifest.jsonl": args.manifest} | {name: args.exp / name for name in ("model.safetensors", "vocab.json")}
    with stage(args.out, "decode", settings, inputs, [*outputs, "decode.json"]) as todo:
        if not todo:
            return
        codec = load_codec(args.codec)
        trained = load_model(args.exp, codec.fingerprint)
        trained.model.to(device_for(args.ngpu))
        torch.manual_seed(options.seed)
        prefixes, beginnings = prepare(trained, test, prompt_frames)
        say_unprompted(test, args)
        parts = args.out / f".parts.{settings_digest(settings | digests_of(inputs))}"
        began = time.monotonic()
        found = decode(trained, task, prefixes, options, parts)
        write_cost(args.out, began, prefixes, found)
        found |= {key: [*codes_TK.tolist(), *found[key]] for key, codes_TK in beginnings.items()}
        if task.speaks:
            write_speech(args.out, codec, found)
        else:
            write_text(args.out, trained, found)
        with atomic_write(args.out / "decode.json") as stream:
            json.dump(settings, stream, indent=1)
        for finished in args.out.glob(".parts.*"):  # those of earlier settings too
            shutil.rmtree(finished)


if __name__ == "__main__":
    run_main(main)
