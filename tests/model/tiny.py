"""A tiny speech LLM for tests: random weights, real classes."""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary


def tiny_model(pattern: str = "parallel", tied: bool = False) -> SpeechLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=tied,
    )  # fmt: skip
    specials = (*BOUNDARIES, "<asr>", "<tts>", "<en>")
    return SpeechLM(LlamaForCausalLM(config), Vocabulary(20, specials, (8, 8, 8), pattern, "t", "c")).eval()


def random_codes(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 8, (frames, 3))
