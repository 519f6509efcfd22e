"""bin/table_to_data: a table becomes a Kaldi directory, and every mistake in it is named."""

import sys
import time

import numpy as np
import pytest
import soundfile

from speechlm.bin.table_to_data import main, read_rows
from speechlm.data import kaldi


def convert(monkeypatch, tmp_path, table: str):
    (tmp_path / "train.tsv").write_text(table, encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["table_to_data", "--table", str(tmp_path / "train.tsv"), "--out", str(tmp_path / "train")]
    )
    main()
    return tmp_path / "train"


def test_a_parallel_table_becomes_a_valid_directory(monkeypatch, tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(800, np.float32), 16000)
    table = (
        'id\tspeaker\twav.es\ttext.es\twav.en\ttext.en\nu2\tana\ta.wav\t"hola\tb.wav\thello\nu1\tluis\tb.wav\tun'
        " día\ta.wav\ta day\n"
    )
    folder = convert(monkeypatch, tmp_path, table)
    assert kaldi.list_sides(folder) == ["en", "es"]
    assert kaldi.read_text(folder, "es") == {"u1": "un día", "u2": '"hola'}
    assert kaldi.read_audio(folder, "en")["u2"].path == str(tmp_path / "b.wav")
    assert kaldi.read_table(folder / "spk2utt") == {"ana": "u2", "luis": "u1"}


def test_a_table_of_text_needs_no_speaker(monkeypatch, tmp_path):
    folder = convert(monkeypatch, tmp_path, "id\ttext.en\nu1\thello\n")
    assert {p.name for p in folder.iterdir()} == {"text.en"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "found the columns []"),
        ("id\tspeaker\taudio\n", "found the columns ['id', 'speaker', 'audio']; expected id, speaker, wav"),
        ("id,text\nu1,hello\n", "separated by tabs"),
        ("id\twav\nu1\ta.wav\n", "found audio without a speaker column"),
        ("id\ttext\nu1\thello\textra\n", "train.tsv:2: expected 2 tab-separated fields"),
        ("id\ttext\nu1\n", "train.tsv:2: expected 2 tab-separated fields"),
        ("id\ttext\nu1\ta\nu1\tb\n", "the id u1 occurs twice"),
        ("id\ttext\n../u1\ta\n", "cannot name a file"),
        ("id\ttext\n", "found a header line only"),
    ],
)
def test_mistakes_are_named(monkeypatch, tmp_path, table, message):
    with pytest.raises(ValueError) as error:
        convert(monkeypatch, tmp_path, table)
    assert message in str(error.value)


def test_a_missing_table_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["table_to_data", "--table", str(tmp_path / "none.tsv"), "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="no such table"):
        main()


def test_a_table_in_another_encoding_names_line_and_command(monkeypatch, tmp_path):
    rows = ["id\ttext\n", "u1\thola\n", "u2\tse\xf1or\n"]
    for encoding, message in (
        ("latin-1", r"train.tsv:3: not UTF-8 \(byte 0xf1\).*iconv -f WINDOWS-1252"),
        ("utf-16", r"train.tsv:1: UTF-16 text.*iconv -f UTF-16 "),
    ):
        (tmp_path / "train.tsv").write_bytes("".join(rows).encode(encoding))
        with pytest.raises(ValueError, match=message):
            read_rows(tmp_path / "train.tsv")
    (tmp_path / "train.tsv").write_bytes("".join(rows).encode("utf-8-sig"))
    assert [row["id"] for row in read_rows(tmp_path / "train.tsv")] == ["u1", "u2"]


def test_a_path_with_blanks_and_a_language_with_a_region_are_kept(monkeypatch, tmp_path):
    folder = convert(
        monkeypatch, tmp_path, "id\tspeaker\twav.zh-CN\ttext.zh-CN\nu1\tana\tone  two\u00a0three.wav\t\u4f60\u597d\n"
    )
    assert kaldi.read_audio(folder, "zh-CN")["u1"].path == f"{tmp_path}/one  two\u00a0three.wav"


def test_a_repeated_id_of_a_large_table_is_found_at_once(monkeypatch, tmp_path):
    rows = [f"u{i}\thello\n" for i in range(40_000)]
    start = time.process_time()
    with pytest.raises(ValueError, match="train.tsv:40002: the id u39999 occurs twice, first in line 40001"):
        convert(monkeypatch, tmp_path, "id\ttext\n" + "".join(rows) + rows[-1])
    assert time.process_time() - start < 5
