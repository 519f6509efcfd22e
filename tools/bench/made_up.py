"""A made-up corpus for benchmarks: random codes and words, in the files that a training reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechlm.data.codes import write_archive
from speechlm.data.manifest import load_manifest, write_manifest
from speechlm.tasks import TASKS, get_task
from speechlm.tasks.examples import ExampleBuilder, PromptIndex, list_items
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from speechlm.train.iterator import Corpus

MIXTURE = {
    "continuation": 0.15,
    "asr": 0.15,
    "tts": 0.15,
    "s2tt": 0.15,
    "t2st": 0.15,
    "lm": 0.05,
    "mt_text": 0.05,
}  # of arXiv 2502.16897
LANGS, PAIRS = ("en", "zh"), {"same": [("en", "en"), ("zh", "zh")], "pair": [("en", "zh"), ("zh", "en")]}
ARCHIVED = 500  # different codes, which are used again and again
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]


@dataclass(frozen=True)
class Sizes:
    """Frames of an utterance (least, most), streams and codes of the codec, words of a text, frames of a voice prompt,
    ids of text.
    """

    frames: tuple[int, int]
    streams: int
    codes: int
    words: int
    prompt_frames: int
    text_size: int


PAPER = Sizes((300, 1200), 8, 1024, 30, 225, 1000)  # EnCodec at 75 Hz
MINI = Sizes((15, 45), 8, 256, 8, 16, 400)  # mini_cvss: 12.5 Hz


class Words:
    """A tokenizer of one id a word."""

    bos_id, eos_id, fingerprint, key = 1, 2, "text", "words"

    def encode(self, text: str) -> list[int]:
        """Return one id for each word."""
        return [3 + WORDS.index(word) for word in text.split()]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of several texts."""
        return list(map(self.encode, texts))


def write_set(folder: Path, utterances: int, sizes: Sizes) -> Path:
    """Write the manifest of a set, which is returned, and the codes that it names."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(*sizes.frames, ARCHIVED).tolist()
    codes = {
        str(i): rng.integers(0, sizes.codes, (length, sizes.streams)).astype(np.int32)
        for i, length in enumerate(lengths)
    }
    folder.mkdir(parents=True, exist_ok=True)
    offsets = write_archive(folder / "codes.ark", codes)
    places = [[f"codes.ark:{offsets[str(i)]}", length] for i, length in enumerate(lengths)]
    write_manifest(folder / "manifest.jsonl", _lines(utterances, sizes, places))
    return folder / "manifest.jsonl"


def _lines(utterances: int, sizes: Sizes, places: list) -> Iterator[dict]:
    rng = np.random.default_rng(1)
    for i, chosen in enumerate(rng.integers(0, ARCHIVED, (utterances, len(LANGS))).tolist()):
        text = " ".join(WORDS[(i >> shift) % len(WORDS)] for shift in range(sizes.words // 2 + i % sizes.words))
        codes = {lang: places[which] for lang, which in zip(LANGS, chosen, strict=True)}
        yield {
            "id": f"u{i:08d}",
            "speaker": f"s{i * 31 % 20_000 % (utterances // 4 + 1)}",
            "text": dict.fromkeys(LANGS, text),
            "codes": codes,
        }


def make_vocabulary(sizes: Sizes) -> Vocabulary:
    """Return the vocabulary of a speech LLM for the corpus."""
    specials = (*BOUNDARIES, *(f"<{name}>" for name in [*TASKS, *LANGS]))
    return Vocabulary(sizes.text_size, specials, (sizes.codes,) * sizes.streams, "parallel", "text", "codec")


def open_corpus(manifest: Path, sizes: Sizes) -> Corpus:
    """Return the examples of the paper's seven tasks."""
    records = load_manifest(manifest, encoder=Words())
    items = {name: list_items(get_task(name), records, PAIRS[get_task(name).languages]) for name in MIXTURE}
    builder = ExampleBuilder(make_vocabulary(sizes), Words(), sizes.prompt_frames)
    builder.checked.add(manifest.parent)  # its codec, which there is not
    return Corpus(items, PromptIndex(records, listed=False), builder, 1.0)
