"""Settings files: whatever is wrong with one, the error names it."""

from dataclasses import dataclass

import pytest

from speechlm.data.settings import fill, read_json, read_yaml


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...]
    rate: float = 1.0


def test_values_are_filled_and_wrong_ones_named():
    assert fill(Config, {"sizes": [1, 2], "rate": 3}, "c.yaml").rate == 3
    mistakes = {
        "no sizes": {},
        "unknown keys": {"sizes": [], "size": 1},
        "sizes is": {"sizes": [1.5]},
        "rate is True": {"sizes": [], "rate": True},
    }
    for message, values in mistakes.items():
        with pytest.raises(ValueError, match=f"c.yaml: {message}"):
            fill(Config, values, "c.yaml")
    with pytest.raises(ValueError, match="c.yaml: found a list"):
        fill(Config, [1], "c.yaml")


def test_damaged_files_are_refused_by_name(tmp_path):
    for read, contents in ((read_json, (b"{", b"\xff", b"[" * 100_000)), (read_yaml, (b"a: [", b"\xff", b"[" * 100_000, b"a: 2001-99-99"))):
        for content in contents:
            (tmp_path / "file").write_bytes(content)
            with pytest.raises(ValueError, match="file: cannot be read as"):
                read(tmp_path / "file")
        with pytest.raises(ValueError, match="gone: No such file"):
            read(tmp_path / "gone")


def test_a_small_file_that_stands_for_a_giant_one_is_refused_at_once(tmp_path):
    lines = ["rate: &a0 [x, x]"] + [f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)] + ["sizes: *a59"]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="c.yaml: unknown keys"):
        fill(Config, read_yaml(tmp_path / "c.yaml"), "c.yaml")
    values = {key: value for key, value in read_yaml(tmp_path / "c.yaml").items() if key == "sizes"}
    with pytest.raises(ValueError, match="sizes is"):
        fill(Config, values, "c.yaml")
