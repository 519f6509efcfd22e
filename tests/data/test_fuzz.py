"""A few hundred damaged inputs for every reader; tests/long/fuzz_readers.py tries a hundred thousand."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "long/fuzz_readers.py"
INPUTS = 200  # for each reader, besides the valid files


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fuzz_readers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_readers"]


def test_damaged_files_are_read_or_refused_by_name(script, tmp_path):
    readers = script.make_readers(tmp_path)
    findings = [finding for reader in readers if (finding := script.fuzz(reader, INPUTS, seed=0)[1])]
    assert len(readers) == 20 and findings == []


def test_the_fuzzer_notices_a_wrong_exception_a_silent_error_and_a_hang(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SECONDS_PER_INPUT", 0.05)

    def reader(read):
        return script.Reader(
            "r", tmp_path / "file", [b"good"], (b"x",), lambda path: path.read_bytes() == b"good" or read(path), 10
        )

    def hang(path):
        while True:
            pass

    for read, message in (
        (lambda path: {}["x"], "KeyError"),
        (lambda path: int("x"), "does not name file"),
        (hang, "more than"),
    ):
        assert message in script.fuzz(reader(read), 10, seed=0)[1]
