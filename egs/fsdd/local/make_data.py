"""Free Spoken Digit Dataset -> Kaldi directories.

A recording is `{digit}_{speaker}_{index}.wav`. The corpus's own rule makes index 0-4 the test set; of the rest,
5-9 is our development set and 10-49 the training set. Ids begin with the speaker: `7_george_12` -> `george-7-12`.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.archives import unpack
from speechlm.data.kaldi import write_data_dir

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SETS = {"test": range(0, 5), "dev": range(5, 10), "train": range(10, 50)}
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fsdd", required=True, help="folder with recordings/ or recordings.tar.gz")
    parser.add_argument("--unpack", required=True, help="where the archive is unpacked, if there is only an archive")
    parser.add_argument("--out", default="data", help="where train, dev and test go")
    args = parser.parse_args()
    recordings = find_recordings(Path(args.fsdd), Path(args.unpack))
    for name, tables in make_tables(recordings).items():
        write_data_dir(Path(args.out) / name, tables)
        print(f"{args.out}/{name}: {len(tables['text'])} utterances, {len(set(tables['utt2spk'].values()))} speakers")


def find_recordings(fsdd: Path, unpack_dir: Path) -> Path:
    """Return the folder of wav files, unpacking recordings.tar.gz if that is what there is."""
    if (fsdd / "recordings").is_dir():
        return fsdd / "recordings"
    if not (fsdd / "recordings.tar.gz").is_file():
        raise ValueError(
            f"{fsdd}: found neither recordings/ nor recordings.tar.gz. Without --fsdd, the corpus is cloned."
        )
    unpacked = unpack(fsdd / "recordings.tar.gz", unpack_dir)
    return next(unpacked.rglob("recordings"), unpacked)


def make_tables(recordings: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return {set: {"wav.scp" | "text" | "utt2spk": {id: value}}}; raise ValueError if a recording is missing."""
    tables = {name: {"wav.scp": {}, "text": {}, "utt2spk": {}} for name in SETS}
    indices = defaultdict(set)
    for path in recordings.glob("*.wav"):
        if not (match := NAME.fullmatch(path.name)):
            raise ValueError(f"{path}: expected a name like 7_george_12.wav. Remove the file.")
        digit, speaker, index = match.groups()
        indices[speaker, digit].add(int(index))
        entry = tables[set_of(int(index))]
        key = f"{speaker}-{digit}-{int(index):02d}"
        entry["wav.scp"][key], entry["text"][key], entry["utt2spk"][key] = (
            str(path.resolve()),
            WORDS[int(digit)],
            speaker,
        )
    expected = [(s, d, i) for s in sorted({s for s, _ in indices}) for d in "0123456789" for i in range(50)]
    missing = [f"{d}_{s}_{i}.wav" for s, d, i in expected if i not in indices[s, d]]
    if missing or not indices:
        found = f"{len(missing) or 'all'} recordings missing (first: {', '.join(missing[:5])})"
        raise ValueError(f"{recordings}: {found}. Copy or clone the corpus again.")
    return tables


def set_of(index: int) -> str:
    """Return the set that a recording's index puts it in."""
    for name, indices in SETS.items():
        if index in indices:
            return name
    raise ValueError(
        f"recording index {index}: expected 0-49. This copy is newer than the recipe; remove the recordings beyond 49."
    )


if __name__ == "__main__":
    run_main(main)
