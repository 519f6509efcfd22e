"""Translate recordings: to text, one line for each (its name, a tab, the translation); or, with --to speech, to sound
files.
"""

import argparse
from pathlib import Path

from speechlm.api.results import FORMATS
from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load, out_paths, run_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="recordings that libsndfile reads (wav, flac, mp3, ogg, ...), at any sample rate",
    )
    parser.add_argument("--src", help="language spoken (needed if the model knows several)")
    parser.add_argument("--tgt", help="language to translate into (needed if the model knows several)")
    parser.add_argument("--to", choices=("text", "speech"), default="text")
    parser.add_argument(
        "--out", type=Path, help="with --to speech: a folder, or for one FILE the file to write (default: translated)"
    )
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="wav", help="format of the files in a folder (default: wav)"
    )
    add_model_options(parser)
    args = parser.parse_args()
    task = "s2tt" if args.to == "text" else "s2st"
    paths = out_paths(args.files, args.out or Path("translated"), args.format) if args.to == "speech" else {}
    lm = load(args)
    lm.languages(task, args.src, args.tgt)
    for file, result in run_all(lm, args.files, lambda file: lm.prepare(task, file, args.src, args.tgt)):
        print(f"{file}\t{result.save(paths[file]) if paths else result}", flush=True)


if __name__ == "__main__":
    run_main(main)
