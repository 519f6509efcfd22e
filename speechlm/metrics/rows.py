"""Rows of results: what every scoring command writes to its `score.json`, and how they are read back."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Iterable

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json


@dataclass(frozen=True)
class Row:
    """One figure: which model, on what, how much, over how many utterances, computed how."""

    model: str
    task: str
    test_set: str
    metric: str
    value: float
    n: int
    signature: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float) if field.type is float else field.type) or isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}; expected {field.type.__name__}")

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.task, self.test_set, self.metric, self.model


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, whole or not at all."""
    with atomic_write(path) as stream:
        json.dump([asdict(row) for row in rows], stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def read_rows(path: str | Path) -> list[Row]:
    """Return the rows of a score.json; raise ValueError if it is missing or not a list of rows."""
    try:
        return [Row(**fields) for fields in read_json(path)]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a list of result rows ({error}). Delete it and score again: python -m speechlm.bin.score") from None
