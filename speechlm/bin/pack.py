"""Write a model with everything it needs to one file, in ESPnet's format for packed models: `speechlm pack --model exp
model.zip`.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", metavar="FILE.zip", type=Path)
    add_model_options(parser)
    args = parser.parse_args()
    print(f"{load(args).pack(args.file)}: packed; SpeechLM.from_pretrained and espnet_model_zoo read it")


if __name__ == "__main__":
    run_main(main)
