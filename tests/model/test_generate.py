"""The decoding engine gives what decoding gave before it, whatever the batch: greedy, by beam search, sampled, as a
stream.
"""

import gc
import weakref

import numpy as np
import pytest
import torch

from speechlm.model.generate import (
    DecodeOptions,
    Engine,
    compile_steps,
    compiled,
    generate,
    generate_speech,
    generate_text,
    make_rule,
    stream_speech,
)
from speechlm.model.generate.engine import no_collection
from speechlm.model.generate.sampling import uniform
from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.patterns import PATTERNS
from speechlm.tokens.sequence import join, special_segment, speech_segment, text_segment
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from tests.model import growing
from tests.model.llms import FAMILIES
from tests.model.tiny import random_codes, tiny_model

PLACES = (2, 9, 5, 1, 7, 3, 4)  # length of what each example is made of


def restless(model: SpeechLM, like: int = 6) -> SpeechLM:
    """Make its outputs differ, in length too: weights at which attention matters, and ends where it would choose a
    certain token or code.
    """
    vocab, new = model.vocab, model.new_head.weight
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.ndim == 2):
            torch.nn.init.normal_(weight, std=0.25)
        new[vocab.special_id("</text>") - vocab.text_size] = 1.1 * model.llm.get_output_embeddings().weight[like]
        for end in ("</speech>", "<pad>"):
            new[vocab.special_id(end) - vocab.text_size] = 1.1 * new[vocab.codes_start - vocab.text_size + like]
        model.new_embedding.weight[model.new_embedding.padding_idx] = 0
    return model.eval()


def speech_prefixes(vocab) -> list[np.ndarray]:
    text = lambda n: text_segment([(7 * n + i) % 20 for i in range(n)], vocab)  # noqa: E731
    ends = special_segment(["<tts>", "<en>"], vocab), special_segment(["<speech>"], vocab)
    return [join([ends[0], *text(n), ends[1]], 0).ids_TK for n in PLACES]


def text_prefixes(vocab) -> list[np.ndarray]:
    ends = special_segment(["<asr>", "<en>"], vocab), special_segment(["<text>"], vocab)
    return [join([ends[0], *speech_segment(random_codes(n, n), vocab), ends[1]], 0).ids_TK for n in PLACES]


def family_model(name: str) -> SpeechLM:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(
        FAMILIES[name].config(
            vocab_size=20, tie_word_embeddings=FAMILIES[name].tied, pad_token_id=0, bos_token_id=1, eos_token_id=2
        ),
        attn_implementation="eager" if name == "gemma2" else "sdpa",
    )
    return SpeechLM(llm, Vocabulary(20, (*BOUNDARIES, "<asr>", "<tts>", "<en>"), (8, 8, 8), "parallel", "t", "c"))


MODELS = {**{pattern: lambda pattern=pattern: tiny_model(pattern) for pattern in PATTERNS}}
MODELS |= {name: lambda name=name: family_model(name) for name in FAMILIES}


def run(model, speaks: bool, prefixes, options: DecodeOptions, fixed: bool) -> list:
    """Decode, if `fixed` in the shapes that GPUs need: padded sizes, and ends that are seen late."""
    rule = make_rule(model, speaks, options)
    engine = Engine(rule, options.batch_size, max(map(len, prefixes)) + rule.rows, fixed)
    for key, prefix in enumerate(prefixes):
        engine.add(key, prefix)
    found = dict(engine.run())
    return [found[key] for key in range(len(prefixes))]


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_greedy_output_is_that_of_growing_caches(name):
    model = restless(MODELS[name]())
    speech, text = speech_prefixes(model.vocab), text_prefixes(model.vocab)
    options = DecodeOptions(max_rows=20, batch_size=3)
    expected = growing.generate_speech(model, speech, options)
    texts = [growing.generate_text(model, [prefix], options)[0] for prefix in text]
    assert len({*map(len, expected), *map(len, texts)}) > 1
    for fixed in (False, True):
        found = run(model, True, speech, options, fixed)
        assert [one.output.tolist() for one in found] == [codes_TK.tolist() for codes_TK in expected]
        assert [one.ended for one in found] == [len(codes_TK) < 20 for codes_TK in expected]
        found = run(model, False, text, options, fixed)
        assert [one.output for one in found] == texts and [one.ended for one in found] == [
            len(ids) < 20 for ids in texts
        ]


