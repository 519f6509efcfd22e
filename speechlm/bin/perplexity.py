"""Text perplexity of a trained model on held-out text, per language and over all: rows as bin/score writes them."""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.manifest import load_manifest
from speechlm.metrics.rows import Row, write_rows
from speechlm.model.folder import load_model
from speechlm.model.perplexity import text_perplexity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--manifest", type=Path, required=True, help="held-out text")
    parser.add_argument("--model", default=None, help="name in the table (default: the folder's)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    name = args.model or args.exp.name
    inputs = [args.manifest, args.exp / "model.safetensors", args.exp / "vocab.json"]
    with stage(args.out.parent, args.out.stem, {"model": name}, inputs, [args.out.name]) as todo:
        if todo:
            write_rows(args.out, score(args.exp, args.manifest, name))


def score(exp: Path, manifest: Path, name: str) -> list[Row]:
    """Return rows for each language and for all sentences together, with the codes masked out and not."""
    trained = load_model(exp)
    texts: dict[str, list[str]] = {}
    for record in load_manifest(manifest):
        for lang, text in record.text.items():
            texts.setdefault(lang, []).append(text)
    groups = texts | ({"+".join(texts): [t for group in texts.values() for t in group]} if len(texts) > 1 else {})
    rows = []
    for lang, sentences in groups.items():
        for masked in (True, False):
            value = text_perplexity(trained.model, trained.text, sentences, masked)
            signature = (
                f"per token incl. eos|vocabulary:{'text' if masked else 'text+special+codes'}|tokenizer:{trained.vocab.text_fingerprint}"
            )
            metric, test_set = "ppl" if masked else "ppl_unmasked", f"{manifest.parent.name}.{lang}"
            rows.append(Row(name, "lm", test_set, metric, value, len(sentences), signature))
    return rows


if __name__ == "__main__":
    run_main(main)
