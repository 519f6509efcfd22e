"""Recompute, from the saved state, the batch at which a training stopped (`bad_batch.json`): the loss and gradient norm
of each example.

Run it in the folder in which the training was started: the paths in its options are relative to that folder.
"""

import argparse
import logging
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.machine import device_for
from speechlm.data.settings import Count, Option


def main() -> None:
    logging.basicConfig(level="WARNING")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the training")
    parser.add_argument("--ngpu", type=Option(Count), default=0, help="1: on the GPU")
    options = parser.parse_args()
    device = device_for(options.ngpu)
    from speechlm.train.replay import replay

    replay(options.exp, device)


if __name__ == "__main__":
    run_main(main)