def test_compiled_steps_choose_what_plain_ones_do(monkeypatch):
    """All but the kernels themselves, whose C++ takes half a minute (tools/bench/decode.py --toy runs them)."""
    traced = torch.compile(compiled.layer_step, dynamic=True, backend="aot_eager")
    monkeypatch.setattr(compiled, "compiled_step", lambda: traced)
    model = restless(tiny_model())
    prefixes, options = speech_prefixes(model.vocab), DecodeOptions(max_rows=12, batch_size=4)
    expected = run(model, True, prefixes, options, fixed=True)
    compile_steps(model)
    found = run(model, True, prefixes, options, fixed=True)
    assert len({len(one.output) for one in expected}) > 1
    assert [one.output.tolist() for one in found] == [one.output.tolist() for one in expected]


@pytest.mark.parametrize(("beam", "name"), [(2, "parallel"), (4, "parallel"), (3, "gemma2")])
@torch.inference_mode()
def test_beams_find_what_they_found_one_by_one(beam, name):
    model = restless(MODELS[name]())
    prefixes, options = text_prefixes(model.vocab), DecodeOptions(max_rows=12, batch_size=3, beam=beam)
    expected = [growing.generate_text(model, [prefix], options)[0] for prefix in prefixes]
    assert len({len(ids) for ids in expected}) > 1
    for fixed in (False, True):
        assert [one.output for one in run(model, False, prefixes, options, fixed)] == expected


def test_a_long_text_is_not_given_up_for_short_ones_that_end_first(monkeypatch):
    """The model says 0 1 2 3 4 5 and is sure of it; what else it might have begun with, 10 to 19, ends at once."""
    model, end = tiny_model(), 20
    rule = make_rule(model, False, DecodeOptions(beam=3, max_rows=9))
    state = rule.start() | {"row": rule.start()["row"].clone()}
    state = {name: value.clone() for name, value in state.items()}
    state["row"][:, 0] = 6

    def logits(_hidden):
        probability_BV = torch.full((3, end + 1), 1e-9)
        for row, last in zip(probability_BV, state["row"][:, 0].tolist()):
            row[10:20] = 0.01 if last == 6 else 1e-4
            row[end if last in (5, *range(10, 20)) else (last + 1) % 7] = 0.9
        return probability_BV.log()

    monkeypatch.setattr(rule, "_logits", logits)
    while not state["done"].all():
        rule.next(torch.zeros(3, 1), state)
        state["step"] += 1
    assert rule.output({name: value[0].numpy() for name, value in state.items()}, 9) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_sample_depends_on_seed_and_number_alone(pattern):
    model = tiny_model(pattern)
    speech, text = speech_prefixes(model.vocab), text_prefixes(model.vocab)
    options = DecodeOptions(max_rows=9, temperature=1.0, top_k=6, batch_size=7, seed=3)
    together = [one.output for one in generate_speech(model, speech, options)]
    few = DecodeOptions(**vars(options) | {"batch_size": 2})
    backwards = dict(generate(model, True, speech[::-1], few, numbers=[6, 5, 4, 3, 2, 1, 0]))
    assert all(np.array_equal(backwards[6 - i].output, codes_TK) for i, codes_TK in enumerate(together))
    texts = [one.output for one in generate_text(model, text, options)]
    assert texts == [one.output for one in run(model, False, text, few, fixed=True)]
    other = DecodeOptions(**vars(options) | {"seed": 4})
    assert texts != [one.output for one in generate_text(model, text, other)]
    same = [speech[0]] * 40
    assert len({one.output.tobytes() for one in generate_speech(model, same, options)}) > 30


