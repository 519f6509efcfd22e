"""Text files as others wrote them: UTF-8, or a ValueError that names the file, the line and the command that converts
it.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from speechlm.data.recording import LFS_POINTER

HEAD_BYTES = 4096
BOM = b"\xef\xbb\xbf"  # which some programs put before UTF-8
WIDE = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}  # how such text starts


def read_lines(path: str | Path) -> Iterator[str]:
    """Give the lines of a file with their ends; what some programs put before the first (a byte order mark) is no part
    of it.
    """
    with open(path, "rb") as stream:
        if fault := head_fault(path, head := stream.read(HEAD_BYTES)):
            found, fix = fault
            raise ValueError(f"{path}:1: {found}; expected UTF-8 text. {fix}")
        stream.seek(len(BOM) if head.startswith(BOM) else 0)
        for number, raw in enumerate(stream, start=1):
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"not UTF-8 (byte 0x{raw[error.start]:02x})"
                raise ValueError(f"{path}:{number}: {found}; expected UTF-8 text. {conversion(path)}") from None


def read_plain(path: str | Path) -> str:
    """Return a file's text."""
    return "".join(read_lines(path))


def head_fault(path: str | Path, head: bytes) -> tuple[str, str] | None:
    """Return what is wrong with a whole file by its beginning, and the command that fixes it; None if nothing is."""
    if head.startswith(LFS_POINTER):
        return (
            "a pointer of git-lfs",
            f"Fetch the file itself: cd {shlex.quote(str(Path(path).parent))} && git lfs pull",
        )
    wide = next((name for start, name in WIDE.items() if head.startswith(start)), None)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if (
        wide is None and max(even, odd) > len(head) / 8 and min(even, odd) < max(even, odd) / 8
    ):  # every other byte of Latin letters
        wide = "UTF-16LE" if odd > even else "UTF-16BE"
    return (f"{wide} text", conversion(path, wide)) if wide else None


def conversion(path: str | Path, encoding: str = "") -> str:
    """Return the command that converts a file to UTF-8; without an `encoding`, from what it most likely is."""
    file, guess = shlex.quote(str(path)), encoding or guess_encoding(path)
    unsure = "" if encoding else f", which looks like {guess} (name the true encoding if it is another)"
    return f"Convert it{unsure}: iconv -f {guess} -t UTF-8 {file} > {file}.utf8 && mv {file}.utf8 {file}"


def guess_encoding(path: str | Path) -> str:
    """Return GB18030 if bytes beyond ASCII stand in pairs, as Chinese characters do; else WINDOWS-1252, which Latin-1
    is a part of.
    """
    with open(path, "rb") as stream:
        runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", stream.read(1 << 20))]
    return "GB18030" if sum(length % 2 == 0 for length in runs) > 0.8 * len(runs) else "WINDOWS-1252"
