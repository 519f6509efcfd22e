"""conf/llm_model.yaml: what the small textual LLM is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechlm.data.layers import read_layers
from speechlm.data.settings import Positive, fill, read_value

SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


@dataclass(frozen=True)
class LlmModel:
    """`vocab_size` of the tokenizer; `model`: the fields of a Hugging Face config."""

    vocab_size: Positive
    model: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.model.get("model_type"), str):
            raise ValueError(
                f"model: model_type is {self.model.get('model_type')!r}; expected a Hugging Face architecture, such as"
                " llama"
            )
        for name in SIZES:
            if name in self.model:
                read_value(self.model[name], Positive, f"model: {name}")
        width, heads = (self.model.get(name) for name in ("hidden_size", "num_attention_heads"))
        if width and heads and "head_dim" not in self.model and width % heads:
            raise ValueError(f"model: hidden_size is {width}; expected a multiple of num_attention_heads, {heads}")


def read_llm_model(*paths: str | Path) -> dict[str, Any]:
    """Return {"vocab_size", "model"} of these files, later ones over earlier ones; raise ValueError naming what is
    wrong.
    """
    return vars(fill(LlmModel, *read_layers(paths)))
