"""From utterances to examples: which utterances a task can use, and the sequence of each."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from speechlm.data.codes import require_codec
from speechlm.data.manifest import Record, Records, read_codes
from speechlm.tasks import Task
from speechlm.tokens.patterns import get_pattern
from speechlm.tokens.sequence import (
    Segment,
    Sequence,
    frames_segment,
    join,
    plain_text_segment,
    special_segment,
    speech_segment,
    text_segment,
)
from speechlm.tokens.text import TextTokenizer
from speechlm.tokens.vocabulary import SPEECH_END, SPEECH_START, TEXT_START, Vocabulary

Part = tuple[
    str, str | np.ndarray | None
]  # of an example: kind (text, speech, prompt), and the text, its ids, or codes_TK; no prompt: None


@dataclass(frozen=True)
class Item:
    """One utterance used for one task, from language `src` to language `tgt` (equal for tasks of one language)."""

    task: Task
    record: Record
    src: str
    tgt: str

    def side(self, part: str) -> tuple[str, str]:
        """Return (kind, language) of a part such as `speech:src`."""
        kind, side = part.split(":")
        return kind, self.src if side == "src" else self.tgt


class Items(Many[Item]):
    """The items of a task: the utterances that are complete, once for each pair of languages. Only numbers are kept."""

    def __init__(self, task: Task, records: Records, pairs: list[tuple[str, str]]):
        self.task, self._records, self._pairs = task, records, pairs
        self._complete = [records.complete(_needs(task, src, tgt)) for src, tgt in pairs]
        self._ends = list(accumulate(map(len, self._complete)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = bisect_right(self._ends, index)
        number = self._complete[which][index - self._ends[which]]  # counted from the end, which is the same place
        return Item(self.task, self._records[int(number)], *self._pairs[which])

    def locate(self, index_M: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[str, str]]]:
        """Yield, for each pair of languages: which of M items are of it, the numbers of their utterances, and
        the pair.
        """
        which_M = np.searchsorted(self._ends, index_M, side="right")
        for which in np.unique(which_M):
            here_P = np.flatnonzero(which_M == which)
            place_P = index_M[here_P] - self._ends[which] + len(self._complete[which])
            complete = self._complete[which]
            yield (
                here_P,
                place_P if isinstance(complete, range) else complete[place_P].astype(np.int64),
                self._pairs[which],
            )

    @property
    def records(self) -> Records:
        return self._records

    def count_alone(self, records: Records) -> int:
        """Return of how many items the voice has but one recording in `records`."""
        total = 0
        for (src, tgt), complete in zip(self._pairs, self._complete):
            lang = next(
                src if side == "src" else tgt
                for kind, side in (part.split(":") for part in self.task.condition)
                if kind == "prompt"
            )
            known, counts = np.unique(records.voices(lang)[1], return_counts=True)
            numbers, voice = self._records.voices(lang)
            alone = numbers[np.isin(voice, known[counts == 1])]
            total += int(np.isin(alone, np.asarray(complete)).sum())
        return total


def _needs(task: Task, src: str, tgt: str) -> list[tuple[str, str]]:
    """Return what an utterance must have: (text or codes, language)."""
    parts = [part.split(":") for part in task.parts]
    return [("text" if kind == "text" else "codes", src if side == "src" else tgt) for kind, side in parts]


def list_items(task: Task, records: Records, pairs: list[tuple[str, str]]) -> Items:
    """Return an item per record and language (task of one language) or translation pair, where it is complete."""
    return Items(task, records, pairs)


def keep_listed(items: Many[Item]) -> Many[Item]:
    """Return the items that a test set lists to be synthesised; all, if it lists none or the task has no voice
    prompt.
    """
    listed = [item for item in items if item.record.prompt and item.task.prompted]
    return listed or items


def keep_prompted(items: Many[Item], prompts: "PromptIndex") -> Many[Item]:
    """Return the items of a test set whose voice has another recording, to be shown as a prompt; all, if there is none
    of them.

    A test set whose speakers have one recording each is thus synthesised without prompts, and no score mixes the two.
    """
    kept = [item for item in items if not item.task.prompted or prompts.for_item(item, 0) is not None]
    return items if len(kept) in (0, len(items)) else kept


class PromptIndex:
    """Finds another utterance by the same speaker, to show the voice; of a test set that lists prompts, the one listed.

    It is never the utterance itself, which would show the model what to say: a voice without another recording has no
    prompt. (A test set that lists an utterance as its own prompt has it continued: `ExampleBuilder.beginning`.)
    Training ignores such lists.
    """

    def __init__(self, records: Records, listed: bool = True):
        self._records, self._listed = records, listed

    @cached_property
    def _place(self) -> dict[str, int]:
        """Where each utterance is; needed only of a test set that lists prompts."""
        return {record.id: place for place, record in enumerate(self._records)}

    def for_item(self, item: Item, number: int) -> Record | None:
        """Return the `number`-th prompt for an item, in the language that it speaks; None if it has none."""
        lang = next((item.side(part)[1] for part in item.task.condition if part.startswith("prompt")), None)
        if lang and item.record.prompt and self._listed:
            return self._records[self._place[item.record.prompt]]
        return self.find(item.record, lang, number) if lang else None

    def find(self, record: Record, lang: str, number: int) -> Record | None:
        """Return the `number`-th utterance (modulo) of the voice in `lang`, or the next one that is not `record`; None
        if there is none.
        """
        others = self._records.of_voice(record.speaker, lang)
        turned = (others[(number + i) % len(others)] for i in range(len(others)))
        return next((other for other in turned if other.id != record.id), None)

    def frames(self, records: Records, number_M: np.ndarray, lang: str, turn_M: np.ndarray) -> np.ndarray:
        """Return the frames that `find` would find for some utterances of `records`; -1: none."""
        return self._records.other_frames(*records.digests(number_M), lang, turn_M)

    def alone(self, items: Items) -> int:
        """Return how many items of a task have no prompt, since their voice has no other recording."""
        return items.count_alone(self._records) if items.task.prompted else 0


@dataclass
class ExampleBuilder:
    """Builds sequences. `prompt_frames` is the length of a voice prompt, in codec frames. Without a prompt, its place
    is empty.
    """

    vocab: Vocabulary
    text: TextTokenizer
    prompt_frames: int
    checked: set[Path] = field(default_factory=set)  # whose codec is checked

    def rows(self, task: Task, sizes_PM: list[np.ndarray]) -> np.ndarray:
        """Return the rows of M examples of a task, from the sizes of its parts: tokens of a text, frames of speech, of
        a prompt before it is cut
        (-1: there is none).
        """
        if task.plain:
            return sum(sizes + 1 for sizes in sizes_PM) + (self.text.bos_id is not None)
        return 2 + sum(
            2 + self._inner_rows(part.split(":")[0], sizes) for part, sizes in zip(task.parts, sizes_PM, strict=True)
        )

    def sequence(self, item: Item, prompt: Record | None, number: int, condition_weight: float) -> Sequence:
        """Build the whole example: condition, prompt and target. `number` decides where the prompt is cut."""
        if item.task.plain:
            return join([plain_text_segment(self._plain_ids(item), self.vocab)], condition_weight, item.task.name)
        parts = [self._part(item, part, prompt, number) for part in item.task.condition]
        segments = condition_segments(item.task, item.tgt, parts, self.vocab, self.text)
        target = part_segments(self._part(item, item.task.target, prompt, number), self.vocab, self.text, target=True)
        return join(segments + target, condition_weight, item.task.name)

    def prefix(self, item: Item, prompt: Record | None) -> np.ndarray:
        """Build ids_TK up to and including the start token of the target, and its given beginning: what decoding is
        given.
        """
        parts = [self._part(item, part, prompt, number=0) for part in item.task.condition]
        return build_prefix(item.task, item.tgt, parts, self.vocab, self.text, self.beginning(item))

    def beginning(self, item: Item) -> np.ndarray | None:
        """Return the codes_TK of the beginning that decoding is to continue: of an utterance that is its own prompt."""
        if not (item.task.prompted and item.record.prompt == item.record.id):
            return None
        return self._codes(item.record, item.side(item.task.target)[1])[: self.prompt_frames]

    def _part(self, item: Item, part: str, prompt: Record | None, number: int) -> Part:
        """Return a part's kind and its text or codes_TK; a prompt is cut to its length."""
        kind, lang = item.side(part)
        if kind == "text":
            return kind, item.record.ids.get(lang, item.record.text[lang])
        if kind == "prompt":
            return kind, None if prompt is None else self._cut(self._codes(prompt, lang), number)
        return kind, self._codes(item.record, lang)

    def _codes(self, record: Record, lang: str) -> np.ndarray:
        """Return the codes_TK of an utterance; ValueError if they are damaged, or of another codec than the model's."""
        ref = record.codes[lang]
        if ref.ark.parent not in self.checked:
            require_codec(ref.ark.parent, self.vocab.codec_fingerprint)
            self.checked.add(ref.ark.parent)
        try:
            return read_codes(ref)
        except ValueError as error:
            raise ValueError(f"utterance {record.id} ({lang}): {error}") from None

    def _cut(self, codes_TK: np.ndarray, number: int) -> np.ndarray:
        spare = len(codes_TK) - self.prompt_frames
        start = stable_hash(number, "cut") % (spare + 1) if spare > 0 and number else 0
        return codes_TK[start : start + self.prompt_frames]

    def _inner_rows(self, kind: str, sizes_M: np.ndarray) -> np.ndarray:
        if kind == "text":
            return sizes_M
        frames_M = sizes_M if kind == "speech" else sizes_M.clip(0, self.prompt_frames)
        return get_pattern(self.vocab.pattern).rows(frames_M, self.vocab.num_codebooks)

    def _plain_ids(self, item: Item) -> list[int]:
        """<bos> text <eos>, and for a pair the translation and <eos> once more: the LLM's own tokens only."""
        ids = [] if self.text.bos_id is None else [self.text.bos_id]
        for part in item.task.parts:
            _, lang = item.side(part)
            record = item.record
            ids += [
                *(record.ids[lang] if lang in record.ids else self.text.encode(record.text[lang])),
                self.text.eos_id,
            ]
        return ids


