"""Downloads from a server that misbehaves."""

import hashlib
import http.server
import shutil
import threading
from collections import Counter, namedtuple

import numpy as np
import pytest

from speechlm.data import download
from speechlm.data.download import RemoteFile, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
LONG_AGO = {"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}


class Handler(http.server.BaseHTTPRequestHandler):
    """The first part of the path says how to misbehave."""

    asked: Counter = Counter()
    ranges: list = []

    def do_GET(self):
        kind = self.path.split("?")[0].split("/")[1]
        Handler.asked[kind] += 1
        Handler.ranges.append(self.headers.get("Range"))
        if kind in ("403", "404"):
            self.answer(int(kind), b"")
        elif kind == "503" and Handler.asked[kind] <= 2:
            self.answer(503, b"")
        elif kind == "dead":
            self.answer(503, b"")
        else:
            self.send_content(kind)

    def send_content(self, kind):
        start = 0
        if (wanted := self.headers.get("Range")) and kind != "noranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(CONTENT):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(CONTENT)}"})
            return
        body = CONTENT[start:]
        extra = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
        breaks = kind in ("breaks", "noranges") and Handler.asked[kind] <= 2
        self.answer(206 if start else 200, body, extra, len(body) // 2 if breaks else len(body))

    def answer(self, status, body, extra=None, sent=None):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | LONG_AGO | (extra or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE_SEC", 0.001)
    Handler.asked, Handler.ranges = Counter(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def file(server, kind, **published):
    return RemoteFile(f"{server}/{kind}/a.tar", f"{kind}.tar", **({"bytes": len(CONTENT), "md5": MD5} | published))


def test_files_come_whole_and_are_not_fetched_again(server, tmp_path, capsys):
    files = [file(server, f"ok{i}") for i in range(3)] + [file(server, "unknown", bytes=None, md5=None)]
    fetch(files, tmp_path)
    assert [p.read_bytes() == CONTENT for p in sorted(tmp_path.iterdir())] == [True] * 4
    assert "4 of 4 files, 0.00 GB of 0.00 GB (100 %)" in capsys.readouterr().out
    fetch(files, tmp_path)
    assert set(Handler.asked.values()) == {1}


def test_a_break_off_is_resumed_where_it_was(server, tmp_path):
    fetch([file(server, "breaks")], tmp_path)
    assert (tmp_path / "breaks.tar").read_bytes() == CONTENT
    assert Handler.ranges == [None, "bytes=131072-", "bytes=196608-"], "whole blocks are kept"


def test_a_server_without_ranges_starts_again(server, tmp_path):
    fetch([file(server, "noranges")], tmp_path)
    assert (tmp_path / "noranges.tar").read_bytes() == CONTENT and Handler.asked["noranges"] == 3


def test_a_part_of_an_earlier_run_is_used(server, tmp_path):
    (tmp_path / "ok.tar.part").write_bytes(CONTENT[:1000])
    (tmp_path / "whole.tar.part").write_bytes(CONTENT)
    fetch([file(server, "ok"), file(server, "whole", bytes=None)], tmp_path)
    assert sorted(Handler.ranges) == ["bytes=1000-", "bytes=300000-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ok.tar", "whole.tar"]


def test_busy_servers_are_asked_again_and_dead_ones_given_up(server, tmp_path):
    fetch([file(server, "503")], tmp_path)
    assert Handler.asked["503"] == 3
    with pytest.raises(ValueError, match=r"6 tries failed \(HTTP 503 .*0 bytes are kept"):
        fetch([file(server, "dead")], tmp_path)


def test_refused_and_missing_files_are_all_named_and_the_others_come(server, tmp_path):
    signed = RemoteFile(f"{server}/403/cv.tar.gz?Signature=secret", "cv.tar.gz")
    with pytest.raises(ValueError) as error:
        fetch([signed, file(server, "404"), file(server, "ok")], tmp_path, jobs=1)
    said = str(error.value)
    assert (
        f"{server}/403/cv.tar.gz: HTTP 403 Forbidden. The address is refused: a signed link" in said
        and "secret" not in said
    )
    assert "404/a.tar: HTTP 404 Not Found. There is no such file" in said and "existing copy" in said
    assert [p.name for p in tmp_path.iterdir()] == ["ok.tar"]


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"md5": "0" * 32}, f"md5 {MD5}, expected 000"),
        ({"md5": None, "sha256": "1" * 64}, "sha256 .*, expected 111"),
        ({"bytes": 299_999}, "300000 bytes there, expected 299999"),
    ],
)
def test_what_is_not_the_published_file_is_not_kept(server, tmp_path, published, message):
    with pytest.raises(ValueError, match=message):
        fetch([file(server, "ok", **published)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_copy_that_is_wrong_is_named_and_left_to_its_owner(server, tmp_path):
    (tmp_path / "ok.tar").write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ValueError, match="ok.tar: md5 .* Remove it"):
        fetch([file(server, "ok")], tmp_path)
    assert not Handler.asked


def test_a_disk_that_is_too_small_is_refused_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(10**9, 10**9, 0))
    with pytest.raises(ValueError, match="needs 0.0 GB, its disk has 0.0 GB free"):
        fetch([file(server, "ok")], tmp_path)
    assert not Handler.asked
