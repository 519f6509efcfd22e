"""The digits corpus: the official split and speaker-first ids."""

import importlib.util
import io
import tarfile
from pathlib import Path

import pytest

from speechlm.data.kaldi import write_data_dir

SCRIPT = Path(__file__).parents[2] / "egs/fsdd/local/make_data.py"
spec = importlib.util.spec_from_file_location("make_data", SCRIPT)
make_data = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_data)


@pytest.fixture
def archive(tmp_path):
    """An archive with all digits of one speaker."""
    with tarfile.open(tmp_path / "recordings.tar.gz", "w:gz") as tar:
        for name in [f"recordings/{d}_theo_{i}.wav" for d in range(10) for i in range(50)]:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return tmp_path


def test_split_and_ids(archive):
    recordings = make_data.find_recordings(archive, archive / "downloads" / "fsdd")
    assert len(list(archive.rglob("*.wav"))) == 500
    tables = make_data.make_tables(recordings)
    assert {name: len(t["text"]) for name, t in tables.items()} == {"test": 50, "dev": 50, "train": 400}
    assert tables["test"]["text"]["theo-7-04"] == "seven"
    write_data_dir(archive / "data", tables["dev"])
    assert (archive / "data/utt2spk").read_text().startswith("theo-0-05 theo\n")


def test_missing_recordings_are_named(archive):
    recordings = make_data.find_recordings(archive, archive / "downloads" / "fsdd")
    (recordings / "3_theo_8.wav").unlink()
    with pytest.raises(ValueError, match="1 recordings missing .*3_theo_8.wav"):
        make_data.make_tables(recordings)


def test_a_folder_without_the_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither recordings/ nor recordings.tar.gz"):
        make_data.find_recordings(tmp_path, tmp_path / "downloads")
    (tmp_path / "recordings.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="Delete it and download it again"):
        make_data.find_recordings(tmp_path, tmp_path / "downloads")
