"""Decode test sets with a trained model: text to `text`, speech to `codes.ark/scp`, `wav/` and `wav.scp`.

Each set is decoded in one pass: when an utterance ends, the next one takes its place in the batch. Finished utterances
are kept, so an interrupted decoding resumes where it stopped.
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
        "--lang",
        nargs="+",
        required=True,
        help="source language of each set (for a task of one language: that language)",
    )
    parser.add_argument("--tgt_lang", default="en", help="target language of a translation")
    parser.add_argument("--codec", required=True)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        help="YAML files: options for decoding text and speech, and prompt_frames; later files override earlier ones",
    )
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="output folder of each set")
    parser.add_argument("--ngpu", type=Option(Count), default=0, help="number of GPUs, which share each set (0: CPU)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], help="type of the model's weights (default: bfloat16 on GPUs)"
    )
    parser.add_argument(
        "--compile",
        choices=["auto", "true", "false"],
        default="auto",
        help="compile the LLM's layers, which takes half a minute (auto: on GPUs, for 500 utterances or more)",
    )
    parser.add_argument("--seed", type=Option(Count), default=0)
    args = parser.parse_args()
    if not len(args.manifest) == len(args.lang) == len(args.out):
        counts = f"{len(args.manifest)} --manifest, {len(args.lang)} --lang and {len(args.out)} --out"
        raise ValueError(
            f"decode: found {counts}. Expected as many of each: give the languages and folders in the order of the"
            " sets."
        )
    args.devices, args.dtype = devices_for(args.ngpu), args.dtype or ("bfloat16" if args.ngpu else "float32")
    from speechlm.model.decoding import decode_sets

    decode_sets(args)


if __name__ == "__main__":
    run_main(main)
