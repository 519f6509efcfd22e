"""Train a codec: `python -m speechlm.bin.train_codec --config conf/codec.yaml --data data/train --out exp/codec`.

If it is interrupted, run the same command again: kind "vocos" resumes from its last checkpoint. The result is a codec
folder: `speechlm.codecs.load_codec("exp/codec")`.
"""

import argparse
import ctypes
import ctypes.util
from pathlib import Path

import torch

from speechlm.bin.command import run_main
from speechlm.codecs.trainers import train_codec
from speechlm.data.machine import device_for
from speechlm.data.settings import Count, Option, Positive

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config",
        required=True,
        type=Path,
        help="YAML training config; model.kind chooses the kind of codec (speechlm/codecs/trainers.py)",
    )
    parser.add_argument(
        "--data", required=True, nargs="+", help="Kaldi directories; each gets the same share of the clips"
    )
    parser.add_argument("--dev", nargs="*", default=[], help="Kaldi directories for the logged dev_mel")
    parser.add_argument("--out", required=True, type=Path, help="codec folder")
    parser.add_argument(
        "--threads",
        type=Option(Positive),
        default=2,
        help="number of CPU threads, which affects the last digits of the result",
    )
    parser.add_argument("--ngpu", type=Option(Count), default=0, help="1: train on a GPU")
    args = parser.parse_args()
    device = device_for(args.ngpu)
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    train_codec(args.config, args.data, args.dev, args.out, device)


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks instead of returning them to the system: steps take 0.6 of the time."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


if __name__ == "__main__":
    run_main(main)
