"""Rows of results: what every scoring command writes to its `score.json`, and how they are read back.

Beside each score.json of texts or speech lies `utterances.jsonl`, one utterance a line, sorted by id: the hypothesis,
the reference, and the value of each metric for it alone. If recognition is scored in several languages, there is one
line per id and language.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Iterable

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json

UTTERANCES = "utterances.jsonl"
NOT_ENDED = "not_ended"  # of an utterance: the output was cut at max_rows; in a signature: how many were
SENTENCES = "sentences.jsonl"  # the same for perplexity: nothing was said
RESCORE = "Delete it and score again: python -m speechlm.bin.score"


@dataclass(frozen=True)
class Row:
    """One figure: which model, on what, how much, over how many utterances, computed how.

    Figures can be compared if their `protocol` is the same: metric, normaliser, recogniser. `signature` is everything
    known: the protocol's name, the protocol, the codec, the decoding. `low` and `high` bound the 95 % confidence
    interval.
    """

    model: str
    task: str
    test_set: str
    metric: str
    value: float
    n: int
    signature: str
    low: float | None = None
    high: float | None = None
    protocol: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            allowed = (field.type, int) if field.type is float else field.type
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}; expected {getattr(field.type, '__name__', field.type)}")

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
        raise ValueError(f"{path}: not a list of result rows ({error}). {RESCORE}") from None


def write_lines(path: str | Path, lines: Iterable[dict]) -> None:
    """Write the utterances (dicts with "id" and "lang"), sorted by id, whole or not at all."""
    with atomic_write(path) as stream:
        for line in sorted(lines, key=lambda line: (line["id"], line["lang"])):
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_lines(path: str | Path) -> list[dict]:
    """Return the utterances of an utterances.jsonl; raise ValueError if it is missing or damaged."""
    try:
        lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(line["id"], str) and isinstance(line["lang"], str) for line in lines):
            raise ValueError("id and lang are texts")
        return lines
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no list of utterances ({error}). {RESCORE}") from None
