"""The models of the benchmarks: a textual LLM of given sizes with tables and heads for codes, all weights random."""

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from speechlm.model.speechlm import SpeechLM
from speechlm.tokens.vocabulary import BOUNDARIES, Vocabulary

# The sizes of Qwen1.5-0.5B, and small ones; 8 codebooks of 1,024.
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "vocab_size": 151936,
}
TOY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 2000,
}
STREAMS, CODES = 8, 1024


def random_model(sizes: dict[str, int], device: str) -> SpeechLM:
    """Return a speech LLM of these sizes with random weights, the same each time."""
    config = Qwen2Config(**sizes, num_key_value_heads=sizes["num_attention_heads"], tie_word_embeddings=True)
    torch.manual_seed(0)
    vocab = Vocabulary(
        config.vocab_size, (*BOUNDARIES, "<tts>", "<en>"), (CODES,) * STREAMS, "parallel", "text", "codec"
    )
    with torch.device(device):
        return SpeechLM(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"), vocab)
