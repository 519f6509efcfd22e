"""Published figures are those of their artefacts: nobody typed them."""

import sys
from pathlib import Path

import pytest

from speechlm.bin import publish
from speechlm.metrics.rows import Row, read_rows, write_rows

ROOT = Path(__file__).resolve().parents[2]
MARKS = (publish.OPENED, publish.FIGURE)
PAGES = [
    page
    for page in (ROOT / "README.md", *ROOT.glob("egs/**/*.md"), *ROOT.glob("speechlm/assets/*/README.md"))
    if any(mark.search(page.read_text("utf-8")) for mark in MARKS)
]


def test_published_tables_are_those_of_their_artefacts():
    assert {ROOT / "egs/mini_cvss/RESULTS.md", ROOT / "egs/fsdd/RESULTS.md"} <= set(PAGES)
    for page in PAGES:
        assert publish.published(page) == page.read_text(encoding="utf-8"), f"python -m speechlm.bin.publish {page}"


def test_n_is_the_number_of_utterances_of_the_row():
    """Once, the seconds of a stage stood there, in every row of sft."""
    rows = read_rows(ROOT / "egs/mini_cvss/espeak/results.json")
    sizes = {(row.test_set, row.n) for row in rows if row.task != "lm_eval"}
    assert all(n == (400 if "+" in test_set else 200) for test_set, n in sizes)


def test_a_run_fills_the_pages(tmp_path, monkeypatch):
    rows = [
        Row("sft", "s2tt", "test", "BLEU", 93.94, 200, "x", 91.0, 95.0),
        Row("codec reconstruction", "tts", "test", "WER", 2.5, 200, "y"),
    ]
    write_rows(tmp_path / "exp/results.json", rows)
    page, other = tmp_path / "RESULTS.md", tmp_path / "README.md"
    page.write_text("# A\n\n<!-- results: results.json -->\nold 661\n<!-- end of results -->\n\nend\n")
    other.write_text(
        "BLEU 1.0<!-- results.json s2tt test BLEU sft -->, WER 0<!-- results.json tts test WER codec reconstruction"
        " -->\n"
    )
    monkeypatch.setattr(sys, "argv", ["publish", "--run", str(tmp_path / "exp/results.json"), str(page), str(other)])
    publish.main()
    assert (
        "| s2tt | test | BLEU | sft | 93.94 | 91.00 to 95.00 | 200 | [1] |" in page.read_text()
        and "661" not in page.read_text()
    )
    assert other.read_text().startswith("BLEU 93.9<!--") and "WER 2<!--" in other.read_text()
    assert read_rows(tmp_path / "results.json") == rows and publish.published(page) == page.read_text()
    for text, message in (
        ("1<!-- results.json asr test WER sft -->", "asr / test / WER / sft is no row of"),
        ("<!-- results: results.json -->\n", "no place for figures"),
        ("<!-- results: results.json -->\n1<!-- results.json s2tt test BLEU sft -->", "a table that does not end"),
    ):
        page.write_text(text)
        with pytest.raises(ValueError, match=message):
            publish.published(page)
