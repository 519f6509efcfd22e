"""What the corpora share: archives from a server, and parts of one archive."""

import functools
import http.server
import threading

import pytest

from speechlm.data.corpora import gigast
from speechlm.data.corpora.sets import obtain, read_tsv
from speechlm.data.kaldi import read_table
from tests.corpora.covost2 import make_covost2
from tests.corpora.gigast import make_gigaspeech


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
        found = obtain(f"{address}/{archive.name}?signature=secret", "covost_v2.es_en.tsv.tar.gz", tmp_path / "downloads")
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
    gigast.prepare(gigast.Options(str(speech), "", "fetch", "XL", 0, tmp_path / "downloads", tmp_path / "data", partial=True))
    assert len(read_table(tmp_path / "data/train/wav.scp.zh")) == 4


def test_a_table_of_another_kind_is_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('path\ttext\na\t"quoted\nb\twith a \\\ttab\n')
    assert read_tsv(path, ["text"]) == [{"text": '"quoted'}, {"text": "with a \ttab"}]
    path.write_text("path\ttext\na\tone\ttoo many\n")
    with pytest.raises(ValueError, match="1 rows do not have 2 cells .line 2."):
        read_tsv(path, ["text"])
    with pytest.raises(ValueError, match="no column split; found path, text"):
        read_tsv(path, ["split"])
