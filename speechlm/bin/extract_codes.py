"""Check sets and encode their recordings.

`python -m speechlm.bin.extract_codes --data data --train_sets train --test_sets dev test --dump dump/codec_16k --codec
codec_16k`

Writes `<dump>/<set>/codes.<lang>.scp` and its archives. After an interruption, it continues with the shards that are
missing. If a recording or text is bad, it fails at the end with a report of all bad items
(`<dump>/<set>/bad_items.tsv`). With `--skip_bad N`, up to N bad items are left out of the training sets
(`left_out.tsv`); a test set is never shortened. Recordings that a corpus published cut off or silent can be kept in
test sets as they are (`--keep_published truncated silence`), and are listed in `warnings.tsv`.

With `--ngpu N`, N processes encode on one GPU each, and --nj threads in all load and resample recordings for them.
Recordings of equal length are encoded together; the codes are bit for bit the same as when each is encoded alone on the
same device.

On many machines: `--shard 1/10` to `--shard 10/10`, each with its own --nj, then the same command without --shard. The
archives are the same.
"""

import argparse
from pathlib import Path
from typing import Annotated

from speechlm.bin.command import run_main
from speechlm.codecs.extract import Options, extract_codes
from speechlm.data.audio import KEEPABLE, MAX_SEC
from speechlm.data.settings import Count, Option, Positive, Range


def read_part(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n"."""
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected I/N with I from 1 to N, such as 3/10")
    return int(first), int(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of the Kaldi data directories")
    parser.add_argument("--train_sets", nargs="*", default=[], help="sets that --skip_bad may shorten")
    parser.add_argument(
        "--test_sets", nargs="*", default=[], help="sets that are never shortened: development and test"
    )
    parser.add_argument("--dump", required=True, type=Path, help="folder of the codes, with one folder for each set")
    parser.add_argument(
        "--codec",
        default="codec_natural:4",
        help="codec_natural:4, encodec_24khz:6, mimi:8, a folder, ...: see README, Codecs",
    )
    parser.add_argument("--lang", help="language of files without a suffix")
    parser.add_argument("--nj", type=Option(Positive), default=2, help="processes, or with --ngpu loader threads")
    parser.add_argument(
        "--ngpu", type=Option(Count), default=0, help="number of GPUs to encode on, with one process each (0: CPU)"
    )
    parser.add_argument(
        "--skip_bad",
        type=Option(Count),
        default=0,
        help="at most this many bad items may be left out of all training sets together",
    )
    parser.add_argument(
        "--max_sec",
        type=Option(Annotated[float, Range(1)]),
        default=MAX_SEC,
        help="longest utterance, in seconds; bounds the memory of a process",
    )
    kept = "faults that recordings of test sets are allowed to have"
    parser.add_argument("--keep_published", nargs="*", default=[], choices=sorted(KEEPABLE), help=kept)
    parser.add_argument(
        "--shard",
        type=read_part,
        default=(1, 1),
        help="I/N: encode only every N-th shard, from the I-th on, and write no scp files",
    )
    args = parser.parse_args()
    if not args.train_sets + args.test_sets:
        raise ValueError("no sets. Name some: --train_sets train --test_sets dev test")
    train, test = ([args.data / name for name in names] for names in (args.train_sets, args.test_sets))
    options = Options(
        args.nj, args.ngpu, args.skip_bad, args.max_sec, args.lang, args.shard, tuple(args.keep_published)
    )
    extract_codes(train, test, args.dump, args.codec, options)


if __name__ == "__main__":
    run_main(main)
