"""What the commands that use a model have in common: its options, files in batches, progress, one line for each bad
file.
"""

import argparse
import importlib.util
import ipaddress
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speechlm.api import SpeechLM
from speechlm.data.audio import MAX_SEC
from speechlm.data.settings import Above0, Option

LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]", "::1"]  # that a request to a local server may name
BATCH = 16  # files that are read and decoded together


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model, and where it runs."""
    parser.add_argument(
        "--model",
        default="exp",
        help=(
            "experiment (default: exp), trained or saved model's folder, packed file, or hub name OWNER/NAME[@REVISION]"
        ),
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)")
    parser.add_argument(
        "--compile", action="store_true", help="decode faster on a GPU, after half a minute of compiling"
    )
    parser.add_argument(
        "--max_sec", type=float, default=MAX_SEC, help="longest recording, in seconds (default: %(default)g)"
    )
    piece = "longest piece of a recording that is cut at pauses, in seconds (default: according to the training)"
    parser.add_argument("--piece_sec", type=Option(Above0), help=piece)


def require_extra(extra: str, *modules: str) -> None:
    """Raise ValueError if a package of an extra is missing, saying how to install it."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"{', '.join(missing)}: not installed. They come with the extra `{extra}`: pip install 'speechlm[{extra}]'"
        )


def is_local(host: str) -> bool:
    """Is this an address of this machine alone?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(args: argparse.Namespace) -> SpeechLM:
    """Return the model that the options name."""
    lm = SpeechLM.from_pretrained(args.model, args.device, args.dtype)
    lm.max_sec, lm.piece_sec = args.max_sec, args.piece_sec
    if args.compile:
        lm.compile()
    return lm


def run_all(lm: SpeechLM, inputs: list[Any], prepare: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Yield (input, result) in order, decoded in batches. A bad input is one line on stderr; if there were any, the
    command fails at the end.
    """
    from tqdm import tqdm

    bad = 0
    with tqdm(total=len(inputs), unit="file", disable=None if len(inputs) > 1 else True) as bar:
        for start in range(0, len(inputs), BATCH):
            jobs = []
            for given in inputs[start : start + BATCH]:
                try:
                    jobs.append((given, prepare(given)))
                except ValueError as error:
                    bad += 1
                    bar.write(f"error: {error}", file=sys.stderr)
            yield from zip([given for given, _ in jobs], lm.run([job for _, job in jobs]))
            bar.update(len(inputs[start : start + BATCH]))
    if bad:
        raise ValueError(f"{bad} of {len(inputs)} inputs could not be used (see above)")


def out_paths(files: list[Path], out: Path | None, kind: str) -> dict[Path, Path]:
    """Return where the speech made of each file goes: `out` itself, or into that folder under the file's name; never
    over an input.
    """
    if out is not None and out.suffix and len(files) == 1:
        paths = {files[0]: out}
    else:
        paths = {file: (out or Path(".")) / f"{file.stem}.{kind}" for file in files}
    if len(set(paths.values())) < len(paths):
        raise ValueError(
            "several files have the same name, and so would their results. Process them separately, each with its"
            " own --out FOLDER."
        )
    if same := [str(file) for file, path in paths.items() if path.exists() and file.exists() and path.samefile(file)]:
        raise ValueError(f"{same[0]}: would be overwritten. Give another --out.")
    return paths
