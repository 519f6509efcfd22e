"""Decode test sets with a trained model: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Each set is one pass, in which an utterance that waits takes the place of one that has ended. What has ended is kept, so an interrupted decoding
goes on where it was.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
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
from speechlm.data.files import atomic_write, settings_digest, stage
from speechlm.data.machine import code_version, describe_machine
from speechlm.data.manifest import load_manifest
from speechlm.data.parts import as_they_end
from speechlm.data.settings import read_yaml
from speechlm.model.folder import TrainedModel, load_model
from speechlm.model.generate import DecodeOptions, Generated, generate
from speechlm.tasks import Task, get_task
from speechlm.tasks.examples import ExampleBuilder, PromptIndex, keep_listed, list_items, stable_hash


def decode(
    trained: TrainedModel, task: Task, prefixes: dict[str, np.ndarray], options: DecodeOptions, parts: Path
) -> dict[str, Generated]:
    """Decode all prefixes in one pass; what has ended is kept in `parts`. A sample depends on the seed and its id alone."""

    def work(keys: list[str]) -> Iterator[tuple[str, dict]]:
        numbers = [stable_hash(key) for key in keys]
        for place, generated in generate(trained.model, task.speaks, [prefixes[key] for key in keys], options, numbers):
            yield keys[place], {"output": np.asarray(generated.output).tolist(), "ended": generated.ended}

    found = as_they_end(sorted(prefixes), work, parts, f"{task.name}: decoded", options.batch_size)
    return {key: Generated(**found[key]) for key in sorted(found)}


def write_cost(out: Path, began: float, found: dict[str, Generated]) -> None:
    """Record what decoding took, in `cost.json`; of an interrupted decoding, what was left took."""
    rows = sum(len(generated.output) for generated in found.values())
    cost = {"seconds": round(time.monotonic() - began, 1), "utterances": len(found), "rows": rows}
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
    silence = np.zeros(codec.sample_rate_hz // 10, dtype=np.float32)
    wavs = decode_all(codec, {key: codes_TK for key, codes_TK in codes.items() if len(codes_TK)})
    for key in codes:
        save_wav(out / "wav" / f"{key}.wav", wavs.get(key, silence), codec.sample_rate_hz)
    with atomic_write(out / "wav.scp") as stream:
        stream.writelines(f"{key} {out}/wav/{key}.wav\n" for key in codes)


@dataclass
class Decoder:
    """Decodes test sets with one model and task; the model is loaded when there is something to do."""

    args: argparse.Namespace

    def __post_init__(self):
        self.task, self.config = get_task(self.args.task), read_yaml(self.args.config)
        self.kind = "speech" if self.task.speaks else "text"
        self.options = DecodeOptions.from_dict({"seed": self.args.seed} | self.config[self.kind], f"{self.args.config}: {self.kind}")

    @cached_property
    def codec(self) -> Codec:
        return load_codec(self.args.codec)

    @cached_property
    def trained(self) -> TrainedModel:
        trained = load_model(self.args.exp, self.codec.fingerprint)
        trained.model.to(self.args.device).cast(getattr(torch, self.args.dtype))
        return trained

    def settings(self, lang: str) -> dict:
        """Return what the outputs depend on, besides the model and the data."""
        args, prompt_frames = self.args, self.config["prompt_frames"]
        settings = {"task": args.task, "lang": lang, "tgt_lang": args.tgt_lang, "codec": args.codec, self.kind: vars(self.options)}
        return settings | {"prompt_frames": prompt_frames} | ({} if args.dtype == "float32" else {"dtype": args.dtype})

    def run(self, manifest: Path, lang: str, out: Path) -> None:
        """Decode one set in one language to a folder, unless that is done."""
        settings, weights = self.settings(lang), self.args.exp / "model.safetensors"
        outputs = ["codes.ark", "codes.scp", "wav.scp", "wav/*.wav"] if self.task.speaks else ["text"]
        with stage(out, "decode", settings, [manifest, weights], [*outputs, "decode.json"]) as todo:
            if not todo:
                return
            prefixes, beginnings = self.prepare(manifest, lang)
            stat = weights.stat()
            parts = out / f".parts.{settings_digest(settings | {'weights': [stat.st_mtime_ns, stat.st_size]})}"
            began = time.monotonic()
            found = decode(self.trained, self.task, prefixes, self.options, parts)
            write_cost(out, began, found)
            outputs = {key: [*beginnings.get(key, []), *generated.output] for key, generated in found.items()}
            if self.task.speaks:
                write_speech(out, self.codec, outputs)
            else:
                write_text(out, self.trained, outputs)
            with atomic_write(out / "decode.json") as stream:
                json.dump(settings, stream, indent=1)
            for finished in out.glob(".parts.*"):  # those of earlier settings too
                shutil.rmtree(finished)

    def prepare(self, manifest: Path, lang: str) -> tuple[dict[str, np.ndarray], dict[str, list]]:
        """Return {utterance id: prefix ids_TK}, and {id: codes_TK} of the beginnings that are given, not decoded.

        It is the whole test set, or what the set lists to be synthesised. ValueError if an utterance lacks a part.
        """
        task, records = self.task, load_manifest(manifest)
        items = list_items(task, records, [(lang, self.args.tgt_lang if task.languages == "pair" else lang)])
        lacking = sorted({r.id for r in records} - {item.record.id for item in items})
        if lacking:
            raise ValueError(
                f"{manifest}: {len(lacking)} of {len(records)} utterances lack a part of {task.name} ({lang}): {', '.join(lacking[:5])}. "
                "A test set never shrinks silently: complete the data, or name another --lang."
            )
        prompts, builder = PromptIndex(records), ExampleBuilder(self.trained.vocab, self.trained.text, self.config["prompt_frames"])
        items = keep_listed(items)
        beginnings = {item.record.id: codes_TK.tolist() for item in items if (codes_TK := builder.beginning(item)) is not None}
        return {item.record.id: builder.prefix(item, prompts.for_item(item, 0)) for item in items}, beginnings


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
    parser.add_argument("--ngpu", type=int, default=0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the model (default: bfloat16 on GPUs)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not len(args.manifest) == len(args.lang) == len(args.out):
        counts = f"{len(args.manifest)} --manifest, {len(args.lang)} --lang and {len(args.out)} --out"
        raise ValueError(f"decode: found {counts}. Expected as many of each: one set, its language and its folder after the other.")
    args.device, args.dtype = "cuda" if args.ngpu else "cpu", args.dtype or ("bfloat16" if args.ngpu else "float32")
    decoder = Decoder(args)
    for manifest, lang, out in zip(args.manifest, args.lang, args.out):
        decoder.run(manifest, lang, out)


if __name__ == "__main__":
    run_main(main)
