"""Tokenise the texts of manifests once, before a training does it, or show what is stored.

    python -m speechlm.bin.tokens --llm exp/llm dump/train/manifest.jsonl           # make what is missing, count
    python -m speechlm.bin.tokens --llm exp/llm dump/train/manifest.jsonl --show 3  # ids of the first three utterances

The ids lie beside the manifest, in `manifest.jsonl.tokens.<key of the tokenizer>`.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.arrays import map_arrays
from speechlm.data.manifest import load_manifest
from speechlm.data.settings import Count, Option
from speechlm.data.tokens import tokens_path
from speechlm.tokens.text import TextTokenizer, load_text_tokenizer


def show(manifest: Path, text: TextTokenizer, number: int) -> None:
    """Print what is stored for a manifest, and for its first utterances; ValueError if it is damaged."""
    records, place = load_manifest(manifest, encoder=text), tokens_path(manifest, text.key)
    if (arrays := map_arrays(place)) is None:
        raise ValueError(
            f"{place}: is not there, or its content does not give its checksum. Delete it, and give this command again."
        )
    for name in sorted(arrays):
        if name.startswith("start."):
            sizes = arrays[name][1:] - arrays[name][:-1]
            there = sizes[sizes > 0]
            print(
                f"{place} {name.removeprefix('start.')}: {len(there)} texts, {sizes.sum()} tokens, the longest"
                f" {sizes.max()}"
            )
    for record in map(records.__getitem__, range(min(number, len(records)))):
        for lang, ids in record.ids.items():
            print(f"{record.id} {lang}: {' '.join(map(str, ids))} = {text.decode(ids.tolist())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+", help="manifest.jsonl of the sets")
    parser.add_argument("--llm", required=True, help="LLM whose tokenizer is used: folder or hub name")
    parser.add_argument("--show", type=Option(Count), default=0, help="print the ids of this many utterances of each")
    args = parser.parse_args()
    text = load_text_tokenizer(args.llm)
    for manifest in args.manifests:
        show(manifest, text, args.show)


if __name__ == "__main__":
    run_main(main)
