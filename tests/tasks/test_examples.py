"""Examples: what each task is given, where its loss counts, and which utterances it can use."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from speechlm.data.codes import write_archive
from speechlm.data.manifest import load_manifest, write_manifest
from speechlm.tasks import TASKS, get_task
from speechlm.tasks.examples import ExampleBuilder, Item, PromptIndex, keep_listed, keep_prompted, list_items
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary

VOCAB = Vocabulary(100, (*BOUNDARIES, *(f"<{name}>" for name in TASKS), "<es>", "<en>"), (8, 8), "parallel", "t", "c")


class Words:
    """A tokenizer whose ids are word lengths."""

    size, bos_id, eos_id, fingerprint, key = 100, 1, 2, "t", "words"

    def encode(self, text: str) -> list[int]:
        return [10 + len(word) for word in text.split()]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return list(map(self.encode, texts))


def manifest_line(key: str, text: dict, codes: dict) -> dict:
    return {"id": key, "speaker": "v", "text": text, "codes": codes}


@pytest.fixture
def lines(tmp_path) -> list[dict]:
    codes = {f"{key}.{lang}": np.full((frames, 2), number) for number, (key, lang, frames) in enumerate(
        [("a", "es", 3), ("a", "en", 4), ("b", "es", 5), ("b", "en", 6)]
    )}  # fmt: skip
    offsets = write_archive(tmp_path / "codes.ark", {k: v.astype(np.int32) for k, v in codes.items()})
    text = {"a": {"es": "hola mundo", "en": "hello world"}, "b": {"es": "adiós", "en": "good bye now"}}
    refs = {
        key: {lang: [f"codes.ark:{offsets[f'{key}.{lang}']}", len(codes[f"{key}.{lang}"])] for lang in ("es", "en")}
        for key in "ab"
    }
    return [manifest_line(key, text[key], refs[key]) for key in "ab"]


@pytest.fixture
def records(lines, tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", lines)
    return load_manifest(tmp_path / "manifest.jsonl")


def names(ids_TK) -> list:
    by_id = {number: name for name, number in VOCAB.special_ids.items()}
    return [by_id.get(int(i), "code" if i >= VOCAB.codes_start else int(i)) for i in ids_TK[:, 0]]


def build(records, task: str, src: str, tgt: str, condition_weight: float = 0.0):
    item = Item(get_task(task), records[0], src, tgt)
    builder, prompt = ExampleBuilder(VOCAB, Words(), prompt_frames=2), records[1]
    sequence = builder.sequence(item, prompt, 0, condition_weight)
    return sequence, builder.prefix(item, prompt)


def test_asr(records):
    sequence, prefix = build(records, "asr", "es", "es")
    expected = ["<asr>", "<es>", "<speech>", *["code"] * 3, "</speech>", "<text>", 14, 15, "</text>"]
    assert names(sequence.ids_TK) == expected
    assert sequence.loss_T.tolist() == [0] * 8 + [1] * 3
    assert names(prefix) == expected[:8]


def test_tts_is_given_the_text_and_another_utterance_of_the_voice(records):
    sequence, _ = build(records, "tts", "en", "en")
    assert names(sequence.ids_TK) == [
        "<tts>", "<en>", "<text>", 15, 15, "</text>", "<speech>", "code", "code", "</speech>", "<speech>",
        *["code"] * 4, "</speech>",
    ]  # fmt: skip
    assert sequence.ids_TK[7, 0] == VOCAB.codebook_starts[0] + 3, "the prompt is the English of the other record"
    assert sequence.loss_T.tolist() == [0] * 11 + [1] * 5


def test_s2st_uses_no_text(records):
    sequence, _ = build(records, "s2st", "es", "en")
    assert "<text>" not in names(sequence.ids_TK)
    assert names(sequence.ids_TK)[:2] == ["<s2st>", "<en>"]


def test_text_examples_are_the_llms_own(records):
    sequence, _ = build(records, "lm", "es", "es", condition_weight=1.0)
    assert names(sequence.ids_TK) == [1, 14, 15, 2]
    assert sequence.loss_T.tolist() == [0, 1, 1, 1]


def test_every_row_but_the_first_counts_in_the_papers_cpt(records):
    sequence, _ = build(records, "asr", "es", "es", condition_weight=1.0)
    assert sequence.loss_T.tolist() == [0] + [1] * 10


def test_an_utterance_that_lacks_a_part_is_not_listed(lines, tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", [*lines, manifest_line("c", {"es": "x", "en": "y"}, {})])
    records = load_manifest(tmp_path / "manifest.jsonl")
    assert [i.record.id for i in list_items(get_task("s2tt"), records, [("es", "en")])] == ["a", "b"]
    items = list_items(get_task("lm"), records, [("es", "es"), ("en", "en")])
    assert [(i.record.id, i.src) for i in items] == [
        ("a", "es"),
        ("b", "es"),
        ("c", "es"),
        ("a", "en"),
        ("b", "en"),
        ("c", "en"),
    ]


def test_a_prompt_is_another_utterance(records):
    index = PromptIndex(records)
    assert all(index.find(records[0], "en", number).id == "b" for number in range(5))


def test_a_test_set_may_list_prompts(lines, tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", [lines[0] | {"prompt": "b"}, lines[1]])
    records = load_manifest(tmp_path / "manifest.jsonl")
    items = list_items(get_task("tts"), records, [("en", "en")])
    assert [item.record.id for item in keep_listed(items)] == ["a"], "only what is listed is synthesised"
    assert PromptIndex(records).for_item(items[0], 0).id == "b"
    asr = list_items(get_task("asr"), records, [("en", "en")])
    assert keep_listed(asr) is asr, "other tasks are tested on the whole set"


def test_an_utterance_that_is_its_own_prompt_is_continued(records):
    record = replace(records[0], prompt="a")
    item, builder = Item(get_task("tts"), record, "en", "en"), ExampleBuilder(VOCAB, Words(), prompt_frames=2)
    assert len(builder.beginning(item)) == 2
    expected = [
        "<tts>",
        "<en>",
        "<text>",
        15,
        15,
        "</text>",
        "<speech>",
        "code",
        "code",
        "</speech>",
        "<speech>",
        "code",
        "code",
    ]
    assert names(builder.prefix(item, record)) == expected
    delayed = ExampleBuilder(replace(VOCAB, pattern="delay"), Words(), prompt_frames=2)
    with pytest.raises(ValueError, match="the pattern delay cannot continue given speech"):
        delayed.prefix(item, record)


def test_a_prompt_may_come_from_another_set_and_is_never_of_another_voice(lines, tmp_path):
    sets = {
        "one": [lines[0] | {"speaker": s} for s in ("u",)] + [lines[1]],
        "two": [lines[0] | {"id": "c"}, lines[1] | {"id": "d", "speaker": "w"}],
    }
    for name, of_set in sets.items():
        write_manifest(tmp_path / name / "manifest.jsonl", of_set)
    records = load_manifest(*(tmp_path / name / "manifest.jsonl" for name in sets))
    assert [record.id for record in records] == [records[i].id for i in range(4)] == ["a", "b", "c", "d"]
    index = PromptIndex(records)
    prompts = [
        [found and found.id for found in (index.find(record, "es", number) for number in range(3))]
        for record in records
    ]
    assert prompts == [[None] * 3, ["c"] * 3, ["b"] * 3, [None] * 3], "a voice of one recording has no prompt"


def test_an_utterance_alone_of_its_voice_is_never_its_own_prompt(lines, tmp_path):
    alone = [line | {"speaker": line["id"]} for line in lines]
    for name, of_set in {"train": alone, "again": alone[:1]}.items():
        write_manifest(tmp_path / name / "manifest.jsonl", of_set)
        shutil.copy(tmp_path / "codes.ark", tmp_path / name)
    records = load_manifest(
        tmp_path / "train/manifest.jsonl", tmp_path / "again/manifest.jsonl"
    )  # the same utterance is in both
    items, index = list_items(get_task("tts"), records, [("en", "en")]), PromptIndex(records)
    assert [index.for_item(item, number) for item in items for number in range(3)] == [None] * 9
    item, builder = items[0], ExampleBuilder(VOCAB, Words(), prompt_frames=2)
    sequence = builder.sequence(item, None, 0, 0.0)
    given = ["<tts>", "<en>", "<text>", 15, 15, "</text>", "<speech>", "</speech>", "<speech>"]
    assert names(sequence.ids_TK) == [*given, *["code"] * 4, "</speech>"]
    assert names(builder.prefix(item, None)) == given, "decoding is given the same empty prompt"


def test_examples_without_a_voice_prompt_are_counted(lines, tmp_path):
    more = [
        lines[0] | {"id": "c", "speaker": "w"},
        lines[1] | {"id": "d", "speaker": "x", "codes": {"es": lines[1]["codes"]["es"]}},
    ]
    write_manifest(tmp_path / "manifest.jsonl", [*lines, *more])
    records = load_manifest(tmp_path / "manifest.jsonl")
    index, pairs = PromptIndex(records), [("es", "es"), ("en", "en")]
    found = {name: index.alone(list_items(get_task(name), records, pairs)) for name in ("tts", "asr")}
    assert found == {"tts": 3, "asr": 0}, "es of c and d, en of c"
    assert index.alone(list_items(get_task("t2st"), records, [("es", "en")])) == 1


def test_a_test_set_is_synthesised_with_prompts_or_without_but_never_both(lines, tmp_path):
    write_manifest(tmp_path / "some/manifest.jsonl", [*lines, lines[0] | {"id": "c", "speaker": "w"}])
    write_manifest(tmp_path / "none/manifest.jsonl", [line | {"speaker": line["id"]} for line in lines])
    for name, kept in (("some", ["a", "b"]), ("none", ["a", "b"])):
        records = load_manifest(tmp_path / name / "manifest.jsonl")
        for task, expected in (("tts", kept), ("asr", [record.id for record in records])):
            items = list_items(get_task(task), records, [("en", "en")])
            assert [item.record.id for item in keep_prompted(items, PromptIndex(records))] == expected


def test_training_takes_no_prompt_from_a_list(lines, tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", [line | {"prompt": line["id"]} for line in lines])
    records = load_manifest(tmp_path / "manifest.jsonl")
    items = list_items(get_task("tts"), records, [("en", "en")])
    assert [[PromptIndex(records, listed).for_item(item, 0).id for item in items] for listed in (True, False)] == [
        ["a", "b"],
        ["b", "a"],
    ]
