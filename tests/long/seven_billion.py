"""Trains two layers of a 7B model's shape, sharded over two processes on the CPU: 14 GB, 40 minutes of a core.

OMP_NUM_THREADS=1 python -m tests.long.seven_billion --divide 2     # widths halved: 3 GB
"""

import argparse
import tempfile
from pathlib import Path

import torch

from tests.train.test_sharding import learn_seven_billion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--divide", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        learn_seven_billion(Path(name), args.divide)
        print(torch.load(Path(name) / "found.pt", weights_only=True))


if __name__ == "__main__":
    main()
