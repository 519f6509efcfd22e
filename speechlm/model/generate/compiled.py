"""The layers of an LLM as one compiled function of a decoding step: a dozen kernels in place of fifty.

At small batches a step costs what its kernels cost to start, whatever they compute. All layers share one function, and
so one compilation, for any batch and width (PyTorch's regional compilation). Letters in shapes: B slots in use, L
columns that a step sees, H heads, D width of a head.
"""

from functools import cache

import torch
from torch import Tensor, nn

from speechlm.model.generate.cache import SlotCache
from speechlm.model.speechlm import SpeechLM

RECOMPILATIONS = 32  # of one model: batches of one, strides and types are cases of their own
TUNING = {"coordinate_descent_tuning": True}  # of inductor: products with one row are no matrix products


class LayerCache:
    """What one layer's attention calls as its cache during a step: the columns that it sees, and where to write."""

    def __init__(self, kept_BLHD: tuple[Tensor, Tensor], position_B: Tensor):
        self.kept_BLHD, self.position_B = kept_BLHD, position_B

    def update(self, keys: Tensor, values: Tensor, _layer: int, _arguments=None) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, H, 1, D]; return those that attention sees."""
        slot_B = torch.arange(len(self.position_B), device=self.position_B.device)
        for kept_BLHD, new in zip(self.kept_BLHD, (keys, values)):
            kept_BLHD.index_put_((slot_B, self.position_B), new.squeeze(2))
        return tuple(kept_BLHD.transpose(1, 2) for kept_BLHD in self.kept_BLHD)

    def get_seq_length(self, _layer: int = 0) -> int:
        """Asked for by layers that scale their positions; ours are given."""
        return 0


class CompiledLayer:
    """The `forward` of a layer whose steps are compiled; all else runs as it did."""

    def __init__(self, layer: nn.Module, index: int):
        self.layer, self.index, self.plain = layer, index, layer.forward

    def __call__(self, hidden: Tensor, *args, past_key_values=None, **more):
        if args or not isinstance(past_key_values, SlotCache) or not past_key_values.steps(self.index):
            return self.plain(hidden, *args, past_key_values=past_key_values, **more)
        kept = past_key_values.seen(self.index)
        return compiled_step()(self.layer, hidden, kept, past_key_values.position_B, more)


def compile_steps(model: SpeechLM) -> None:
    """Let this model's layers run compiled in the steps of its engines, from now on."""
    for index, layer in enumerate(model.llm.get_decoder().layers):
        if not isinstance(vars(layer).get("forward"), CompiledLayer):
            layer.forward = CompiledLayer(layer, index)


def layer_step(layer: nn.Module, hidden: Tensor, kept: tuple[Tensor, Tensor], position_B: Tensor, more: dict):
    """Run one row of each slot through a layer, as its class says; `kept` are the keys_BLHD and values_BLHD."""
    kept = LayerCache(kept, position_B)
    return type(layer).forward(layer, hidden, past_key_values=kept, **more)


@cache
def compiled_step():
    """Return `layer_step`, compiled when it is first called, for any batch and width."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
    return torch.compile(layer_step, dynamic=True, options=TUNING)
