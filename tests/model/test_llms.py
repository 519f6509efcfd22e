"""Every family of LLMs: nothing that it knew is lost by becoming a speech LLM, in training, decoding, saving and
exporting.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GraniteConfig, OPTConfig

from speechlm.espnet.options import parse_options
from speechlm.espnet.preflight import check_packing, check_text_logits
from speechlm.espnet.task import SpeechLMTask
from speechlm.model.folder import copy_llm_files, export_llm, load_llm, load_model
from speechlm.model.generate import DecodeOptions, generate_speech, generate_text
from speechlm.model.perplexity import text_perplexity
from speechlm.model.speechlm import SpeechLM
from speechlm.model.weights import save_weights
from speechlm.tokens.sequence import join, plain_text_segment, special_segment, speech_segment, text_segment
from speechlm.tokens.text import load_text_tokenizer
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary
from speechlm.train.build import start_from_llm
from speechlm.train.iterator import pack
from speechlm.train.loss import training_model
from tests.model.llms import FAMILIES, SIZES, make_llm

SENTENCES = [
    "the dog sees the small cat and a house",
    "12 Häuser",
    "你好 perro </s> <|endoftext|> <image_soft_token> <eos>",
]


def options(llm: Path, *more: str):
    parser = SpeechLMTask.get_parser()
    return parse_options(
        parser, ["--llm", str(llm), "--codec", "codec_16k", "--pattern", "parallel", "--langs", "en", *more]
    )


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    """(folder, speech LLM made of it) by family, each made once."""
    made = {}

    def get(name: str):
        if name not in made:
            folder = make_llm(tmp_path_factory.mktemp(name), name)
            torch.manual_seed(1)
            made[name] = folder, start_from_llm(options(folder)).eval()
        return made[name]

    return get


def plain(folder: Path):
    """Return the LLM as transformers has it; eager attention is the exact one of Gemma 2."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def ids_of(folder: Path, sentence: str) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(sentence, add_special_tokens=False, split_special_tokens=True)
    return [*([] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]), *ids, tokenizer.eos_token_id]


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_perplexity_is_that_of_transformers(llms, name):
    folder, model = llms(name)
    llm, nats, count = plain(folder), 0.0, 0
    for sentence in SENTENCES:
        ids = torch.tensor(ids_of(folder, sentence))
        assert ids.max() < model.vocab.text_size
        nats += torch.nn.functional.cross_entropy(llm(ids[None]).logits[0, :-1], ids[1:], reduction="sum").item()
        count += len(ids) - 1
    expected = math.exp(nats / count)
    assert text_perplexity(model, load_text_tokenizer(str(folder)), SENTENCES, masked=True) == pytest.approx(
        expected, rel=1e-4
    )
    assert load_text_tokenizer(str(folder)).decode(ids_of(folder, SENTENCES[0])[:-1]).strip() == SENTENCES[0]


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_packed_texts_have_the_logits_of_transformers(llms, name):
    folder, model = llms(name)
    llm, texts = plain(folder), [ids_of(folder, sentence) for sentence in SENTENCES]
    rows = [[join([plain_text_segment(ids, model.vocab)], 1.0) for ids in texts]]
    batch = pack(rows, sum(map(len, texts)) + 3, model.vocab.pad_id, model.vocab.num_columns)
    hidden = model.hidden(batch["ids_BLK"], None, batch["position_BL"])
    logits, start = model.first_logits(hidden)[0, :, : model.vocab.text_size], 0
    for ids in texts:
        torch.testing.assert_close(
            logits[start : start + len(ids)], llm(torch.tensor([ids])).logits[0], atol=2e-3, rtol=1e-3
        )
        start += len(ids)


