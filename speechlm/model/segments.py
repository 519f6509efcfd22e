"""Attention of packed rows on the CPU, example by example: most of the attention over whole rows would be computed in
vain, since the mask hides other examples.

Letters in shapes: B rows, L positions, N = B L, H heads (of queries, or of keys), E width of a head, P places: each
example padded to the longest of its group. Examples in a group are of nearly the same length.
"""

import inspect
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "speechlm_segments"
LEAST = 0.75  # the shortest of a group, of its longest


class Groups(NamedTuple):
    """`place_N`, the place of each position; `shapes`, examples and places of an example, of each group."""

    place_N: Tensor
    shapes: list[tuple[int, int]]


@lru_cache(maxsize=1)  # the layers of a model are given the same tensor
def groups_of(position_BL: Tensor) -> Groups:
    """Return the places of packed rows: an example begins wherever positions don't go on by one."""
    position = position_BL.numpy()
    goes_on = np.diff(position, axis=1, prepend=position[:, :1]) == 1
    start_S = np.flatnonzero(~goes_on)
    length_S = np.diff(start_S, append=position.size)
    order = np.argsort(-length_S, kind="stable")
    first_S, shapes, begin, places = np.zeros_like(start_S), [], 0, 0
    while begin < len(order):
        longest = int(length_S[order[begin]])
        count = int(np.searchsorted(-length_S[order[begin:]], -LEAST * longest, side="right"))
        first_S[order[begin : begin + count]] = places + longest * np.arange(count)
        shapes.append((count, longest))
        begin, places = begin + count, places + count * longest
    place_N = np.repeat(first_S - start_S, length_S) + np.arange(position.size)
    return Groups(torch.from_numpy(place_N), shapes)


class Spread(torch.autograd.Function):
    """Put the rows of a matrix [N, D] to their places [P, D]; what is not a place is 0."""

    @staticmethod
    def forward(ctx, x_ND: Tensor, place_N: Tensor, places: int) -> Tensor:
        ctx.place_N = place_N
        return x_ND.new_zeros(places, x_ND.shape[1]).index_copy_(0, place_N, x_ND)

    @staticmethod
    def backward(ctx, slope_PD: Tensor):
        return slope_PD.index_select(0, ctx.place_N), None, None


class Collect(torch.autograd.Function):
    """Take the rows of a matrix [P, D] from their places: undoes `Spread`."""

    @staticmethod
    def forward(ctx, x_PD: Tensor, place_N: Tensor) -> Tensor:
        ctx.place_N, ctx.places = place_N, len(x_PD)
        return x_PD.index_select(0, place_N)

    @staticmethod
    def backward(ctx, slope_ND: Tensor):
        return slope_ND.new_zeros(ctx.places, slope_ND.shape[1]).index_copy_(0, ctx.place_N, slope_ND), None


def attend(
    module: nn.Module,
    query_BHLE: Tensor,
    key_BHLE: Tensor,
    value_BHLE: Tensor,
    attention_mask: None,
    position_ids: Tensor,
    scaling: float | None = None,
    **_more,
) -> tuple[Tensor, None]:
    """Return output_BLHE, as transformers' attention functions do."""
    rows, _, positions, _ = query_BHLE.shape
    place_N, shapes = groups_of(position_ids)
    sizes, found = [count * length for count, length in shapes], []
    given = [each.transpose(1, 2).flatten(0, 1) for each in (query_BHLE, key_BHLE, value_BHLE)]  # [N, H, E]
    spread = [Spread.apply(each.flatten(1), place_N, sum(sizes)).view(-1, *each.shape[1:]) for each in given]
    for (count, length), *parts in zip(shapes, *(each.split(sizes) for each in spread)):
        own = [part.view(count, length, *part.shape[1:]).transpose(1, 2) for part in parts]
        out, _ = sdpa_attention_forward(module, *own, None, scaling=scaling, is_causal=length > 1)
        found.append(out.flatten(0, 1).flatten(1))
    return Collect.apply(torch.cat(found), place_N).view(rows, positions, query_BHLE.shape[1], -1), None


def use_segments(llm: nn.Module) -> bool:
    """Make an LLM use this attention, if its layers pass on where examples begin, as FlashAttention needs it, and mask
    nothing else: no windows, score bounds or dropout. Return whether it does.
    """
    hiding = ("sliding_window", "attn_logit_softcapping", "attention_dropout")
    fits = llm._supports_flash_attn and llm._supports_sdpa and not any(getattr(llm.config, name, 0) for name in hiding)
    if fits := fits and hands_on_positions(llm):
        llm.set_attn_implementation(NAME)
    return fits


def hands_on_positions(llm: nn.Module) -> bool:
    """Do an LLM's layers pass all their arguments on to their attention function, including the positions? Some
    (Persimmon) do not.
    """
    layers = getattr(llm.get_decoder(), "layers", None)
    attention = getattr(layers[0], "self_attn", None) if layers else None
    if attention is None:
        return False
    named = inspect.signature(type(attention).forward).parameters
    return "position_ids" not in named and any(each.kind is each.VAR_KEYWORD for each in named.values())


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_given, **_named: None)
