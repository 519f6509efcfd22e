"""Train the embedded LLM's sentencepiece tokenizer and write the LLM's folder: tokenizer and architecture, no weights.

The folder has the layout of a Hugging Face model, so that the next stage treats it like any other LLM.
"""

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import sentencepiece

from speechlm.bin.command import run_main
from speechlm.data.files import atomic_write, stage
from speechlm.data.llm_model import read_llm_model
from speechlm.data.manifest import load_manifest
from speechlm.tokens.text import CLEAN_UP_OFF

MOST_BYTES = (
    4000  # of a piece of text to learn from: sentencepiece leaves out what is longer than its limit, without a word
)
PIECES = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": 3}


def train_tokenizer(sentences: list[str], vocab_size: int, path: Path) -> None:
    """Train a unigram model that writes any text as it stands (byte fallback, no normalisation) and write it to `path`.

    ValueError if the sentences are too few for `vocab_size`.
    """
    pieces = [piece for sentence in sentences for piece in split_long(sentence, MOST_BYTES)]
    model = (
        io.BytesIO()
    )  # written by ourselves: given a path, sentencepiece puts it into the model, and so into its fingerprint
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(pieces), model_writer=model, vocab_size=vocab_size, byte_fallback=True,
            normalization_rule_name="identity", max_sentence_length=MOST_BYTES,
            character_coverage=0.9999, hard_vocab_limit=False, shuffle_input_sentence=False, num_threads=1,
            minloglevel=2, **PIECES,
        )  # fmt: skip
    except RuntimeError as error:
        raise ValueError(
            f"--vocab_size {vocab_size}: sentencepiece cannot make it from {len(sentences)} sentences ({error})"
        ) from None
    with atomic_write(path, "wb") as stream:
        stream.write(model.getvalue())


def split_long(text: str, most_bytes: int) -> Iterator[str]:
    """Yield a text in pieces of at most `most_bytes` bytes of UTF-8, cut at a space where there is one."""
    while len(text.encode()) > most_bytes:
        head = text.encode()[:most_bytes].decode(errors="ignore")
        at = head.rfind(" ") + 1 or len(head)
        yield text[:at]
        text = text[at:]
    yield text


def write_llm_folder(out: Path, sentences: list[str], config: dict) -> None:
    """Write tokenizer.model, tokenizer_config.json and config.json. `config` is a conf/llm_model.yaml."""
    out.mkdir(parents=True, exist_ok=True)
    train_tokenizer(sentences, config["vocab_size"], out / "tokenizer.model")
    size = sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model")).get_piece_size()
    model = config["model"] | {"vocab_size": size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    with atomic_write(out / "config.json") as stream:
        json.dump(model, stream, indent=1)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    with atomic_write(out / "tokenizer_config.json") as stream:
        json.dump(
            {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True} | CLEAN_UP_OFF | names,
            stream,
            indent=1,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="training sets whose text to learn from"
    )
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        help="conf/llm_model.yaml: vocab_size, and model (a Hugging Face config); later files override earlier ones",
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    outputs = ["tokenizer.model", "tokenizer_config.json", "config.json"]
    with stage(args.out, "text_tokenizer", {}, [*args.config, *args.manifests], outputs) as todo:
        if todo:
            sentences = sorted({text for record in load_manifest(*args.manifests) for text in record.text.values()})
            write_llm_folder(args.out, sentences, read_llm_model(*args.config))
            print(f"text_tokenizer: {len(sentences)} sentences -> {args.out}", flush=True)


if __name__ == "__main__":
    run_main(main)
