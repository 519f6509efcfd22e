"""How the codebooks of an EncodecModel are trained.

The package's own training step restarts every code that is used less than twice a batch, and then undoes the
restart in the moving average: with a few hundred frames a batch its first codebook collapses. Here codebooks start
from k-means over many batches, and only codes that have nearly died are moved.
Shapes: B batch, D latent dimension, T frames, N frames of a whole batch, K codebooks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from encodec.quantization.core_vq import EuclideanCodebook, ResidualVectorQuantization

DECAY = 0.99
DEAD_SHARE = 0.05  # a code used less than this share of the mean use is moved to a random latent
KMEANS_ITERATIONS = 15


@dataclass(frozen=True)
class Quantized:
    """latents_BDT: quantised, with the gradient of the unquantised; commitment: scalar loss, scale-free."""

    latents_BDT: torch.Tensor
    commitment: torch.Tensor


def quantize_and_learn(vq: ResidualVectorQuantization, latents_BDT: torch.Tensor, depth_B: torch.Tensor) -> Quantized:
    """Quantise each clip with its own number of codebooks, and move all codebooks towards what they code.

    depth_B: int, 1..K, how many codebooks the decoder gets of each clip (quantiser dropout). Every codebook
    learns from every clip.
    """
    B, D, T = latents_BDT.shape
    assert depth_B.shape == (B,)
    latents_ND = latents_BDT.transpose(1, 2).reshape(B * T, D)
    scale = latents_ND.detach().var(dim=0).mean() + 1e-8
    residual_ND, sum_ND, commitment = latents_ND, torch.zeros_like(latents_ND), 0.0
    for k, layer in enumerate(vq.layers):
        code_ND = _learn(layer._codebook, residual_ND.detach())
        commitment = commitment + F.mse_loss(residual_ND, code_ND) / scale / len(vq.layers)
        residual_ND = residual_ND - code_ND
        sum_ND = sum_ND + code_ND * (depth_B > k).repeat_interleave(T)[:, None]
    straight_ND = latents_ND + (sum_ND - latents_ND).detach()
    return Quantized(straight_ND.view(B, T, D).transpose(1, 2), commitment)


@torch.no_grad()
def _learn(codebook: EuclideanCodebook, residual_ND: torch.Tensor) -> torch.Tensor:
    """Return the nearest codes of the residuals, then update the moving averages."""
    indices_N = codebook.quantize(residual_ND)
    code_ND = F.embedding(indices_N, codebook.embed)
    use_C = torch.bincount(indices_N, minlength=codebook.codebook_size).to(residual_ND.dtype)
    sums_CD = torch.zeros_like(codebook.embed).index_add_(0, indices_N, residual_ND)
    codebook.cluster_size.mul_(DECAY).add_(use_C, alpha=1 - DECAY)
    codebook.embed_avg.mul_(DECAY).add_(sums_CD, alpha=1 - DECAY)
    _revive(codebook, residual_ND)
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size[:, None])
    return code_ND


def _revive(codebook: EuclideanCodebook, residual_ND: torch.Tensor) -> None:
    mean_use = codebook.cluster_size.mean()
    dead_C = torch.nonzero(codebook.cluster_size < DEAD_SHARE * mean_use)[:, 0]
    chosen = torch.randint(len(residual_ND), (len(dead_C),))
    codebook.cluster_size[dead_C] = 0.5 * mean_use
    codebook.embed_avg[dead_C] = residual_ND[chosen] * 0.5 * mean_use


@torch.no_grad()
def init_codebooks(vq: ResidualVectorQuantization, latents_ND: torch.Tensor, frames_per_batch: int) -> None:
    """Set every codebook by k-means over the residual that the codebooks before it leave."""
    residual_ND = latents_ND
    for layer in vq.layers:
        codebook = layer._codebook
        embed_CD = kmeans(residual_ND, codebook.codebook_size)
        codebook.embed.copy_(embed_CD)
        codebook.inited.fill_(1.0)
        indices_N = codebook.quantize(residual_ND)
        use_C = torch.bincount(indices_N, minlength=codebook.codebook_size).float()
        codebook.cluster_size.copy_((use_C * frames_per_batch / len(residual_ND)).clamp_min(1e-3))
        codebook.embed_avg.copy_(embed_CD * codebook.cluster_size[:, None])
        residual_ND = residual_ND - F.embedding(indices_N, embed_CD)


def kmeans(points_ND: torch.Tensor, size: int) -> torch.Tensor:
    """Return the centres [size, D] of Lloyd's algorithm, from random points; an empty cluster keeps its centre."""
    chosen = torch.randperm(len(points_ND))[:size] if len(points_ND) >= size else torch.randint(len(points_ND), (size,))
    centres_CD = points_ND[chosen].clone()
    for _ in range(KMEANS_ITERATIONS):
        nearest_N = (2 * points_ND @ centres_CD.T - centres_CD.square().sum(1)).argmax(1)
        use_C = torch.bincount(nearest_N, minlength=size).to(points_ND.dtype)
        sums_CD = torch.zeros_like(centres_CD).index_add_(0, nearest_N, points_ND)
        centres_CD = torch.where(use_C[:, None] > 0, sums_CD / use_C.clamp_min(1)[:, None], centres_CD)
    return centres_CD
