"""What the corpora share: archives from a server, and parts of one archive."""

import functools
import hashlib
import http.server
import tarfile
import threading

import pytest

from speechlm.data.corpora import aishell, cvss, gigast, librispeech, mls, text
from speechlm.data.corpora.sets import obtain, read_tsv
from speechlm.data.kaldi import read_table
from speechlm.data.plaintext import read_plain
from tests.corpora.covost2 import make_covost2
from tests.corpora.gigast import make_gigaspeech
from tests.corpora.mls import make_mls


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a folder, served."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "served"
        running.shutdown()


def test_a_signed_link_is_fetched_and_unpacked_once(server, tmp_path):
    address, folder = server
    archive = make_covost2(folder)
    for _ in range(2):
        found = obtain(
            f"{address}/{archive.name}?signature=secret", "covost_v2.es_en.tsv.tar.gz", tmp_path / "downloads"
        )
        assert [path.name for path in found.iterdir()] == ["covost_v2.es_en.tsv"]
        archive.unlink(missing_ok=True)  # the second time nothing is asked for


def test_the_parts_of_gigas2s_are_joined(server, tmp_path, monkeypatch):
    address, folder = server
    speech, translations, spoken = make_gigaspeech(tmp_path)
    content = spoken.read_bytes()
    for i, half in enumerate((content[: len(content) // 2], content[len(content) // 2 :])):
        (folder / f"train.tar.gz.split.{i:02d}").write_bytes(half)
    monkeypatch.setattr(gigast, "GIGAS2S", address + "/train.tar.gz.split.{:02d}")
    monkeypatch.setattr(gigast, "GIGAS2S_PARTS", 2)
    monkeypatch.setattr(gigast, "GIGAST", f"{address}/GigaST.zh.json")
    translations.rename(folder / "GigaST.zh.json")
    gigast.prepare(
        gigast.Options(str(speech), "", "fetch", "XL", 0, tmp_path / "downloads", tmp_path / "data", partial=True)
    )
    assert len(read_table(tmp_path / "data/train/wav.scp.zh")) == 4


def test_archives_are_compared_with_published_checksums(server, tmp_path, monkeypatch):
    address, folder = server
    place = make_mls(tmp_path / "mls")
    with tarfile.open(folder / "mls_polish_opus.tar.gz", "w:gz") as tar:
        tar.add(place / "mls_polish_opus", "mls_polish_opus")
    monkeypatch.setattr(mls, "ADDRESS", f"{address}/")

    def prepare(name, md5):
        (folder / "md5sum.txt").write_text(f"{md5}  mls_polish_opus.tar.gz\n{'0' * 32}  mls_dutch_opus.tar.gz\n")
        mls.prepare(mls.Options("pl", "opus", "", tmp_path / name, tmp_path / "data", partial=True))

    with pytest.raises(
        ValueError,
        match=f"md5 [0-9a-f]+, expected {'f' * 32}. It came from {address}/mls_polish_opus.tar.gz and is removed",
    ):
        prepare("wrong", "f" * 32)
    prepare("right", hashlib.md5((folder / "mls_polish_opus.tar.gz").read_bytes()).hexdigest())
    assert len(read_table(tmp_path / "data/train_pl/wav.scp.pl")) == 3
    for path in (folder / "mls_polish_opus.tar.gz", tmp_path / "right/mls_polish_opus.tar.gz"):
        path.unlink()
    prepare("right", "0" * 32)  # what is unpacked needs no archive


def test_a_table_of_another_kind_is_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('path\ttext\na\t"quoted\nb\twith a \\\ttab\n')
    assert read_tsv(path, ["text"]) == [{"text": '"quoted'}, {"text": "with a \ttab"}]
    path.write_text("path\ttext\na\tone\ttoo many\n")
    with pytest.raises(ValueError, match="1 rows do not have 2 cells .line 2."):
        read_tsv(path, ["text"])
    with pytest.raises(ValueError, match="no column split; found path, text"):
        read_tsv(path, ["split"])


READERS = {  # a reader of a corpus's own text -> what it makes of the line `a-1-2 words`
    "librispeech": lambda path: librispeech.read_transcripts(path),
    "aishell": lambda path: aishell.read_texts(path),
    "cvss": lambda path: cvss.read_texts(path),
    "text": lambda path: list(text.read_texts(path)),
    "table": lambda path: read_tsv(path, ["a-1-2 first"]),
    "plain": read_plain,
}


@pytest.mark.parametrize("name", READERS)
def test_text_in_another_encoding_names_file_line_and_command(tmp_path, name):
    path = tmp_path / "one blank.txt"
    content = "a-1-2 first\na-1-3 na\xefve\n"
    for encoding, line, found, command in (
        ("latin-1", 2, "not UTF-8 .byte 0xef.", "-f WINDOWS-1252"),
        ("utf-16", 1, "UTF-16 text", "-f UTF-16"),
    ):
        path.write_bytes(content.encode(encoding))
        with pytest.raises(
            ValueError,
            match=f"{path}:{line}: {found}; expected UTF-8 text.*iconv {command} -t UTF-8 '{path}' > '{path}'.utf8",
        ):
            READERS[name](path)
    path.write_bytes(content.encode("utf-8-sig"))
    with_mark = READERS[name](path)
    path.write_bytes(content.encode())
    assert READERS[name](path) == with_mark and "\ufeff" not in str(with_mark)
