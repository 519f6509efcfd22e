"""Plans and batches: an example is as long as planned; what is stored of texts is what the tokenizer says, of this
manifest.
"""

from contextlib import closing

import numpy as np
import pytest

from speechlm.data.codes import write_archive
from speechlm.data.manifest import load_manifest, write_manifest
from speechlm.data.tokens import tokens_path
from speechlm.tasks import TASKS, get_task
from speechlm.tasks.examples import ExampleBuilder, PromptIndex, list_items
from speechlm.tokens.patterns import PATTERNS
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from speechlm.train.iterator import Corpus, make_training_iterator
from speechlm.train.mixture import Draw

LANGS, PAIRS = ("en", "es"), {"same": [("en", "en"), ("es", "es")], "pair": [("en", "es"), ("es", "en")]}
MIXTURE = {"asr": 0.4, "tts": 0.4, "lm": 0.2}


class Words:
    """A tokenizer whose ids are word lengths."""

    size, bos_id, eos_id, fingerprint, key = 100, 1, 2, "t", "words"
    asked = 0

    def encode(self, text: str) -> list[int]:
        self.asked += 1
        return [10 + len(word) for word in text.split()]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return list(map(self.encode, texts))


def write_set(folder, rng, number: int) -> None:
    """12 utterances of 4 speakers, two of them in both sets, as is one utterance; some lack a language."""
    keys = [f"{number}-{i}" if i else "shared" for i in range(12)]
    codes = {
        f"{key}.{lang}": rng.integers(0, 8, (rng.integers(1, 9), 2)).astype(np.int32) for key in keys for lang in LANGS
    }
    offsets = write_archive(folder / "codes.ark", codes)
    write_manifest(folder / "manifest.jsonl", (
        {
            "id": key, "speaker": f"speaker{i % 4 if i % 4 < 2 else i % 4 + 10 * number}",
            "text": {lang: " ".join("x" * n for n in rng.integers(1, 9, rng.integers(1,
            6))) for lang in LANGS if i != 5 or lang == "en"},
            "codes": {lang: [f"codes.ark:{offsets[f'{key}.{lang}']}",
            len(codes[f"{key}.{lang}"])] for lang in LANGS if i != 7 or lang == "es"},
        } for i, key in enumerate(keys)
    ))  # fmt: skip


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr("speechlm.tasks.examples.require_codec", lambda *_: None)
    rng = np.random.default_rng(0)
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        write_set(tmp_path / str(number), rng, number)
    return [tmp_path / str(number) / "manifest.jsonl" for number in (1, 2)]


def make_corpus(paths, pattern: str = "parallel", weight: float = 1.0, **settings: float) -> Corpus:
    records = load_manifest(*paths, encoder=Words())
    vocab = Vocabulary(100, (*BOUNDARIES, *(f"<{name}>" for name in [*TASKS, *LANGS])), (8, 8), pattern, "t", "c")
    items = {name: list_items(get_task(name), records, PAIRS[get_task(name).languages]) for name in TASKS}
    return Corpus(items, PromptIndex(records, listed=False), ExampleBuilder(vocab, Words(), 3), weight, **settings)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_example_is_as_long_as_planned(paths, pattern):
    """Of all tasks, with voice prompts from either set: never the utterance itself, nor its copy in the other one."""
    corpus = make_corpus(paths, pattern)
    for task, size in corpus.sizes().items():
        index_M, number_M = np.tile(np.arange(size), 5), np.arange(5 * size)
        for index, number, length in zip(index_M, number_M, corpus.lengths(task, index_M, number_M), strict=True):
            draw = Draw(task, int(index), int(number))
            assert len(corpus.sequence(draw)) == length, draw
    assert min(corpus.sizes().values()) > 40


def test_frames_of_the_target_alone_are_hidden_and_others_in_each_draw(paths):
    corpus, hidden = make_corpus(paths, weight=0.1, hide_target=0.5), 0
    for index in range(corpus.sizes()["s2st"]):
        first, again, other = (corpus.sequence(Draw("s2st", index, number)) for number in (0, 0, 1))
        assert np.array_equal(first.hidden_T, again.hidden_T)
        assert set(first.loss_T[first.hidden_T]) <= {1.0} and (first.ids_TK[first.hidden_T, 1] >= 0).all()
        hidden += first.hidden_T.sum() - (first.hidden_T & other.hidden_T).sum()
    assert hidden > 0 and not corpus.sequence(Draw("asr", 0, 0)).hidden_T.any(), "texts are shown"


def test_what_is_stored_of_texts_is_used_and_made_anew_for_another_manifest(paths):
    words, [path] = Words(), paths[:1]
    records = load_manifest(path, encoder=words)
    assert words.asked == 23
    for record in (records[3], load_manifest(path, encoder=words)[3]):
        assert {lang: ids.tolist() for lang, ids in record.ids.items()} == {
            lang: Words().encode(text) for lang, text in record.text.items()
        }
    assert words.asked == 23 and tokens_path(path, "words").is_file()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    assert len(load_manifest(path, encoder=words)) == 11 and words.asked == 23 + 21
    content = bytearray(tokens_path(path, "words").read_bytes())
    tokens_path(path, "words").write_bytes(content[:-100])  # cut short
    load_manifest(path, encoder=words)
    assert words.asked == 23 + 21 + 21


@pytest.mark.parametrize("workers", [0, 2])
def test_each_process_gets_its_batches_in_order_and_goes_on_from_a_position(paths, workers):
    layout = {"rows": 2, "row_length": 40, "pad_id": 100, "num_columns": 2}
    iterators = [make_training_iterator(make_corpus(paths), MIXTURE, layout, 1, (rank, 2), workers) for rank in (0, 1)]
    plans, states = [], []
    for iterator in iterators:
        with closing(iter(iterator)) as batches:
            own = [(plan, batch["ids_BLK"].shape, iterator.state) for (plan, batch), _ in zip(batches, range(4))]
        plans.append([plan for plan, _, _ in own])
        states.append([state for _, _, state in own])
        assert {shape for _, shape, _ in own} == {(2, 40, 2)}
    assert states[0] == states[1] and not any(a == b for a, b in zip(*plans, strict=True))
    resumed = make_training_iterator(make_corpus(paths), MIXTURE, layout, 1, (0, 2), workers)
    resumed.restore(states[0][1])
    with closing(iter(resumed)) as batches:
        assert next(batches)[0] == plans[0][2]
