"""Tiny LLMs of the families that people start from: real classes and tokenizer types, weights in bfloat16, in a folder
as published.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import sentencepiece
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaTokenizerFast,
    GPT2TokenizerFast,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2TokenizerFast,
    Qwen3Config,
)

LINES = [
    "the dog sees a small house",
    "a cat has seen the old dogs",
    "el perro ve una casa",
    "wir sehen 12 Häuser, 你好!",
] * 5
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SIZES |= {"max_position_embeddings": 128}
WINDOW = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}


@cache
def byte_pairs() -> tuple[str, str, object]:
    """Return vocab.json, merges.txt and the tokenizer of a byte-level BPE."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(LINES, vocab_size=290, show_progress=False)
    return *tokenizer.save_model(mkdtemp()), tokenizer


@cache
def pieces(pad_id: int, eos_id: int, bos_id: int, unk_id: int) -> str:
    """Return a sentencepiece BPE model with byte fallback."""
    prefix = f"{mkdtemp()}/pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=prefix, model_type="bpe", vocab_size=320, byte_fallback=True,
        minloglevel=2,
        pad_id=pad_id, eos_id=eos_id, bos_id=bos_id, unk_id=unk_id,
    )  # fmt: skip
    return f"{prefix}.model"


def qwen():
    return Qwen2TokenizerFast(*byte_pairs()[:2])


def llama3():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs()[2]._tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|eot_id|>"]})
    return tokenizer


def gemma3():
    tokenizer = GemmaTokenizerFast(vocab_file=pieces(0, 1, 2, 3))
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<image_soft_token>"]}
    )  # has no embedding in the text models
    return tokenizer


@dataclass(frozen=True)
class Family:
    """`spare` is the number of embedding rows beyond the tokenizer's ids."""

    config: Callable
    tokenizer: Callable
    tied: bool
    spare: int = 0


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {
    "qwen1.5": Family(lambda **more: Qwen2Config(**SIZES | more), qwen, tied=False, spare=13),
    "qwen2.5": Family(lambda **more: Qwen2Config(**SIZES | more), qwen, tied=True, spare=13),
    "qwen3": Family(lambda **more: Qwen3Config(**SIZES | more, head_dim=12), qwen, tied=True, spare=7),
    "llama2": Family(lambda **more: LlamaConfig(**SIZES | more), lambda: LlamaTokenizer(pieces(-1, 2, 1, 0)),
    tied=False),
    "llama3": Family(lambda **more: LlamaConfig(**SIZES | more, rope_scaling=LLAMA3_ROPE), llama3, tied=False),
    "smollm": Family(lambda **more: LlamaConfig(**SIZES | more), lambda: GPT2TokenizerFast(*byte_pairs()[:2]),
    tied=True),
    "gemma": Family(lambda **more: GemmaConfig(**SIZES | more, head_dim=12),
    lambda: GemmaTokenizerFast(vocab_file=pieces(0, 1, 2, 3)), tied=True),
    "gemma2": Family(
        lambda **more: Gemma2Config(
            **SIZES | WINDOW | more, head_dim=12, query_pre_attn_scalar=12, attn_logit_softcapping=1.0,
            final_logit_softcapping=3.0
        ),
        lambda: GemmaTokenizerFast(vocab_file=pieces(0, 1, 2, 3)),
        tied=True,
    ),
    "gemma3": Family(lambda **more: Gemma3TextConfig(**SIZES | WINDOW | more, head_dim=12, query_pre_attn_scalar=12),
    gemma3, tied=True, spare=-1),
}  # fmt: skip


def make_llm(folder: Path, name: str, spare: int | None = None) -> Path:
    """Write a family's folder, with weights large enough that every part of the model shows."""
    torch.manual_seed(0)
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    rows = len(tokenizer) + (family.spare if spare is None else spare)
    model = AutoModelForCausalLM.from_config(
        family.config(vocab_size=rows, tie_word_embeddings=family.tied), dtype=torch.bfloat16
    )
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
