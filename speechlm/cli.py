"""The command `speechlm`: every program of `speechlm.bin` by its name. `speechlm NAME --help` lists a program's
options.
"""

import argparse
import ast
import difflib
import importlib
import os
import sys
from pathlib import Path

BIN = Path(__file__).parent / "bin"
# Uses of a model; the other programs are stages of a recipe.
USES = ("transcribe", "translate", "synthesise", "demo", "serve", "push", "pack", "bench")


def programs() -> dict[str, str]:
    """Return {name: what it does, in a line} of all programs, without importing them."""
    found = {}
    for path in sorted(BIN.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    return {name: found[name] for name in (*USES, *found) if name in found}


def usage(found: dict[str, str]) -> str:
    """Return what `speechlm --help` prints."""
    lines = ["usage: speechlm COMMAND [OPTIONS]    (speechlm COMMAND --help says more)", "", "Use a model:"]
    for name, description in found.items():
        if name == next((other for other in found if other not in USES), None):
            lines += ["", "Stages of a recipe (egs/NAME/run.sh calls them):"]
        lines.append(f"  {name:<16} {_shorten(description)}")
    return "\n".join(lines)


def _shorten(description: str) -> str:
    first = description.split(": ")[0].split(". ")[0].rstrip(".")
    return first if len(first) <= 100 else f"{first[:97]}..."


def complete() -> None:
    """Tell the shell, which asks through the environment (argcomplete), how the line may go on: by a program, or an
    option.
    """
    import argcomplete

    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = f"{line}|".split()  # the last one is still being written
    if len(words) < 3 or words[1] not in programs():
        parser = argparse.ArgumentParser()
        parser.add_argument("command", choices=list(programs()))
        argcomplete.autocomplete(parser)
    os.environ["_ARGCOMPLETE"] = "2"  # the line begins at its second word
    argparse.ArgumentParser.parse_args = lambda parser, *_: argcomplete.autocomplete(parser)  # which ends this process
    importlib.import_module(f"speechlm.bin.{words[1]}").main()


def main() -> None:
    """Run the program that the first argument names, with the others."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage(programs()))
        return
    if name not in (found := programs()):
        near = difflib.get_close_matches(name, found, n=1)
        sys.exit(
            f"error: speechlm {name}: no such command.{f' Did you mean {near[0]}?' if near else ''} speechlm --help"
            " lists them."
        )
    sys.argv = [f"speechlm {name}", *arguments]
    from speechlm.bin.command import run_main

    try:
        run_main(importlib.import_module(f"speechlm.bin.{name}").main)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
