"""The token ids of a manifest's texts, and what a training plans with, made once for each tokenizer: arrays that are
memory-mapped, not read.

    manifest.jsonl.tokens.<key>    one line of JSON: of which manifest and tokenizer, where each array is; then the
    arrays

N utterances, S speakers. Names are compared by digests of 8 bytes, so that sets with millions of speakers can be
searched together:

    ids.<lang>, start.<lang>    int32, int64 [N + 1]    the ids of all texts, one after the other; an utterance without
    a text has none
    id, speaker                 int64 [N]               digests of each utterance's id and speaker
    voice, voice_rank           int64, int32 [S]        digests of the speakers in rising order, and their places in the
    manifest's index

`key` is a digest of all that decides the ids, and the first line names the manifest's content: another tokenizer has
another file, and one of another manifest is made again. `python -m speechlm.bin.tokens` makes them before a training,
and shows what is stored.
"""

import hashlib
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from speechlm.data.arrays import Arrays, map_arrays, write_arrays
from speechlm.data.files import STORAGE_ERRORS, file_digest, read_head

FORMAT = 1
SAY_SEC = 10.0  # between lines of progress
TOGETHER = 2048  # utterances whose texts are given to the tokenizer at once


class Encoder(Protocol):
    """A text tokenizer (`speechlm.tokens.text`); `key` is a digest of all that decides the ids."""

    key: str

    def encode_all(self, texts: list[str]) -> list[list[int]]: ...


def tokens_path(manifest: Path, key: str) -> Path:
    """Return the place of a manifest's tokens by the tokenizer of this key."""
    return Path(f"{manifest}.tokens.{key}")


def load_tokens(manifest: Path, records: Iterable, index: Arrays, encoder: Encoder) -> Arrays:
    """Return the arrays of a manifest, mapped; those that are missing, or of another manifest, are made from its
    `records` first.

    Where the folder cannot be written to, the arrays stay in memory.
    """
    place, about = (
        tokens_path(manifest, encoder.key),
        {"format": FORMAT, "manifest": file_digest(manifest), "tokenizer": encoder.key},
    )
    head = read_head(place)
    if head is not None and about.items() <= head.items() and (found := map_arrays(place, checked=False)) is not None:
        return found
    arrays = make_tokens(manifest, records, index, encoder)
    try:
        write_arrays(place, about, arrays)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        print(
            f"{place}: {error.strerror}; texts are tokenised at each start. Run once: python -m speechlm.bin.tokens",
            flush=True,
        )
    return arrays


def make_tokens(manifest: Path, records: Iterable, index: Arrays, encoder: Encoder) -> Arrays:
    """Tokenise all texts of a manifest, with progress."""
    langs = [name.removeprefix("text.") for name in index if name.startswith("text.")]
    ids, starts = {lang: array("i") for lang in langs}, {lang: array("q", [0]) for lang in langs}
    names, speakers, total, said = array("q"), array("q"), len(index["offset"]) - 1, time.monotonic()
    waiting = []
    for record in records:
        names.append(digest(record.id)), speakers.append(digest(record.speaker))
        waiting.append(record.text)
        if len(waiting) == TOGETHER or len(names) == total:
            for lang in langs:
                _encode(waiting, lang, encoder, ids[lang], starts[lang])
            waiting = []
        if time.monotonic() - said > SAY_SEC:
            said = time.monotonic()
            print(f"{manifest}: texts tokenised {len(names) / total:.0%}", flush=True)
    voices = np.array([digest(name) for name in _speaker_names(index)], np.int64)
    order = np.argsort(voices)
    arrays = {
        "id": _int64(names),
        "speaker": _int64(speakers),
        "voice": voices[order],
        "voice_rank": order.astype(np.int32),
    }
    for lang in langs:
        arrays |= {f"ids.{lang}": np.frombuffer(ids[lang], np.int32), f"start.{lang}": _int64(starts[lang])}
    return arrays


def _encode(texts: list[dict], lang: str, encoder: Encoder, ids: array, starts: array) -> None:
    there = [i for i, text in enumerate(texts) if lang in text]
    found = dict(zip(there, encoder.encode_all([texts[i][lang] for i in there]), strict=True))
    for i in range(len(texts)):
        ids.extend(found.get(i, ()))
        starts.append(len(ids))


def _speaker_names(index: Arrays) -> list[bytes]:
    names, starts = index["name"].tobytes(), index["name_start"].tolist()
    return [names[start:end] for start, end in zip(starts, starts[1:])]


def _int64(values: array) -> np.ndarray:
    return np.frombuffer(values, np.int64)


def digest(name: str | bytes) -> int:
    """Return 8 bytes that stand for a name, as an int64."""
    content = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
