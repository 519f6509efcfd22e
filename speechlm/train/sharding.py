"""Weights, gradients and optimizer state in parts, one a rank: FSDP2 (`fully_shard`), for models that do not fit a GPU
whole.

What stays is float32; a layer's weights are gathered, in bfloat16 on a GPU, while they are used.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from speechlm.model.tensors import whole
from speechlm.train.precision import has_bfloat16


def shard(model: nn.Module, layers: Iterable[nn.Module], device: str, dtype: str) -> None:
    """Leave each rank its part of the model: gathered layer by layer, and what is in no layer as a whole."""
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    low = device == "cuda" and dtype == "bfloat16" and has_bfloat16(device)
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if low else MixedPrecisionPolicy()
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(
        model, mesh=mesh, mp_policy=replace(policy, cast_forward_inputs=False)
    )  # weights of losses stay float32


def is_sharded(model: nn.Module) -> bool:
    """Tell whether every rank holds only a part of the model: then all must run it together."""
    return isinstance(model, FSDPModule)


def no_sync(parallel: nn.Module) -> AbstractContextManager:
    """Keep a backward pass's gradients to the rank, to be added up before they are summed; sharded ones have no room
    for that.
    """
    return nullcontext() if is_sharded(parallel) or not hasattr(parallel, "no_sync") else parallel.no_sync()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a 2-norm over all of them, on all ranks; return what it was."""
    parameters = list(parameters)
    norm = whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
