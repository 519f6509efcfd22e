"""Code the recordings of one set: `python -m speechlm.bin.extract_codes --data data/train --out dump/codec_16k/train --codec codec_16k`.

Writes `codes.<lang>.scp` and its archives. Interrupted, it goes on with the shards that are missing.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.codecs.extract import CodecSpec, extract_codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--out", required=True, type=Path, help="folder of the codes")
    parser.add_argument("--codec", default="codec_16k", help="codec_16k, encodec_24khz[:kbps], or a folder of train_codec")
    parser.add_argument("--codec_path", help="a downloaded checkpoint of encodec_24khz")
    parser.add_argument("--lang", help="language of files without a suffix")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    args = parser.parse_args()
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: expected at least 1")
    extract_codes(args.data, args.out, CodecSpec(args.codec, args.codec_path), args.nj, args.lang)


if __name__ == "__main__":
    run_main(main)
