"""Turn a real corpus into data directories: `python -m speechlm.bin.prepare_corpus librispeech --librispeech
/corpora/LibriSpeech ...`.

The corpora are the modules of speechlm/data/corpora that have `Options` and `prepare`; every field of Options is a
required option.
"""

import argparse
import importlib
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from speechlm.bin.command import run_main
from speechlm.data import corpora


def find_corpus(name: str) -> ModuleType:
    """Return the module of a corpus; ValueError lists those there are."""
    known = sorted(
        path.stem
        for path in Path(corpora.__file__).parent.glob("*.py")
        if "class Options" in path.read_text(encoding="utf-8")
    )
    if name not in known:
        raise ValueError(f"corpus {name!r} is unknown. Expected one of {', '.join(known)}.")
    return importlib.import_module(f"{corpora.__name__}.{name}")


def parse(options: type, arguments: list[str], description: str | None) -> Any:
    """Return `options` (a dataclass) filled from the command line; its fields are texts, paths, numbers, true
    or false.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(options):
        allowed = {"choices": ["true", "false"]} if field.type is bool else {"type": field.type}
        parser.add_argument(f"--{field.name}", required=True, **allowed)
    given = vars(parser.parse_args(arguments))
    return options(
        **{
            field.name: given[field.name] == "true" if field.type is bool else given[field.name]
            for field in fields(options)
        }
    )


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__)
        return
    corpus = find_corpus(name)
    corpus.prepare(parse(corpus.Options, arguments, corpus.__doc__))


if __name__ == "__main__":
    run_main(main)
