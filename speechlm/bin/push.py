"""Save a model with everything it needs, and push it to the Hugging Face hub: `speechlm push --model exp OWNER/NAME`,
or only write it to a FOLDER.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name",
        metavar="OWNER/NAME",
        nargs="?",
        help="name on the hub ($HF_ENDPOINT), created if it does not exist; the token is the one of hf auth login",
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="only write the folder that would be pushed")
    parser.add_argument("--private", action="store_true", help="a new name is visible to its owner only")
    add_model_options(parser)
    args = parser.parse_args()
    if (args.name is None) == (args.save is None):
        raise ValueError("give either OWNER/NAME to push to, or --save FOLDER.")
    lm = load(args)
    if args.save:
        print(f"{lm.save_pretrained(args.save)}: saved; SpeechLM.from_pretrained reads it")
    else:
        print(f"{lm.push_to_hub(args.name, args.private)}: pushed; SpeechLM.from_pretrained({args.name!r}) fetches it")


if __name__ == "__main__":
    run_main(main)
