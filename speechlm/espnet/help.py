"""`--help` and the shell's completion of bin/train and bin/preflight, without ESPnet, which takes seconds to import."""

import argparse
import os

from speechlm.espnet.options import add_arguments
from speechlm.espnet.working import SHOWN


class _Format(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as written; each option with its default, unless there is none or the help text gives it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        said = action.default in (None, [], {}) or "(default" in action.help
        return action.help if said else super()._get_help_string(action)


def help_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser for `--help`: it knows our options, and the names of those of ESPnet's that work."""
    parser = argparse.ArgumentParser(description=description, formatter_class=_Format)
    parser.add_argument("--config", help="YAML file of settings: these options and their values")
    add_arguments(parser)
    run = parser.add_argument_group("Run (ESPnet's options)")
    for name, (default, says) in SHOWN.items():
        run.add_argument(f"--{name}", default=default, help=says)
    return parser


def answer_help(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """End this process with the help, or with what the shell asks for, if that is all that is wanted."""
    if {"-h", "--help"} & set(argv):
        parser.parse_args(["--help"])
    if "_ARGCOMPLETE" in os.environ:
        parser.parse_args()  # `speechlm.cli` has put the completion in its place
