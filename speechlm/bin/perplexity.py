"""Text perplexity of a trained model on held-out text, per language and over all: rows as bin/score writes them."""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.manifest import load_manifest
from speechlm.metrics.rows import Row, write_rows
from speechlm.model.folder import load_model
from speechlm.model.perplexity import final_word, text_perplexity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--manifest", type=Path, required=True, help="held-out text")
    parser.add_argument("--model", default=None, help="name in the table (default: the folder's)")
    parser.add_argument("--final_word", choices=["true", "false"], default="false", help="score the last word of each text too (LAMBADA)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    name = args.model or args.exp.name
    inputs = [args.manifest, args.exp / "model.safetensors", args.exp / "vocab.json"]
    settings = {"model": name} | ({"final_word": "true"} if args.final_word == "true" else {})
    with stage(args.out.parent, args.out.stem, settings, inputs, [args.out.name]) as todo:
        if todo:
            write_rows(args.out, score(args.exp, args.manifest, name, args.final_word == "true"))


def score(exp: Path, manifest: Path, name: str, last: bool = False) -> list[Row]:
    """Return rows for each language and for all sentences together, with the codes masked out and not; with `last`, of last words."""
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
    for lang, sentences in texts.items() if last else ():
        values = zip(("final_word_acc", "final_word_ppl"), final_word(trained.model, trained.text, sentences))
        signature = f"last word given the text before it|greedy|vocabulary:text|tokenizer:{trained.vocab.text_fingerprint}"
        rows += [Row(name, "lm", f"{manifest.parent.name}.{lang}", metric, value, len(sentences), signature) for metric, value in values]
    return rows


if __name__ == "__main__":
    run_main(main)
