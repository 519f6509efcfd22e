"""Write the manifest of one set: `python -m speechlm.bin.manifest --data data/train --codes dump/codec/train`.

It does not contain the utterances that extract_codes left out (`left_out.tsv`, with --skip_bad).
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.items import LEFT_OUT, ids_of, read_items
from speechlm.data.manifest import CodesDigest, build_manifest, load_manifest, write_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--codes", required=True, help="folder with codes.<lang>.scp; the manifest is written there")
    parser.add_argument("--lang", help="language of files without a suffix")
    args = parser.parse_args()
    path = Path(args.codes) / "manifest.jsonl"
    digest = CodesDigest()
    write_manifest(path, build_manifest(args.data, args.codes, args.lang, digest), digest)
    records = load_manifest(path)
    left_out = len(ids_of(read_items(path.with_name(LEFT_OUT))))
    note = f", {left_out} left out (see {path.with_name(LEFT_OUT)})" if left_out else ""
    print(f"{path}: {len(records)} utterances, {records.frames()} code frames{note}")


if __name__ == "__main__":
    run_main(main)
