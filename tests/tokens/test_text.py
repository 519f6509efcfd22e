"""The small LLM's tokenizer: every text comes back as it was, and none is left out of its training."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlm.bin.text_tokenizer import MOST_BYTES, split_long, write_llm_folder
from speechlm.tokens.text import HuggingFaceTokenizer, load_text_tokenizer

SENTENCES = [
    "el niño busca la lámpara",
    "the boy finds the lamp",
    "你好，世界！医生今天卖那本书。",
    "Ｆｕｌｌ　ｗｉｄｔｈ ﬁ ½ e\u0301",
] * 20


@pytest.fixture(scope="session")
def llm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    write_llm_folder(folder, SENTENCES, {"vocab_size": 330, "model": {"model_type": "llama"}})
    return folder


@pytest.fixture(scope="session")
def tokenizer(llm):
    return load_text_tokenizer(str(llm))


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(codec="utf-8")) | st.text("a \u2581，ｅ\u0301</s>\u00ad\u200b\n\0"))
def test_every_text_comes_back_up_to_blanks(tokenizer, text):
    decoded = tokenizer.decode(tokenizer.encode(text))
    assert decoded.replace(" ", "") == text.replace(" ", "")
    if "  " not in f" {text} ".replace("\u2581", "") and not text.startswith(" "):
        assert decoded.strip(" ") == text.strip(" ")


def test_full_width_punctuation_costs_no_bleu(tokenizer):
    text = "你好，世界！（真的？）"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_no_line_is_too_long_to_learn_from(tmp_path):
    text = "医生今天卖那本书" * 700
    assert (
        "".join(split_long(text, MOST_BYTES)) == text
        and max(len(p.encode()) for p in split_long(text, MOST_BYTES)) <= MOST_BYTES
    )
    assert list(split_long("ab cd ef", 5)) == ["ab ", "cd ef"]
    write_llm_folder(tmp_path, [text], {"vocab_size": 300, "model": {}})
    assert len(load_text_tokenizer(str(tmp_path)).encode(text[:100])) < 110  # 301 when the line was dropped


def test_blanks_before_punctuation_stay(llm, tmp_path):
    """As Llama 3 is published: its tokenizer would take them out."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    text = "n 't , what ? do n't ."
    model = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*dict.fromkeys(text.split()), "</s>"])}, unk_token="</s>")
    )
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "clean_up_tokenization_spaces": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = HuggingFaceTokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert json.loads((llm / "tokenizer_config.json").read_text())["clean_up_tokenization_spaces"] is False
