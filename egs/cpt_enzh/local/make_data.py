"""Text files -> text-only data directories; see speechlm/data/corpora/text.py and local/data.sh."""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.corpora.text import write_general, write_lambada, write_translations


def files_of(option: str, value: str) -> dict[str, list[Path]]:
    """Return {language: files} of "en:a.txt,zh:b.txt"."""
    found: dict[str, list[Path]] = {}
    for part in filter(None, value.split(",")):
        lang, _, path = part.partition(":")
        if lang not in ("en", "zh") or not path:
            raise ValueError(f"--{option} {value}: found {part!r}; expected en:FILE or zh:FILE, separated by commas")
        found.setdefault(lang, []).append(Path(path))
    if set(found) != {"en", "zh"}:
        raise ValueError(
            f"--{option} {value}: expected files of both languages, en:FILE,zh:FILE. ./run.sh --help: --local_data_opts"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("general_text", "mt_text", "lambada"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--datadir", type=Path, required=True)
    args = parser.parse_args()
    write_general(files_of("general_text", args.general_text), args.datadir)
    write_translations({lang: paths[0] for lang, paths in files_of("mt_text", args.mt_text).items()}, args.datadir)
    write_lambada(Path(args.lambada), args.datadir)


if __name__ == "__main__":
    run_main(main)