@pytest.mark.parametrize("name", ["llama3", "qwen2.5", "qwen3", "gemma", "gemma2", "gemma3"])
@torch.no_grad()
def test_packed_rows_have_the_loss_of_their_examples_alone_under_every_attention(tmp_path, name):
    """Dense attention; by segments, which the CPU trains with where nothing else is hidden; FlexAttention, which GPUs
    do (and which has no backward pass on the CPU).
    """
    args = options(make_llm(tmp_path, name))
    model = training_model(start_from_llm(args), args).eval()
    vocab, frames = model.speechlm.vocab, np.random.default_rng(0).integers(0, 256, (9, 8))
    examples = [
        join([*text_segment(list(range(3, 3 + n)), vocab), *speech_segment(frames[:n], vocab)], condition_weight=1.0)
        for n in (2, 9, 5)
    ]
    packed = pack([examples], 60, vocab.pad_id, vocab.num_columns)
    alone = sum(model(**pack([[example]], len(example), vocab.pad_id, vocab.num_columns))[1] for example in examples)
    dense = model(**packed)[1]
    model.prepare("cpu", "auto")
    assert model.by_segments == (name not in ("gemma2", "gemma3"))  # bounds of scores, windows
    segments = model(**packed)[1]
    with torch.compiler.set_stance("force_eager"):
        model.prepare("cuda", "false")
        assert model.speechlm.llm.config._attn_implementation == "flex_attention"
        flex = model(**packed)[1]
    for found in (dense, segments, flex):
        torch.testing.assert_close(found[:-1], alone[:-1], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_new_tokens_enter_at_the_scale_of_text(llms, name):
    _, model = llms(name)
    text, special = (
        torch.arange(model.vocab.text_size),
        torch.tensor([model.vocab.special_id(name) for name in ("<asr>", "<en>", "<text>")]),
    )
    rows = torch.full((len(text) + 3, model.vocab.num_columns), model.vocab.pad_id)
    rows[:, 0] = torch.cat([text, special])
    codes = np.random.default_rng(0).integers(0, 256, (200, 8))
    frames = torch.from_numpy(speech_segment(codes, model.vocab)[1].ids_TK[:-1])
    found, frame = model.embed(rows[None])[0], model.embed(frames[None])[0]
    scale = found[: len(text)].std().item()
    assert found[-3:].std().item() == pytest.approx(scale, rel=0.4) and frame.std().item() == pytest.approx(
        scale, rel=0.4
    )


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_decoding_with_a_cache_equals_decoding_without(llms, name):
    _, model = llms(name)
    special = lambda *names: special_segment(list(names), model.vocab)  # noqa: E731
    codes = np.random.default_rng(0).integers(0, 256, (9, 8))
    text = [
        join([special("<asr>", "<en>"), *speech_segment(codes[:n], model.vocab), special("<text>")], 0).ids_TK
        for n in (9, 2)
    ]
    for prefix, found in zip(text, generate_text(model, text, DecodeOptions(max_rows=7)), strict=True):
        ids = found.output
        logits = uncached(model, [prefix, plain_text_segment(ids, model.vocab).ids_TK])[len(prefix) - 1 :]
        allowed = torch.cat(
            [logits[:, : model.vocab.text_size], logits[:, [model.vocab.special_id("</text>")]]], dim=1
        ).argmax(dim=1)
        assert allowed[: len(ids)].tolist() == ids and (len(ids) == 7 or allowed[len(ids)] == model.vocab.text_size)
    speech = [
        join(
            [special("<tts>", "<en>"), *text_segment(list(range(4, 4 + n)), model.vocab), special("<speech>")], 0
        ).ids_TK
        for n in (8, 3)
    ]
    start = model.vocab.codes_start
    for prefix, found in zip(speech, generate_speech(model, speech, DecodeOptions(max_rows=6)), strict=True):
        codes_TK = found.output
        frames = speech_segment(codes_TK, model.vocab)[1].ids_TK[:-1] if len(codes_TK) else prefix[:0]
        logits = uncached(model, [prefix, frames])[len(prefix) - 1 :]
        assert logits[: len(codes_TK), start : start + 256].argmax(dim=1).tolist() == codes_TK[:, 0].tolist()


def uncached(model, parts: list[np.ndarray]) -> torch.Tensor:
    """Return logits_LV of column 0 by one pass over all rows."""
    ids_1LK = torch.from_numpy(np.concatenate(parts))[None]
    length = ids_1LK.shape[1]
    return model.first_logits(
        model.hidden(ids_1LK, torch.ones(1, length, dtype=torch.long), torch.arange(length)[None])
    )[0]


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_saved_loaded_and_exported_it_is_the_same(llms, name, tmp_path):
    folder, model = llms(name)
    copy_llm_files(str(folder), model.llm.config, tmp_path / "llm")
    model.vocab.save(tmp_path / "vocab.json")
    save_weights(tmp_path / "model.safetensors", model)
    trained = load_model(tmp_path)  # a folder without config.json, as earlier versions wrote it
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}, "buffers stay as they are"
    assert all(torch.equal(a.bfloat16(), b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), trained.model.state_dict().values(), strict=True)
    )
    ids = ids_of(folder, SENTENCES[0])
    rows = plain_text_segment(ids, model.vocab).ids_TK
    assert torch.equal(uncached(model, [rows]), uncached(trained.model, [rows]))
    export_llm(trained)
    exported = AutoModelForCausalLM.from_pretrained(
        tmp_path / "llm", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    expected = uncached(model, [rows])[:, : model.vocab.text_size]
    torch.testing.assert_close(exported(torch.tensor([ids])).logits[0], expected, atol=2e-3, rtol=1e-3)
    assert (exported.get_input_embeddings().weight is exported.get_output_embeddings().weight) == FAMILIES[name].tied
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llm")
    assert tokenizer.encode(SENTENCES[0]) == AutoTokenizer.from_pretrained(folder).encode(SENTENCES[0])
    assert load_text_tokenizer(str(tmp_path / "llm")).fingerprint == model.vocab.text_fingerprint


def asr_batch(model) -> dict:
    codes = np.random.default_rng(0).integers(0, 256, (6, 8))
    segments = [special_segment(["<asr>", "<en>"], model.vocab), *speech_segment(codes, model.vocab)]
    example = join(segments + text_segment([5, 6, 7, 8, 9], model.vocab, target=True), condition_weight=1.0)
    return pack([[example, example]], 50, model.vocab.pad_id, model.vocab.num_columns)


@pytest.mark.parametrize("name", ["qwen1.5", "gemma2", "gemma3"])
def test_one_batch_is_learned(name, tmp_path):
    args = options(make_llm(tmp_path, name))
    model = training_model(start_from_llm(args), args).train()
    batch, optimizer, losses = asr_batch(model.speechlm), torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(40):
        with torch.autocast("cpu", dtype=torch.bfloat16):  # as in training
            loss = model.mean_loss(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    head, table = model.speechlm.llm.get_output_embeddings().weight, model.speechlm.llm.get_input_embeddings().weight
    assert (head is table) == FAMILIES[name].tied


@pytest.mark.parametrize("name", ["qwen3", "llama3", "gemma2", "gemma3"])
def test_gradient_checkpointing_changes_no_gradient(tmp_path, name):
    folder, found = make_llm(tmp_path, name), []
    for flag in ("false", "true"):
        torch.manual_seed(2)
        args = options(folder, "--gradient_checkpointing", flag)
        model = training_model(start_from_llm(args), args).train()
        runs = []
        model.speechlm.llm.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        loss = model.mean_loss(**asr_batch(model.speechlm))
        loss.backward()
        found.append((loss, [parameter.grad for parameter in model.parameters()], len(runs)))
    (loss, gradients, runs), (other_loss, other_gradients, other_runs) = found
    assert (runs, other_runs) == (1, 2) and torch.equal(loss, other_loss)
    for one, other in zip(gradients, other_gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_tokenizer_of_another_llm_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"its tokenizer has ids up to \d+, its embedding table \d+ rows.*Restore the tokenizer files"
    ):
        start_from_llm(options(make_llm(tmp_path, "llama2", spare=-20)))


def test_preflight_refuses_an_llm_whose_text_would_change(llms):
    check_text_logits(llms("gemma2")[1])
    config = GraniteConfig(**SIZES, vocab_size=300, logits_scaling=8.0)  # which nothing here knows of
    model = SpeechLM(AutoModelForCausalLM.from_config(config), Vocabulary(300, BOUNDARIES, (8,), "parallel", "t", "c"))
    with pytest.raises(ValueError, match="granite: the logits of a text differ from those in transformers"):
        check_text_logits(model)


def test_preflight_refuses_an_llm_whose_packed_examples_see_each_other(llms):
    check_packing(llms("gemma3")[1])
    config = OPTConfig(
        vocab_size=300, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    )
    model = SpeechLM(AutoModelForCausalLM.from_config(config), Vocabulary(300, BOUNDARIES, (8,), "parallel", "t", "c"))
    with pytest.raises(ValueError, match="opt: examples that are packed into one row see each other"):
        check_packing(model)


def test_weights_that_are_not_there_are_not_made_up(tmp_path):
    folder = make_llm(tmp_path, "qwen2.5")
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack weights .*layers.1.mlp.up_proj"):
        load_llm(str(folder), random_init=False)
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="cannot be loaded .* all of one model: copy the folder again"):
        load_llm(str(folder), random_init=False)


def test_a_multimodal_model_is_refused(tmp_path):
    from transformers import Gemma3Config

    Gemma3Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"a multimodal model \(gemma3\). Expected a textual LLM"):
        load_llm(str(tmp_path), random_init=True)


def test_without_a_network_one_line_says_how_to_fetch(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("requests.sessions.Session.send", refuse)
    for load in (lambda name: load_llm(name, random_init=False), load_text_tokenizer):
        with pytest.raises(
            ValueError, match="hf download nobody/nothing --local-dir FOLDER; copy FOLDER here and write --llm FOLDER"
        ) as caught:
            load("nobody/nothing")
        assert "\n" not in str(caught.value)