def test_samples_are_drawn_from_the_models_distribution():
    model = tiny_model()
    [prefix] = text_prefixes(model.vocab)[:1]
    options = DecodeOptions(max_rows=1, temperature=0.7, top_k=5, batch_size=500)
    found = [tuple(one.output) for one in generate_text(model, [prefix] * 4000, options)]
    rule = make_rule(model, False, options)
    ids_1SK = torch.from_numpy(prefix)[None]
    with torch.no_grad():
        hidden = model.hidden(
            ids_1SK, torch.ones(ids_1SK.shape[:2], dtype=torch.long), torch.arange(len(prefix))[None]
        )[:, -1]
        logits = rule._logits(hidden)[0] / 0.7
    kept = logits.topk(5).indices.tolist()
    expected = logits[kept].softmax(dim=0)
    counts = torch.tensor([found.count(() if i == model.vocab.text_size else (i,)) for i in kept]) / len(found)
    assert counts.sum() == 1 and (counts - expected).abs().max() < 0.03
    chances = uniform(0, torch.arange(1000)[:, None], torch.arange(100))
    assert (
        0 <= chances.min()
        and chances.max() < 1
        and abs(chances.mean() - 0.5) < 0.005
        and abs(chances.var() - 1 / 12) < 0.002
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_stream_gives_the_same_frames_one_by_one(pattern):
    model = restless(tiny_model(pattern))
    prefixes, options = speech_prefixes(model.vocab), DecodeOptions(max_rows=20)
    for prefix, whole in zip(prefixes, generate_speech(model, prefixes, options), strict=True):
        chunks = list(stream_speech(model, prefix, options))
        assert np.array_equal(np.concatenate(chunks) if chunks else whole.output[:0], whole.output)
        assert all(len(codes_TK) == 1 for codes_TK in chunks)


@pytest.mark.parametrize("name", ["parallel", "depth", "qwen3", "gemma", "gemma2", "gemma3"])
def test_bfloat16_keeps_positions_exact(name):
    """Every family runs in bfloat16, and what turns positions stays in float32."""
    model = restless(MODELS[name]())
    wide = [len(one.output) for one in generate_speech(model, speech_prefixes(model.vocab), DecodeOptions(max_rows=4))]
    tables = {key: value.clone() for key, value in model.llm.named_buffers()}
    model.cast(torch.bfloat16)
    assert (
        all(torch.equal(value, tables[key]) for key, value in model.llm.named_buffers())
        and model.new_head.weight.dtype == torch.bfloat16
    )
    found = generate_speech(model, speech_prefixes(model.vocab), DecodeOptions(max_rows=4))
    assert len(found) == len(wide) and all(one.output.max(initial=0) < 8 for one in found)


def test_what_does_not_fit_and_contradictions_are_refused():
    model = tiny_model()
    engine = Engine(make_rule(model, False, DecodeOptions(max_rows=20)), 1, 24)
    with pytest.raises(
        ValueError, match="an example of 6 rows and up to 20 more does not fit into 24 positions. Expected a shorter"
    ):
        engine.add(0, text_prefixes(model.vocab)[3])
    with pytest.raises(ValueError, match="beam 4 and temperature 0.5: expected a beam, or to sample, not both"):
        DecodeOptions(beam=4, temperature=0.5)


def test_an_engine_is_freed_at_once():
    """Its CUDA graphs must not wait for the garbage collector, which could come while others are captured."""
    model = restless(tiny_model())
    rule = make_rule(model, True, DecodeOptions(max_rows=6))
    gc.collect()
    with no_collection():
        assert not gc.isenabled()
        engine = Engine(rule, 2, 64, fixed=True)
        for key, prefix in enumerate(speech_prefixes(model.vocab)):
            engine.add(key, prefix)
        assert len(dict(engine.run())) == len(PLACES)
        freed = weakref.ref(engine)
        del engine
        assert freed() is None
    assert gc.isenabled()
