"""Write spoken English word lists in random order, to train the judge on: data of `make_corpus.py` has few sentences
and few words, and a recogniser trained on it alone would complete them instead of reporting what it hears.

One to seven words per line, half of them from the grammar, half from `words.txt`, spoken by all voices of
voices_many.yaml.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from make_corpus import HERE, cast, write_spoken

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.grammar import Grammar
from speechlm.data.settings import Count, Option, Positive
from speechlm.data.voices import AnyVoice, read_cast

Draw = Callable[[int, random.Random], list[str]]  # how many lists, and the chance they are drawn by


def main() -> None:
    args = list_parser(__doc__, lines=2400).parse_args()
    files = [HERE / "grammar.yaml", HERE / "voices_many.yaml", HERE / "words.txt"]
    write_lists(args, draw, read_cast(files[1]).train, files)


def list_parser(description: str, lines: int) -> argparse.ArgumentParser:
    """Return a parser with the options of a program that writes spoken word lists."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="Kaldi directory to write")
    parser.add_argument("--lines", type=Option(Positive), default=lines)
    parser.add_argument("--seed", type=Option(Count), default=1)
    parser.add_argument("--nj", type=Option(Positive), default=2)
    return parser


def write_lists(args: argparse.Namespace, draw: Draw, voices: list[AnyVoice], files: list[Path], **told: str) -> None:
    """Write the lists that `draw` makes, unless they are there: made from `files` and with the settings `told`."""
    outputs = ["text.en", "wav.scp.en", "utt2spk", "spk2utt", "wav.en/*.wav"]
    with stage(args.out, "words", {"lines": args.lines, "seed": args.seed} | told, files, outputs) as todo:
        if todo:
            lines = [{"en": line} for line in draw(args.lines, random.Random(args.seed))]
            write_spoken(args.out, ["en"], cast("words", lines, voices), args.nj)


def draw(count: int, rng: random.Random) -> list[str]:
    """Return `count` random word lists."""
    known = {
        word
        for pair in Grammar(HERE / "grammar.yaml").sample_distinct(2000, random.Random(0))
        for word in pair["en"].split()
    }
    other = (HERE / "words.txt").read_text(encoding="utf-8").split()
    groups = [sorted(known), other]
    return [" ".join(rng.choice(rng.choice(groups)) for _ in range(rng.randint(1, 7))) for _ in range(count)]


if __name__ == "__main__":
    run_main(main)
