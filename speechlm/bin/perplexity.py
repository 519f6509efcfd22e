"""Measure the text perplexity of a trained model on held-out text, per language and overall: rows as bin/score writes
them.

sentences.jsonl, next to --out, has (nats, tokens) of each sentence.
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.files import stage
from speechlm.data.manifest import load_manifest
from speechlm.metrics.bootstrap import interval
from speechlm.metrics.rows import SENTENCES, Row, write_lines, write_rows
from speechlm.metrics.scoring import Perplexity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="trained model folder")
    parser.add_argument("--manifest", type=Path, required=True, help="held-out text")
    parser.add_argument("--model", default=None, help="name in the table (default: the folder's name)")
    parser.add_argument(
        "--final_word",
        choices=["true", "false"],
        default="false",
        help="score the last word of each text too (LAMBADA)",
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    name = args.model or args.exp.name
    inputs = [args.manifest, args.exp / "model.safetensors", args.exp / "vocab.json"]
    settings = {"model": name} | ({"final_word": "true"} if args.final_word == "true" else {})
    with stage(args.out.parent, args.out.stem, settings, inputs, [args.out.name, SENTENCES]) as todo:
        if todo:
            rows, lines = score(args.exp, args.manifest, name, args.final_word == "true")
            write_lines(args.out.with_name(SENTENCES), lines)
            write_rows(args.out, rows)


def score(exp: Path, manifest: Path, name: str, last: bool = False) -> tuple[list[Row], list[dict]]:
    """Return rows for each language and for all sentences together, with the codes masked out and not, with `last` of
    last words; and a line per sentence and language, with its (nats, tokens).
    """
    from speechlm.model.folder import load_model
    from speechlm.model.perplexity import final_word, text_nats

    trained, records = load_model(exp), load_manifest(manifest)
    langs = list(dict.fromkeys(lang for record in records for lang in record.text))
    lines, rows = [], []
    for lang in langs:
        spoken = [record for record in records if lang in record.text]
        sentences = [record.text[lang] for record in spoken]
        plain, open_ = (text_nats(trained.model, trained.text, sentences, masked) for masked in (True, False))
        lines += [
            {"id": record.id, "lang": lang, "ref": sentence, "ppl": nats, "ppl_unmasked": other}
            for record, sentence, nats, other in zip(spoken, sentences, plain, open_, strict=True)
        ]
    tokenizer = f"tokenizer:{trained.vocab.text_fingerprint}"
    for group in [*langs, *(["+".join(langs)] if len(langs) > 1 else [])]:
        chosen = [line for line in lines if line["lang"] in group.split("+")]
        for metric, vocabulary in (("ppl", "text"), ("ppl_unmasked", "text+special+codes")):
            signature = f"per token incl. eos|vocabulary:{vocabulary}|{tokenizer}"
            rows.append(
                _row(name, f"{manifest.parent.name}.{group}", metric, [line[metric] for line in chosen], signature)
            )
    for lang in langs if last else ():
        sentences = [line["ref"] for line in lines if line["lang"] == lang]
        values = zip(("final_word_acc", "final_word_ppl"), final_word(trained.model, trained.text, sentences))
        signature = f"last word given the text before it|greedy|vocabulary:text|{tokenizer}"
        rows += [
            Row(name, "lm", f"{manifest.parent.name}.{lang}", metric, value, len(sentences), signature)
            for metric, value in values
        ]
    return rows, lines


def _row(name: str, test_set: str, metric: str, nats: list[tuple[float, int]], signature: str) -> Row:
    counted = Perplexity(metric, signature)
    counts_NC = counted.counts(nats)
    low, high = interval(counts_NC, counted.value)
    return Row(name, "lm", test_set, metric, counted.one(counts_NC.sum(axis=0)), len(counts_NC), signature, low, high)


if __name__ == "__main__":
    run_main(main)
