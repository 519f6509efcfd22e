"""The model: isolation of packed examples, streams that see what they should, text ability untouched, strict
loading.
"""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from speechlm.model.folder import TrainedModel, export_llm
from speechlm.model.generate import DecodeOptions, generate_speech, generate_text
from speechlm.model.weights import load_weights, save_weights
from speechlm.tokens.patterns import PATTERNS, get_pattern
from speechlm.tokens.sequence import frames_segment, grid_to_codes, join, special_segment, speech_segment, text_segment
from speechlm.train.iterator import pack
from speechlm.train.loss import TrainingModel
from speechlm.train.meter import Meter
from tests.model.tiny import random_codes, tiny_model


def asr_example(vocab, seed: int, frames: int = 6):
    segments = [special_segment(["<asr>", "<en>"], vocab), *speech_segment(random_codes(frames, seed), vocab)]
    return join(segments + text_segment([3, 4, 5 + seed], vocab, target=True), condition_weight=1.0)


def hidden_of(model, rows, length):
    batch = pack(rows, length, model.vocab.pad_id, model.vocab.num_columns)
    with torch.no_grad():
        return model.hidden(batch["ids_BLK"], None, batch["position_BL"])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_token_sees_another_example_of_its_row(pattern):
    model = tiny_model(pattern)
    one, two, other = (asr_example(model.vocab, seed) for seed in (0, 1, 2))
    together = hidden_of(model, [[one, two]], 60)[0, len(one) : len(one) + len(two)]
    alone = hidden_of(model, [[two]], 60)[0, : len(two)]
    changed = hidden_of(model, [[other, two]], 60)[0, len(other) : len(other) + len(two)]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, changed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_code_is_counted_once_in_the_loss(pattern):
    model = tiny_model(pattern)
    example = asr_example(model.vocab, 0)
    batch = pack([[example]], 40, model.vocab.pad_id, model.vocab.num_columns)
    training = TrainingModel(model, [1.0, 1.0, 1.0], 1.0)
    meter = Meter(training.figures)
    meter.add(training(**batch)[1])
    counted = {name: weight for name, (_, weight) in meter.sums().items()}
    assert [counted[f"code{k}"] for k in range(3)] == [6, 6, 6]
    tail = 2 if pattern == "delay" else 0  # rows in which column 0 has run out
    assert counted["text"] == 1 + (1 + tail + 1) + (1 + 3 + 1)
    assert len(example) == 2 + (1 + get_pattern(pattern).rows(6, 3) + 1) + (1 + 3 + 1)


