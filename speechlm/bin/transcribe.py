"""Transcribe recordings: one line for each, with its name and the text, separated by a tab."""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load, run_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="recordings that libsndfile reads (wav, flac, mp3, ogg, ...), at any sample rate",
    )
    parser.add_argument("--lang", help="language of the recordings (needed if the model knows several)")
    add_model_options(parser)
    args = parser.parse_args()
    lm = load(args)
    lm.languages("asr", args.lang, args.lang)
    for file, text in run_all(lm, args.files, lambda file: lm.prepare("asr", file, args.lang, args.lang)):
        print(f"{file}\t{text}", flush=True)


if __name__ == "__main__":
    run_main(main)
