"""The layers of an LLM as one compiled function of a decoding step: a dozen kernels in place of fifty.

At small batches a step costs what its kernels cost to start, whatever they compute. All layers share one function, and
so one compilation, for any batch and width (PyTorch's regional compilation). Letters in shapes: B slots in use, L
columns that a step sees, G groups of heads that share keys and values, H heads, D width of a head.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from speechlm.model.generate.cache import SlotCache
from speechlm.model.speechlm import SpeechLM

RECOMPILATIONS = 32  # of one model: batches of one, strides and types are cases of their own
ATTENTION = "speechlm_one_row"  # as transformers calls it
TUNING = {"coordinate_descent_tuning": True}  # of inductor: products with one row are no matrix products


class LayerCache:
    """What one layer's attention calls as its cache during a step: the columns that it sees, and where to write."""

    is_compileable = True

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
        return compiled(layer_step)(self.layer, hidden, kept, past_key_values.position_B, more)


def compile_steps(model: SpeechLM) -> None:
    """Let this model's layers, and the choices that follow them, run compiled in its engines from now on."""
    if model.llm.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, attend)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.llm.set_attn_implementation(ATTENTION)
    for index, layer in enumerate(model.llm.get_decoder().layers):
        if not isinstance(vars(layer).get("forward"), CompiledLayer):
            layer.forward = CompiledLayer(layer, index)


def layer_step(layer: nn.Module, hidden: Tensor, kept: tuple[Tensor, Tensor], position_B: Tensor, more: dict):
    """Run one row of each slot through a layer, as its class says; `kept` are the keys_BLHD and values_BLHD."""
    kept = LayerCache(kept, position_B)
    return type(layer).forward(layer, hidden, past_key_values=kept, **more)


def attend(module: nn.Module, query_BHQD: Tensor, key_BGLD: Tensor, value_BGLD: Tensor, mask, **more):
    """Attention as transformers' layers call it; of one row as sums, which the compiler makes kernels of."""
    if query_BHQD.shape[2] > 1:
        return sdpa_attention_forward(module, query_BHQD, key_BGLD, value_BGLD, mask, **more)
    query_BGRD = query_BHQD.squeeze(2).unflatten(1, (key_BGLD.shape[1], -1)).float() * more["scaling"]
    score_BGRL = (query_BGRD.unsqueeze(3) * key_BGLD.unsqueeze(2)).sum(dim=-1)
    score_BGRL = score_BGRL + mask if mask.is_floating_point() else score_BGRL.masked_fill(~mask, -torch.inf)
    share_BGRL = score_BGRL.softmax(dim=-1)
    seen_BGRD = (share_BGRL.unsqueeze(-1) * value_BGLD.unsqueeze(2)).sum(dim=3)
    return seen_BGRD.flatten(1, 2).unsqueeze(1).to(query_BHQD.dtype), None


def is_compiled(model: SpeechLM) -> bool:
    """Was `compile_steps` called for this model?"""
    return isinstance(vars(model.llm.get_decoder().layers[0]).get("forward"), CompiledLayer)


@cache
def compiled(function: Callable) -> Callable:
    """Return a function that is compiled when it is first called, for any batch and width."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
    return torch.compile(function, dynamic=True, options=TUNING)
