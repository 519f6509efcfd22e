"""CVSS -> Kaldi directories; see speechlm/data/corpora/cvss.py and local/data.sh."""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.corpora.cvss import Options, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("src_lang", "version", "common_voice", "cvss"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("downloads", "datadir"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--partial", choices=["true", "false"], required=True)
    args = vars(parser.parse_args())
    prepare(Options(**args | {"partial": args["partial"] == "true"}))


if __name__ == "__main__":
    run_main(main)
