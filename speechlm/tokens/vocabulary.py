"""One id space for text, special tokens and codes, saved beside each model and checked on every load.

    [0, text_size)                    the text tokens of the LLM, exactly its own ids (padding rows included)
    [text_size, codes_start)          named special tokens
    [codes_start + offset_k, ...)     codes of codebook k

A row of a sequence has the pattern's columns: one for each codebook, or a single one. A text or special token stands in
column 0, the other columns hold `pad_id`. Which codes a row of speech holds is up to the pattern.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from speechlm.data.files import atomic_write
from speechlm.data.settings import read_json
from speechlm.tokens.patterns import get_pattern

PAD, TEXT_START, TEXT_END, SPEECH_START, SPEECH_END = "<pad>", "<text>", "</text>", "<speech>", "</speech>"
BOUNDARIES = (PAD, TEXT_START, TEXT_END, SPEECH_START, SPEECH_END)


@dataclass(frozen=True)
class Vocabulary:
    """Sizes, names and origins of all ids. `specials` are in id order; languages and tasks are among them."""

    text_size: int
    specials: tuple[str, ...]
    codebook_sizes: tuple[int, ...]
    pattern: str
    text_fingerprint: str
    codec_fingerprint: str

    @property
    def num_codebooks(self) -> int:
        return len(self.codebook_sizes)

    @property
    def num_columns(self) -> int:
        return get_pattern(self.pattern).columns(self.num_codebooks)

    @cached_property
    def special_ids(self) -> dict[str, int]:
        return {name: self.text_size + i for i, name in enumerate(self.specials)}

    def special_id(self, name: str) -> int:
        """Return a special token's id; ValueError if the model was trained without it."""
        if name not in self.special_ids:
            raise ValueError(
                f"vocabulary: no special token {name}; it has {', '.join(self.specials)}. Expected a task and a"
                " language that the model was trained with; train with --langs and --tasks that name them."
            )
        return self.special_ids[name]

    @property
    def pad_id(self) -> int:
        return self.special_ids[PAD]

    @property
    def speech_ends(self) -> tuple[int, ...]:
        """What stands in column 0 between the last code of a segment of speech and what follows the segment."""
        end = self.special_id(SPEECH_END)
        return (self.pad_id, end) if get_pattern(self.pattern).COLUMN_0_ENDS_FIRST else (end,)

    @property
    def codes_start(self) -> int:
        return self.text_size + len(self.specials)

    @cached_property
    def codebook_starts(self) -> tuple[int, ...]:
        """The first id of each codebook."""
        return tuple(accumulate(self.codebook_sizes[:-1], initial=self.codes_start))

    @property
    def size(self) -> int:
        return self.codes_start + sum(self.codebook_sizes)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any id, with the text model or with the codec."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        with atomic_write(path) as stream:
            json.dump(asdict(self) | {"fingerprint": self.fingerprint}, stream, indent=1, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read `vocab.json`; ValueError if it is missing or its content doesn't give its fingerprint."""
        try:
            content = dict(read_json(path))
            stored = content.pop("fingerprint")
            vocabulary = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: not a vocabulary ({error}). Expected the vocab.json of a trained model."
            ) from None
        if stored != vocabulary.fingerprint:
            raise ValueError(
                f"{path}: its content has the fingerprint {vocabulary.fingerprint}, but it states {stored}: "
                "the file was edited. Restore it, or train the model again."
            )
        return vocabulary


def make_vocabulary(text, codec, tasks: list[str], languages: list[str], pattern: str) -> Vocabulary:
    """Lay out the id space for a text tokenizer, a codec, task names and languages (their order is kept)."""
    specials = (*BOUNDARIES, *(f"<{task}>" for task in tasks), *(f"<{lang}>" for lang in languages))
    sizes = (codec.codebook_size,) * codec.num_codebooks
    return Vocabulary(text.size, specials, sizes, pattern, text.fingerprint, codec.fingerprint)
