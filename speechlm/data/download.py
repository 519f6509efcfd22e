"""Download the files of a corpus: several at a time, resumed after a break, verified before they get their name.

A file is written to `name.part` and renamed when its size and checksum are right, so that `name` is always complete. A
rerun continues with what is there. If a server does not support ranges (HTTP Range), the file starts again.
"""

import hashlib
import shutil
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import requests

from speechlm.data.files import TEMPORARY, storage_errors

REPORT_SEC = 10.0
TIMEOUT_SEC = 60.0  # without a byte
TRIES = 6  # in a row without a new byte; the pauses between them are 1, 2, 4, 8, 16 s
FIRST_PAUSE_SEC = 1.0
BLOCK_BYTES = 1 << 16  # what a break-off may lose
MARGIN_BYTES = 1 << 28  # of the disk that stay free
GB = 1e9
BREAKS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a corpus: its address, its name below the folder, and what is published of it (bytes; hex
    checksums).
    """

    url: str
    name: str
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def shown_url(self) -> str:
        """The address without its query: the signature of a signed link is a secret."""
        return self.url.split("?")[0]


class _Progress:
    """Bytes on the disk and bytes expected in the end, over all files; shared by the threads."""

    def __init__(self, files: list[RemoteFile]):
        self.sizes = {file.name: file.bytes for file in files}
        self.done = dict.fromkeys(self.sizes, 0)
        self.began, self.received, self.stop, self.lock = time.monotonic(), 0, threading.Event(), threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.received += count

    def show(self, left: int) -> None:
        """Print how much there is, and an estimate if all sizes are known."""
        done, rate = sum(self.done.values()), self.received / max(1e-3, time.monotonic() - self.began)
        line = f"download: {len(self.done) - left} of {len(self.done)} files, {done / GB:.2f} GB"
        if None not in self.sizes.values():
            total = sum(self.sizes.values())
            line += (
                f" of {total / GB:.2f} GB ({100 * done / max(1, total):.0f} %),"
                f" {(total - done) / max(1.0, rate) / 60:.0f} min left"
            )
        print(f"{line}, {rate / 1e6:.1f} MB/s", flush=True)


def fetch(files: list[RemoteFile], folder: Path, jobs: int = 4) -> None:
    """Download what is missing in `folder`, `jobs` files at a time; all files are complete and verified when it
    returns.

    Raises ValueError after all other files are there: for a refused (403) or missing (404) address, a server that does
    not answer, a wrong size or checksum. A disk that is too small is refused first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _require_space(files, folder)
    progress, faults = _Progress(files), []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        running: set[Future] = {pool.submit(_fetch_one, file, folder, progress) for file in files}
        try:
            said = time.monotonic()
            while running:
                finished, running = wait(running, timeout=REPORT_SEC, return_when=FIRST_COMPLETED)
                faults += [str(fault) for future in finished if (fault := _fault(future))]
                if time.monotonic() - said > REPORT_SEC:
                    said = time.monotonic()
                    progress.show(len(running))
        finally:
            progress.stop.set()  # after Ctrl-C: the threads end, what they have is kept
            pool.shutdown(wait=False, cancel_futures=True)
    if faults:
        raise ValueError("\n".join(faults))
    progress.show(0)


def _fault(future: Future) -> ValueError | None:
    """Return (and print) the user's mistake of a file; raise anything else."""
    try:
        future.result()
    except ValueError as error:
        print(f"error: {error}", flush=True)
        return error


def _require_space(files: list[RemoteFile], folder: Path) -> None:
    missing = [file for file in files if file.bytes and not (folder / file.name).exists()]
    needed = sum(max(0, file.bytes - _size(_part(folder / file.name))) for file in missing)
    free = shutil.disk_usage(folder).free
    if needed and needed + MARGIN_BYTES > free:
        raise ValueError(
            f"{folder}: the download needs {needed / GB:.1f} GB, its disk has {free / GB:.1f} GB free. "
            "Free space there, or name a folder on another disk."
        )


