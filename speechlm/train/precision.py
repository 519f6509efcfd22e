"""Number formats of a training: bfloat16 where the processor multiplies it fast, else float32.

Processors without bfloat16 arithmetic (x86 without AVX-512) emulate it: a product of matrices takes 7 times as long as in float32, measured on
two cores of an AMD EPYC of that kind.
"""

import math

import torch
from torch.distributed.tensor import DTensor

from speechlm.model.tensors import part_like, whole


def has_bfloat16(device: str) -> bool:
    """Tell whether products of bfloat16 matrices are fast on a device ("cuda" or "cpu")."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False


def autocast(device: str, dtype: str) -> torch.autocast:
    """Return the context of a forward pass for --dtype "bfloat16" or "float32"."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16" and has_bfloat16(device))


def make_muon(matrices: list[torch.nn.Parameter], device: str, **options) -> torch.optim.Muon:
    """Return torch's Muon, whose iteration is in bfloat16, or ours, in the format that the device is fast in."""
    options["adjust_lr_fn"] = "match_rms_adamw"
    if has_bfloat16(device) and not any(isinstance(matrix, DTensor) for matrix in matrices):
        return torch.optim.Muon(matrices, **options)
    return OwnMuon(matrices, torch.bfloat16 if has_bfloat16(device) else torch.float32, **options)


class OwnMuon(torch.optim.Muon):
    """Muon (https://kellerjordan.github.io/posts/muon) for float32 too, and for sharded matrices; options and state are those of torch's.

    Every rank gathers a sharded matrix and orthogonalises all of it, since that is no work on its rows one by one.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], dtype: torch.dtype, **options):
        super().__init__(matrices, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Make a step from the gradients, matrix by matrix."""
        assert closure is None, "gradients are computed before"
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_matrix(matrix, group)

    def _step_matrix(self, matrix: torch.nn.Parameter, group: dict) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
        update = matrix.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        scale = 0.2 * math.sqrt(max(matrix.shape))  # match_rms_adamw: steps as large as AdamW's
        straight = orthogonalise(whole(update).to(self.dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])
        matrix.add_(part_like(straight, matrix), alpha=-group["lr"] * scale)


def orthogonalise(update_MN: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> torch.Tensor:
    """Return the matrix with its singular values brought near 1, by the quintic Newton-Schulz iteration X <- a X + (b A + c A A) X, A = X X'."""
    a, b, c = coefficients
    wide = update_MN.T if update_MN.shape[0] > update_MN.shape[1] else update_MN
    X = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if update_MN.shape[0] > update_MN.shape[1] else X