def test_plain_text_gives_the_llms_own_logits():
    model = tiny_model()
    ids = torch.tensor([[1, 5, 9, 2]])
    rows = torch.full((1, 4, 3), model.vocab.pad_id)
    rows[..., 0] = ids
    with torch.no_grad():
        expected = model.llm(ids).logits
        hidden = model.hidden(rows, torch.ones(1, 4, dtype=torch.long), torch.arange(4)[None])
        torch.testing.assert_close(model.first_logits(hidden)[..., :20], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_batched_decoding_equals_one_by_one(pattern):
    model = tiny_model(pattern)
    prefixes = [
        join(
            [
                special_segment(["<tts>", "<en>"], model.vocab),
                *text_segment(list(range(3, 3 + n)), model.vocab),
                special_segment(["<speech>"], model.vocab),
            ],
            0,
        ).ids_TK
        for n in (2, 5, 9)
    ]
    options = DecodeOptions(max_rows=12)  # an untrained model rarely ends
    batched = generate_speech(model, prefixes, options)
    for codes, prefix in zip((found.output for found in batched), prefixes, strict=True):
        assert np.array_equal(codes, generate_speech(model, [prefix], options)[0].output)
        assert codes.shape[1] == 3 and codes.min(initial=0) >= 0 and codes.max(initial=0) < 8


def test_speech_that_is_given_is_continued_as_it_would_have_gone_on():
    model = tiny_model("parallel")
    conditions = [[*text_segment([3, i], model.vocab), special_segment(["<speech>"], model.vocab)] for i in range(20)]
    prefixes = [join(condition, 0).ids_TK for condition in conditions]
    wholes = [found.output for found in generate_speech(model, prefixes, DecodeOptions(max_rows=8))]
    condition, whole = next((condition, whole) for condition, whole in zip(conditions, wholes) if len(whole) > 4)
    given = join([*condition, frames_segment(whole[:3], model.vocab)], 0).ids_TK
    assert np.array_equal(generate_speech(model, [given], DecodeOptions(max_rows=5))[0].output, whole[3:])


def exhaustive_best(model, prefix, length: int) -> float:
    """Return the best total log-probability of any text of at most `length` tokens (with its end)."""
    from itertools import product

    end, best = model.vocab.special_id("</text>"), -np.inf
    for n in range(length):
        for ids in product(range(20), repeat=n):
            best = max(best, score(model, prefix, list(ids), end))
    return best


def score(model, prefix, ids, end) -> float:
    column = torch.full((1, len(prefix) + len(ids) + 1, 3), model.vocab.pad_id)
    column[0, : len(prefix)] = torch.from_numpy(prefix)
    column[0, len(prefix) :, 0] = torch.tensor([*ids, end])
    length = column.shape[1]
    with torch.no_grad():
        logits = model.first_logits(
            model.hidden(column, torch.ones(1, length, dtype=torch.long), torch.arange(length)[None])
        )[0]
    allowed = torch.cat([logits[:, :20], logits[:, end : end + 1]], dim=1).log_softmax(dim=1)
    targets = [*ids, 20]
    return sum(allowed[len(prefix) - 1 + i, t].item() for i, t in enumerate(targets))


def test_a_wide_beam_finds_the_best_text():
    model = tiny_model()
    prefix = join([special_segment(["<asr>", "<en>", "<text>"], model.vocab)], 0).ids_TK
    with torch.no_grad():
        model.new_head.weight[model.vocab.special_id("</text>") - 20] += 3 * model.llm.lm_head.weight[:5].mean(0)
    [found] = generate_text(model, [prefix], DecodeOptions(beam=40, length_penalty=0.0, max_rows=6))
    found_score = score(model, prefix, found.output, model.vocab.special_id("</text>"))
    assert found_score >= exhaustive_best(model, prefix, 3) - 1e-4


@pytest.mark.parametrize(
    ("pattern", "text_weight"), [*((name, 2.0) for name in PATTERNS), ("parallel", 0.0), ("delay", 0.0)]
)
def test_one_batch_is_learned_by_heart_and_said_again_exactly(pattern, text_weight):
    """The weighted loss of packed rows trains every column, and greedy decoding as well as sampling (of a sure model)
    finds the codes again.
    """
    torch.manual_seed(1)
    model = tiny_model(pattern)
    training = TrainingModel(model, [1.0, 0.7, 0.5], text_weight)
    examples = [
        join([*prompt(model.vocab, ids), *speech_segment(random_codes(frames, seed), model.vocab, target=True)], 0.0)
        for seed, (ids, frames) in enumerate([([3, 4], 5), ([6], 3), ([4, 3], 6)])
    ]
    batch = pack([examples[:2], examples[2:]], 64, model.vocab.pad_id, model.vocab.num_columns)
    optimizer = torch.optim.AdamW(training.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(100):
        loss = training.train().mean_loss(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    prefixes = [example.ids_TK[: int((example.loss_T == 0).sum())] for example in examples]
    for options in (DecodeOptions(max_rows=12), DecodeOptions(max_rows=12, temperature=0.5, top_k=4)):
        found = generate_speech(model, prefixes, options)
        assert all(one.ended for one in found)
        expected = [random_codes(frames, seed).tolist() for seed, frames in enumerate([5, 3, 6])]
        assert [one.output.tolist() for one in found] == expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("tied", [False, True])
def test_speech_alone_is_learned_without_a_push_or_pull_on_text(pattern, tied):
    """With text_weight 0 no code lowers the logits of text or of other special tokens; the end of speech is learned."""
    model = tiny_model(pattern, tied=tied)
    training = TrainingModel(model, [1.0, 0.7, 0.5], text_weight=0.0)
    batch = pack([[asr_example(model.vocab, 0)]], 40, model.vocab.pad_id, model.vocab.num_columns)
    total, table_S2 = training(**batch)
    total.backward()
    for table in (model.llm.lm_head.weight, model.llm.get_input_embeddings().weight):
        assert table.grad is None or not table.grad.any()
    moved = {name for name, i in model.vocab.special_ids.items() if model.new_head.weight.grad[i - 20].any()}
    assert moved == {"</speech>"} | ({"<pad>"} if pattern == "delay" else set())
    found = dict(zip(training.figures, table_S2[:, 0].tolist(), strict=True))
    assert found["end"] > 0 and found["text"] > 0  # text is still measured


def prompt(vocab, ids):
    return [special_segment(["<tts>", "<en>"], vocab), *text_segment(ids, vocab)]


def code_logits(model, hidden_ND, ids_NK):
    return [own_ND @ table_CD.T for _, own_ND, table_CD in model.code_tables(hidden_ND, ids_NK)]


def test_the_depth_transformer_decodes_as_it_was_trained():
    """The cached steps give the logits of the whole row, and a code depends on those to its left alone."""
    model = tiny_model("depth")
    hidden_ND = torch.randn(4, 32)
    ids_NK = torch.from_numpy(random_codes(4)) + torch.tensor(model.vocab.codebook_starts)
    seen, told = [], iter(ids_NK.T[1:] - torch.tensor(model.vocab.codebook_starts)[1:, None])
    with torch.no_grad():
        model.generate_codes(hidden_ND, ids_NK[:, 0], lambda logits, column: (seen.append(logits), next(told))[1])
        whole = code_logits(model, hidden_ND, ids_NK)
        changed = ids_NK.clone()
        changed[:, 1] = model.vocab.codebook_starts[1] + 7 - (ids_NK[:, 1] - model.vocab.codebook_starts[1])
        other = code_logits(model, hidden_ND, changed)
    for stepwise, at_once in zip(seen, whole, strict=True):
        torch.testing.assert_close(stepwise, at_once, atol=1e-5, rtol=1e-4)
    assert torch.equal(whole[0], other[0]) and not torch.allclose(whole[1], other[1])


@pytest.mark.parametrize(("tied", "pattern"), [(False, "parallel"), (True, "depth")])
def test_weights_survive_saving_and_a_misfit_is_refused(tmp_path, tied, pattern):
    model, other = tiny_model(pattern, tied=tied), tiny_model(pattern, tied=tied)
    with torch.no_grad():
        other.new_head.weight.zero_()
    save_weights(tmp_path / "model.safetensors", model)
    load_weights(other, tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    save_file(
        {k: v.clone() for k, v in model.state_dict().items() if "new_head" not in k}, tmp_path / "part.safetensors"
    )
    with pytest.raises(ValueError, match="new_head"):
        load_weights(other, tmp_path / "part.safetensors")


def test_models_have_the_permissions_of_the_umask(tmp_path):
    model = tiny_model()
    before = os.umask(0o002)
    try:
        save_weights(tmp_path / "model.safetensors", model)
        export_llm(TrainedModel(model, model.vocab, None, tmp_path))
    finally:
        os.umask(before)
    files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.*")}
    assert len(files) >= 3 and set(files.values()) == {0o664}, files


def test_speech_segment_is_reverted():
    for pattern in PATTERNS:
        vocab = tiny_model(pattern).vocab
        start, inner = speech_segment(random_codes(5), vocab)
        assert np.array_equal(grid_to_codes(inner.ids_TK[:-1], vocab), random_codes(5))
