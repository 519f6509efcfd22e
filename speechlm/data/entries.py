"""The entries of an `id value` file, {id: value}, left in the file: a line is read when it is asked for.

Ten million entries take 80 MB, as dicts they would take several GB.
"""

import mmap
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

MAPPED_BYTES = 1 << 26  # a smaller file is read, so that nobody can change it under us
CHUNK_BYTES = 1 << 24

Data = bytes | mmap.mmap


def open_data(path: Path) -> Data:
    """Return a file's content, mapped if it is large."""
    with open(path, "rb") as stream:
        if path.stat().st_size < MAPPED_BYTES:
            return stream.read()
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def lines_of(data: Data) -> Iterator[tuple[int, bytes]]:
    """Give the offset of each line, and the line without its end."""
    start, size = 0, len(data)
    while start < size:
        end = data.find(b"\n", start)
        end = size if end < 0 else end
        yield start, data[start:end]
        start = end + 1


def line_at(data: Data, start: int) -> bytes:
    """Return the line that begins at an offset, or the rest of one, without its end."""
    end = data.find(b"\n", start)
    return data[start : end if end >= 0 else len(data)]


def line_numbers(data: Data, offsets: list[int]) -> list[int]:
    """Return the numbers (from 1) of the lines at offsets, which are sorted."""
    numbers, at, number = [], 0, 1
    for offset in offsets:
        while at < offset:
            end = min(offset, at + CHUNK_BYTES)
            number += data[at:end].count(b"\n")
            at = end
        numbers.append(number)
    return numbers


def id_of(line: bytes) -> bytes:
    """Return the first word of a line that begins with it."""
    return line.split(b" ", 1)[0].split(b"\t", 1)[0]


class Entries(Mapping[str, str]):
    """{id: value}, sorted by id (as UTF-8, which is Python's order too). `starts` are the offsets of the ids, in that
    order.
    """

    def __init__(self, data: Data = b"", starts: np.ndarray | None = None):
        self._data, self._starts = data, np.zeros(0, np.int64) if starts is None else starts

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items())

    def items(self) -> Iterator[tuple[str, str]]:
        for chunk in range(0, len(self), 4096):
            for start in self._starts[chunk : chunk + 4096].tolist():
                yield self._split(start)

    def __getitem__(self, key: str) -> str:
        if (place := self.place(key)) is None:
            raise KeyError(key)
        return self._split(int(self._starts[place]))[1]

    def __contains__(self, key: object) -> bool:
        return self.place(key) is not None

    def place(self, key: str) -> int | None:
        """Return where an id stands in the order; None if it is not here."""
        wanted = key.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = self._id(int(self._starts[middle]))
            if found == wanted:
                return middle
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return None

    def offset(self, place: int) -> int:
        """Return where in the file the entry at a place of the order begins."""
        return int(self._starts[place])

    def without(self, places: Iterable[int]) -> "Entries":
        """Return the entries but those at some places of their order."""
        return Entries(self._data, np.delete(self._starts, list(places)))

    def _id(self, start: int) -> bytes:
        head = self._data[start : start + 64]
        key = id_of(head)
        return key if len(key) < len(head) and b"\n" not in key else id_of(line_at(self._data, start))

    def _split(self, start: int) -> tuple[str, str]:
        line = line_at(self._data, start)
        key = id_of(line)
        return key.decode(), line[len(key) :].strip(b" \t\r").decode()


def sort_entries(data: Data, starts: array) -> tuple[Entries, list[list[int]]]:
    """Return the entries at these offsets, and the offsets (sorted) of each id that occurs more than once, which are
    left out.
    """
    keys = np.array([id_of(line_at(data, start)) for start in starts], dtype=bytes)
    order = np.argsort(keys, kind="stable")
    keys, found = keys[order], np.frombuffer(starts, np.int64)[order]
    same = np.concatenate([[False], keys[1:] == keys[:-1]])
    if not same.any():
        return Entries(data, found), []
    groups = np.split(found, np.flatnonzero(~same)[1:])
    return Entries(data, found[~same & ~np.append(same[1:], False)]), [
        group.tolist() for group in groups if len(group) > 1
    ]
