"""Where the bytes of a recording are: a file of its own or, written `wav.ark:1234`, an entry of a Kaldi archive.

Entries are those that Kaldi and ESPnet write: a wav file, or kaldiio's AUDIO (any format). Nothing is unpickled.
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

PLACE = re.compile(r"(.+):(\d{1,18})", re.DOTALL)
STREAMED_BYTES = 0x7FFFF000  # from here on, a length in a header means "written to a pipe, not known"
LFS_POINTER = b"version https://git-lfs"  # how the file starts that git leaves in place of a large one


@dataclass(frozen=True)
class Span:
    """A stretch of a recording; `end_sec` None means to the end."""

    path: str
    start_sec: float = 0.0
    end_sec: float | None = None


class AudioError(ValueError):
    """A recording that cannot be used, and the kind of fault (a key of `speechlm.data.items.ADVICE`)."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def split_place(path: str) -> tuple[str, int | None]:
    """Return the file that holds a recording, and where in that archive it is; None for a file of its own."""
    match = None if os.path.exists(path) else PLACE.fullmatch(path)
    return (match[1], int(match[2])) if match else (path, None)


@contextmanager
def open_recording(path: str) -> Iterator[BinaryIO]:
    """Open the bytes of a recording; raise AudioError if there are none."""
    file, offset = split_place(path)
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        raise AudioError("missing file", f"{path}: no such file") from None
    if not stat.S_ISREG(found.st_mode):
        raise AudioError("missing file", f"{path}: a folder or a device; expected a file")
    if not found.st_size:
        raise AudioError("empty file", f"{path}: an empty file (0 bytes)")
    try:
        stream = open(file, "rb", buffering=0)  # libsndfile goes on where the file stands
    except OSError as error:
        raise AudioError("missing file", f"{path}: cannot be opened ({error.strerror})") from None
    with stream:
        yield stream if offset is None else io.BytesIO(_entry(stream, offset, path))


def _entry(stream: BinaryIO, offset: int, path: str) -> bytes:
    """Return the file that is kept at an offset of an archive."""
    stream.seek(offset)
    head = stream.read(16)
    if head[:4] == b"RIFF":
        start, length = offset, int.from_bytes(head[4:8], "little") + 8
    elif (
        head[:5] == b"AUDIO" and len(head) > 5 and head[5] <= 8
    ):  # of kaldiio: how many bytes the length has, and the length
        width = head[5]
        start, length = offset + 6 + width, int.from_bytes(head[6 : 6 + width], "little")
    else:
        raise AudioError(
            "not audio", f"{path}: no recording of an archive ({head[:5]!r}); expected RIFF (wav) or kaldiio's AUDIO"
        )
    if length - 8 >= STREAMED_BYTES:
        raise AudioError(
            "not audio",
            f"{path}: its header does not say how long it is; write the archive with Kaldi's wav-copy or kaldiio",
        )
    stream.seek(start)
    return stream.read(length)


def is_pointer(path: str) -> bool:
    """Tell whether a file is what git-lfs leaves in place of one that was not fetched."""
    try:
        with open_recording(path) as stream:
            return stream.read(len(LFS_POINTER)) == LFS_POINTER
    except AudioError:
        return False
