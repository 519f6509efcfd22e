"""Unpack a corpus's archive (tar, plain or compressed, or zip), never outside its folder."""

import io
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Iterator

from speechlm.data.files import storage_errors

REPORT_SEC = 10.0
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def unpack(path: str | Path, folder: str | Path) -> Path:
    """Unpack an archive to `folder`, which appears only when it is complete; return it. If the folder is there, nothing
    is done.

    Only files and folders are made: a link, a device, or a name that is absolute or leaves the folder is refused with a
    ValueError, as is an archive that is cut short or damaged.
    """
    path, folder = Path(path), Path(folder)
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    began = said = time.monotonic()
    for name, content, done in _files(path):
        target = partial / _inside(path, name)
        try:
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as stream:
                    _copy(path, name, content, stream)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _refused(path, name, "a file and a folder at once") from None
        if time.monotonic() - said > REPORT_SEC:
            said = time.monotonic()
            print(
                f"{path}: {100 * done:.0f} % unpacked, {(said - began) * (1 - done) / max(done, 1e-3):.0f} s left",
                flush=True,
            )
    return partial.rename(folder)


def _files(path: Path) -> Iterator[tuple[str, IO[bytes], float]]:
    """Yield the name and the content of each file, and which part of the archive is read by then (0 to 1)."""
    try:
        with open(path, "rb") as raw:
            size = max(1, path.stat().st_size)
            members = _zip_files(path, raw) if zipfile.is_zipfile(path) else _tar_files(path, raw)
            for name, content in members:
                yield name, content, raw.tell() / size
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file. Download it first.") from None
    except DAMAGED as error:
        raise _damaged(path, error) from None


def _tar_files(path: Path, raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            _inside(path, member.name)
            if member.isfile():
                yield member.name, tar.extractfile(member)
            elif not member.isdir():
                raise _refused(path, member.name, "a link or a device")
        _require_end(tar)


def _require_end(tar: tarfile.TarFile) -> None:
    """Raise an error if the archive is cut between two members, which tarfile takes for its end."""
    if isinstance(tar.fileobj, io.BufferedReader):
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("no end-of-archive block")
    while tar.fileobj.read(1 << 20):  # a compressed stream knows its own end
        pass


def _zip_files(path: Path, raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            _inside(path, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(path, member.filename, "a link or a device")
            if not member.is_dir():
                with archive.open(member) as content:
                    yield member.filename, content


def _inside(path: Path, name: str) -> PurePosixPath:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name:
        raise _refused(path, name, "a name that leaves the folder")
    return place


def _copy(path: Path, name: str, content: IO[bytes], stream: IO[bytes]) -> None:
    """Copy, telling a damaged archive (reading) from a full disk (writing)."""
    while True:
        try:
            block = content.read(1 << 20)
        except DAMAGED as error:
            raise _damaged(path, f"at {name}: {error}") from None
        if not block:
            return
        stream.write(block)


def _refused(path: Path, name: str, what: str) -> ValueError:
    return ValueError(
        f"{path}: {name!r} is {what}; expected files and folders below one. Nothing is kept. Fetch it from its own"
        " site."
    )


def _damaged(path: Path, error: Exception | str) -> ValueError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(
        f"{path}: cut short, damaged, or no tar or zip archive ({said}). Delete it and download it again."
    )
