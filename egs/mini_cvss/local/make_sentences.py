"""Synthesise the sentences of a text file, one per line, with the voices in turn: open text to train codecs and judges
on.
"""

import argparse
from pathlib import Path

from make_corpus import HERE, cast, write_spoken

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.settings import Count, Option, Positive
from speechlm.data.voices import read_cast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Kaldi directory to write")
    parser.add_argument("--text", type=Path, default=HERE / "sentences.txt")
    parser.add_argument("--lang", default="en", help="language of the sentences")
    parser.add_argument("--voices", type=Path, default=HERE / "voices_pico_many.yaml")
    parser.add_argument("--group", default="train", choices=["train", "unheard"], help="group of voices that speak")
    parser.add_argument("--skip", type=Option(Count), default=0, help="skip this many lines first")
    parser.add_argument("--lines", type=Option(Positive), default=12000, help="read at most this many lines")
    parser.add_argument("--nj", type=Option(Positive), default=2)
    args = parser.parse_args()
    voices = getattr(read_cast(args.voices), args.group)
    settings = {k: str(v) for k, v in vars(args).items() if k not in ("nj", "text", "voices")} | {
        "spoken_by": voices[0].by
    }
    outputs = [f"text.{args.lang}", f"wav.scp.{args.lang}", "utt2spk", "spk2utt", f"wav.{args.lang}/*.wav"]
    with stage(args.out, "sentences", settings, [args.text, args.voices], outputs) as todo:
        if todo:
            lines = read_lines(args.text)[args.skip : args.skip + args.lines]
            write_spoken(
                args.out, [args.lang], cast(args.out.name, [{args.lang: line} for line in lines], voices), args.nj
            )


def read_lines(path: Path) -> list[str]:
    """Return the lines with words; ValueError if there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a text file with one sentence per line") from None
    if not lines:
        raise ValueError(f"{path}: no sentence in it. Expected one per line")
    return lines


if __name__ == "__main__":
    run_main(main)
