"""The index beside a manifest: what a training needs to know of all utterances, as arrays that are memory-mapped, not
read.

    manifest.jsonl.index    one line of JSON: of which file, where each array is, checksums; then the arrays

N utterances, S speakers, in the order of their names as UTF-8:

    offset                int64 [N + 1]   where each line of the manifest begins, and its end
    text.<lang>           bool [N]        is there a transcript?
    frames.<lang>         int32 [N]       how long the codes are; -1: none
    name, name_start      uint8, int64 [S + 1]    the names of the speakers, one after the other
    voice.<lang>, voice_start.<lang>      int32, int64 [S + 1]    the utterances of each speaker that have codes, in the
    order of the lines

It is written with the manifest, and made again if it is missing or belongs to another file.
"""

import hashlib
import time
from array import array
from collections import defaultdict
from pathlib import Path
from typing import Callable

import numpy as np

from speechlm.data.arrays import Arrays, map_arrays, write_arrays
from speechlm.data.files import STORAGE_ERRORS, index_head, index_path

FORMAT = 1
SAY_SEC = 10.0  # between lines of progress


class IndexBuilder:
    """Collects the arrays while a manifest is written or read: about 40 bytes an utterance, and the speakers' names."""

    def __init__(self):
        self.sha256 = hashlib.sha256()
        self._offsets, self._ids = array("q", [0]), array("q")
        self._text, self._frames = defaultdict(bytearray), defaultdict(lambda: array("i"))
        self._speakers, self._speaker = {}, array("i")

    def add(self, line: bytes, key: str, speaker: str, text: dict, frames: dict[str, int]) -> None:
        """Count one line (with its line end): the languages of its texts, and the lengths of its codes."""
        n = len(self._ids)
        self.sha256.update(line)
        self._offsets.append(self._offsets[-1] + len(line))
        self._ids.append(hash(key))
        self._speaker.append(self._speakers.setdefault(speaker, len(self._speakers)))
        for lang in text:
            has = self._text[lang]
            has.extend(bytes(n - len(has)) + b"\1")
        for lang, length in frames.items():
            lengths = self._frames[lang]
            lengths.extend([-1] * (n - len(lengths)))
            lengths.append(length)

    def arrays(self) -> Arrays:
        """Return the arrays; ValueError if there are no utterances, or an id occurs twice."""
        n = len(self._ids)
        if not n:
            raise ValueError("no utterances")
        if len(np.unique(np.frombuffer(self._ids, np.int64))) < n:
            raise ValueError("an id occurs twice")
        names = sorted((name.encode("utf-8", "surrogatepass"), number) for name, number in self._speakers.items())
        rank = np.empty(len(names), np.int32)
        rank[[number for _, number in names]] = np.arange(len(names), dtype=np.int32)
        speaker = rank[np.frombuffer(self._speaker, np.int32)]
        found = {
            "offset": np.frombuffer(self._offsets, np.int64),
            "name": np.frombuffer(b"".join(name for name, _ in names), np.uint8),
            "name_start": np.cumsum([0, *(len(name) for name, _ in names)], dtype=np.int64),
        }
        for lang, has in self._text.items():
            found[f"text.{lang}"] = np.frombuffer(has + bytes(n - len(has)), bool)
        for lang, lengths in self._frames.items():
            lengths = np.concatenate([np.frombuffer(lengths, np.int32), np.full(n - len(lengths), -1, np.int32)])
            found |= {f"frames.{lang}": lengths} | _voices(lang, lengths, speaker, len(names))
        return found


def _voices(lang: str, lengths: np.ndarray, speaker: np.ndarray, num_speakers: int) -> Arrays:
    members = np.flatnonzero(lengths >= 0).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(speaker[members], minlength=num_speakers))]).astype(np.int64)
    return {f"voice.{lang}": members[np.argsort(speaker[members], kind="stable")], f"voice_start.{lang}": starts}


def write_index(path: Path, arrays: Arrays, sha256: str, codes: str = "") -> None:
    """Write the index of the manifest `path`, which is complete and has this digest; `codes` is that of the codes that
    it names, if known.
    """
    stat = path.stat()
    about = {"format": FORMAT, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
    write_arrays(index_path(path), about | ({"codes": codes} if codes else {}), arrays)


def read_index(path: Path) -> Arrays | None:
    """Map the index of the manifest `path`; None if there is none, or it is of another file or damaged."""
    head = index_head(path)
    return map_arrays(index_path(path)) if head is not None and head.get("format") == FORMAT else None


def make_index(path: Path, add_line: Callable[[IndexBuilder, int, bytes], None]) -> Arrays:
    """Read a manifest and write its index, with progress; return the arrays. `add_line` counts the line of a number
    from 1.

    Where the folder cannot be written to, the arrays stay in memory.
    """
    builder, size, done = IndexBuilder(), path.stat().st_size, 0
    began = said = time.monotonic()
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            add_line(builder, number, line)
            done += len(line)
            if number % 10_000 == 0 and time.monotonic() - said > SAY_SEC:
                said = time.monotonic()
                print(
                    f"{path}: index {done / size:.0%}, {(said - began) * (size - done) / done:.0f} s left", flush=True
                )
    arrays = builder.arrays()
    try:
        write_index(path, arrays, builder.sha256.hexdigest())
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        print(
            f"{index_path(path)}: {error.strerror}; it is made again at each start. Run once: python -m"
            " speechlm.bin.manifest",
            flush=True,
        )
    return arrays
