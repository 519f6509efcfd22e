"""Check a model before a long run: is the initial loss near ln V, and can the model learn one batch by heart and
reproduce it exactly?

Takes the options of bin/train, and --training CONFIG [OVERLAY...] for each training that will follow with the same
options: which examples are longer than its rows is reported before anything is trained, and more of them than its
max_left_out is an error. A model that fails here would waste the training: a missing projection, a label shift or a
decoding that differs from training shows up in seconds.
"""

import logging
import sys

from speechlm.bin.command import run_main
from speechlm.espnet.help import answer_help, help_parser


def main() -> None:
    logging.basicConfig(level="WARNING")
    parser = help_parser(__doc__)
    parser.add_argument(
        "--training",
        nargs="+",
        action="append",
        metavar=("CONFIG", "OVERLAY"),
        help="a training that follows: its --config, then its overlays; its rows must be long enough (may be given"
        " several times)",
    )
    answer_help(parser, sys.argv[1:])
    from speechlm.espnet.preflight import run_preflight  # ESPnet, which takes seconds

    run_preflight(sys.argv[1:])


if __name__ == "__main__":
    run_main(main)