def build_prefix(
    task: Task,
    lang: str,
    parts: list[Part],
    vocab: Vocabulary,
    text: TextTokenizer,
    beginning_TK: np.ndarray | None = None,
) -> np.ndarray:
    """Return ids_TK of what decoding is given: the condition, the start token of the target, and the target's beginning
    if it has one.
    """
    start = SPEECH_START if task.speaks else TEXT_START
    segments = [*condition_segments(task, lang, parts, vocab, text), special_segment([start], vocab)]
    if beginning_TK is not None:
        segments.append(frames_segment(beginning_TK, vocab))
    return join(segments, condition_weight=0).ids_TK


def condition_segments(
    task: Task, lang: str, parts: list[Part], vocab: Vocabulary, text: TextTokenizer
) -> list[Segment]:
    """Return <task> <language of the target> and the parts of the condition."""
    return [
        special_segment([f"<{task.name}>", f"<{lang}>"], vocab),
        *(s for part in parts for s in part_segments(part, vocab, text)),
    ]


def part_segments(part: Part, vocab: Vocabulary, text: TextTokenizer, target: bool = False) -> list[Segment]:
    """Return the segments of a text, or of codes; of a prompt that isn't there, an empty one."""
    kind, value = part
    if value is None:
        return [special_segment([SPEECH_START, SPEECH_END], vocab)]
    if kind == "text":
        return text_segment(text.encode(value) if isinstance(value, str) else value, vocab, target)
    return speech_segment(value, vocab, target)


def stable_hash(*parts) -> int:
    """Return a 63-bit number that depends on the parts alone, not on the process or the Python version."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
