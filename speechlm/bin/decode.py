"""Decode test sets with a trained model: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Each set is one pass, in which an utterance that waits takes the place of one that has ended. What has ended is kept,
so an interrupted decoding goes on where it was.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.machine import devices_for
from speechlm.data.settings import Count, Option


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--task", required=True)
    parser.add_argument("--manifest", type=Path, nargs="+", required=True, help="test sets")
    parser.add_argument(
        "--lang", nargs="+", required=True, help="of each set: the source language (of a task of one language: it)"
    )
    parser.add_argument("--tgt_lang", default="en", help="target language of a translation")
    parser.add_argument("--codec", required=True)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        help="YAML: options of text and of speech decoding, prompt_frames; later files over earlier ones",
    )
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="of each set: the folder for its outputs")
    parser.add_argument("--ngpu", type=Option(Count), default=0, help="GPUs, which share each set (0: the CPU)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the model (default: bfloat16 on GPUs)")
    parser.add_argument(
        "--compile",
        choices=["auto", "true", "false"],
        default="auto",
        help="the LLM's layers (auto: on GPUs, for 500 utterances or more: it takes half a minute)",
    )
    parser.add_argument("--seed", type=Option(Count), default=0)
    args = parser.parse_args()
    if not len(args.manifest) == len(args.lang) == len(args.out):
        counts = f"{len(args.manifest)} --manifest, {len(args.lang)} --lang and {len(args.out)} --out"
        raise ValueError(
            f"decode: found {counts}. Expected as many of each: one set, its language and its folder after the other."
        )
    args.devices, args.dtype = devices_for(args.ngpu), args.dtype or ("bfloat16" if args.ngpu else "float32")
    from speechlm.model.decoding import decode_sets

    decode_sets(args)


if __name__ == "__main__":
    run_main(main)
