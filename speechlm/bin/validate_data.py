"""Check Kaldi data directories quickly, by tables and headers: report all problems at once, each with the command that
fixes it.

`python -m speechlm.bin.validate_data data/train data/test [--lang en] [--fix] [--drop]`

The samples of the recordings are checked later, when extract_codes reads them.
"""

import argparse

from speechlm.bin.command import run_main
from speechlm.data.kaldi import drop_incomplete, fix_spk2utt, list_sides, require_valid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="Kaldi data directories")
    parser.add_argument("--lang", help="language of files without a suffix")
    parser.add_argument("--fix", action="store_true", help="rewrite spk2utt from utt2spk first")
    parser.add_argument(
        "--drop", action="store_true", help="first drop the utterances that are not complete and valid in all files"
    )
    parser.add_argument("--no_open_audio", action="store_true", help="do not read the recordings' headers")
    args = parser.parse_args()
    mistakes = [message for data_dir in args.data if (message := _check(data_dir, args))]
    if mistakes:
        raise ValueError("\n".join(mistakes))


def _check(data_dir: str, args: argparse.Namespace) -> str:
    """Fix what was asked for, then check; return what is wrong, or ""."""
    try:
        if args.fix:
            fix_spk2utt(data_dir)
        if args.drop:
            dropped = drop_incomplete(data_dir, args.lang)
            print(f"{data_dir}: dropped {len(dropped)} utterances {' '.join(dropped)}")
        require_valid(data_dir, args.lang, not args.no_open_audio)
    except ValueError as error:
        return str(error)
    print(f"{data_dir}: valid ({', '.join(list_sides(data_dir, args.lang))})")
    return ""


if __name__ == "__main__":
    run_main(main)