def _part(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch_one(file: RemoteFile, folder: Path, progress: _Progress) -> None:
    """Make one file complete. A break-off or an answer of 5xx is tried again, from the byte where it was."""
    path, part = folder / file.name, _part(folder / file.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _verify(path, file)
        progress.done[file.name] = progress.sizes[file.name] = _size(path)
        return
    failed = 0
    while not progress.stop.is_set():
        before = _size(part)
        try:
            with storage_errors(part):
                complete = _receive(file, part, progress)
            if complete:
                _verify(part, file)
                part.replace(path)
                return
            reason = "the connection broke off"
        except BREAKS as error:
            reason = str(error) or type(error).__name__
        failed = 1 if _size(part) > before else failed + 1
        if failed == TRIES:
            kept = f"{_size(part)} bytes are kept; run the same command again to continue."
            raise ValueError(f"{file.shown_url}: {TRIES} tries failed ({reason}). {kept}")
        progress.stop.wait(FIRST_PAUSE_SEC * 2 ** (failed - 1))


def _receive(file: RemoteFile, part: Path, progress: _Progress) -> bool:
    """Ask for the bytes that are missing and append them; return whether the file has as many as it should."""
    have = _size(part)
    if file.bytes and have > file.bytes:
        part.unlink()
        have = 0
    if have and have == file.bytes:
        return True
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT_SEC) as answer:
        if answer.status_code == 416:  # nothing beyond what is there: it is all, or another file's beginning
            complete = have == (file.bytes or _total(answer))
            if not complete:
                part.unlink()
            return complete
        _require_ok(file, answer)
        start = have if answer.status_code == 206 and _starts_at(answer, have) else 0
        total = _total(answer)
        if file.bytes and total and total != file.bytes:
            raise ValueError(
                f"{file.shown_url}: {total} bytes there, expected {file.bytes}. The file has changed, or it is a page"
                " about a login."
            )
        progress.sizes[file.name] = file.bytes or total
        with open(part, "ab" if start else "wb") as stream:
            progress.done[file.name] = start
            for block in answer.iter_content(BLOCK_BYTES):
                stream.write(block)
                progress.done[file.name] += len(block)
                progress.add(len(block))
                if progress.stop.is_set():
                    return False
    return total is None or _size(part) >= total


def _require_ok(file: RemoteFile, answer: requests.Response) -> None:
    """Raise ValueError for an address that will not work, and a connection error for a server that may work later."""
    status = answer.status_code
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        raise requests.ConnectionError(f"HTTP {status} {answer.reason}")
    local = (
        "or fetch the file by hand and name the folder that has it (./run.sh --help: the option for an existing copy)"
    )
    fix = {
        401: (
            "The address asks for a login. Accept the licence on the corpus's site and give the signed link that it"
            f" sends, {local}."
        ),
        403: f"The address is refused: a signed link expires after some hours, give a new one, {local}.",
        404: f"There is no such file: the corpus may have moved. Look up its site, {local}.",
    }
    raise ValueError(
        f"{file.shown_url}: HTTP {status} {answer.reason}. {fix.get(status, f'Look up the corpus site, {local}.')}"
    )


def _starts_at(answer: requests.Response, have: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _total(answer: requests.Response) -> int | None:
    """Return the bytes of the whole file, as the server says."""
    if "Content-Range" in answer.headers:
        total = answer.headers["Content-Range"].rpartition("/")[2]
        return int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and answer.status_code == 200 else None


def _verify(path: Path, file: RemoteFile) -> None:
    """Raise ValueError if a file is not the published one. A wrong `.part` is removed, since a rerun would continue
    with it.
    """
    wrong = []
    if file.bytes is not None and _size(path) != file.bytes:
        wrong.append(f"{_size(path)} bytes, expected {file.bytes}")
    for name, expected in (("md5", file.md5), ("sha256", file.sha256)):
        if expected and not wrong and (found := _checksum(path, name)) != expected.lower():
            wrong.append(f"{name} {found}, expected {expected.lower()}")
    if not wrong:
        return
    if path.name.endswith(TEMPORARY):
        path.unlink()
        kept = (
            f"It came from {file.shown_url} and is removed. Run the same command again; if it stays wrong, the file"
            " has changed there."
        )
    else:
        kept = "Remove it and run the same command again."
    raise ValueError(f"{path}: {'; '.join(wrong)}. {kept}")


def _checksum(path: Path, name: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, name).hexdigest()
