"""Number formats of a training: bfloat16 where the processor multiplies it fast, else float32.

Processors without bfloat16 arithmetic (x86 without AVX-512) emulate it: a product of matrices takes 7 times as long as
in float32, measured on two cores of an AMD EPYC of that kind.
"""

import math

import torch

from speechlm.model.tensors import part_like, whole


def has_bfloat16(device: str) -> bool:
    """Tell whether products of bfloat16 matrices are fast on a device ("cuda" or "cpu")."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False


def autocast(device: str, dtype: str) -> torch.autocast:
    """Return the context of a forward pass for --dtype "bfloat16" or "float32"."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16" and has_bfloat16(device))


class Muon(torch.optim.Muon):
    """Muon (https://kellerjordan.github.io/posts/muon) with steps as large as AdamW's; options and state are those of
    torch's.

    Newton-Schulz is in `dtype`; every rank gathers a sharded matrix for it, which is no work on rows one by one. As
    with torch's fused AdamW, a step changes nothing where the tensor `found_inf` is 1.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], device: str, **options):
        super().__init__(matrices, adjust_lr_fn="match_rms_adamw", **options)
        self.dtype = torch.bfloat16 if has_bfloat16(device) else torch.float32
        self.found_inf = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Make a step from the gradients, matrix by matrix."""
        assert closure is None, "gradients are computed before"
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_matrix(matrix, group)

    def _step_matrix(self, matrix: torch.nn.Parameter, group: dict) -> None:
        state, stopped = self.state[matrix], self.found_inf > 0
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        gradient = torch.where(stopped, state["momentum_buffer"], matrix.grad)  # which leaves the momentum as it is
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        scale = 0.2 * math.sqrt(max(matrix.shape))  # match_rms_adamw
        step = orthogonalise(whole(update).to(self.dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])
        changed = (matrix * (1 - group["lr"] * group["weight_decay"])).add_(
            part_like(step, matrix), alpha=-group["lr"] * scale
        )
        matrix.copy_(torch.where(stopped, matrix, changed))


def orthogonalise(
    update_MN: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """Return the matrix with its singular values brought near 1, by the quintic Newton-Schulz iteration X <- a X + (b A
    + c A A) X, A = X X'.
    """
    a, b, c = coefficients
    wide = update_MN.T if update_MN.shape[0] > update_MN.shape[1] else update_MN
    X = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if update_MN.shape[0] > update_MN.shape[1] else X
