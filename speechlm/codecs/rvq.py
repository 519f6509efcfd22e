"""How the codebooks of an EncodecModel are set and trained: by k-means over many latents, one after the other, then by
moving averages (van den Oord et al. 2017, arXiv 1711.00937, appendix A).

The package's own training step restarts every code that is used less than twice a batch, and then undoes the restart in
the moving average: with a few hundred frames a batch its first codebook collapses. It also waits for the GPU several
times a codebook. Shapes: B batch, T frames, D latent dimension, N = B x T, C codes of a codebook.
"""

import torch
import torch.nn.functional as F
from encodec.quantization.core_vq import ResidualVectorQuantization

KMEANS_ITERATIONS = 15
DECAY = 0.99  # of the moving averages, a step
RARE = 0.02  # a code that is used less often than this share of the mean starts anew


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


def init_averages(vq: ResidualVectorQuantization, frames_per_batch: int) -> None:
    """Start the moving averages of codebooks that are there: each code is used equally often."""
    for layer in vq.layers:
        codebook = layer._codebook
        codebook.cluster_size.fill_(frames_per_batch / codebook.codebook_size)
        codebook.embed_avg.copy_(codebook.embed * codebook.cluster_size[:, None])
        codebook.inited.fill_(1.0)


def quantise_and_learn(
    vq: ResidualVectorQuantization, latents_BDT: torch.Tensor, depth: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return coded_BDT by the first `depth` codebooks, with the latents' gradient, and the commitment loss; move each
    codebook towards what it codes.
    """
    latents_ND = latents_BDT.transpose(1, 2).flatten(0, 1)
    residual_ND = latents_ND.detach()
    for layer in vq.layers[:depth]:
        indices_N = layer._codebook.quantize(residual_ND)
        coded_ND = F.embedding(indices_N, layer._codebook.embed)
        _learn(layer._codebook, residual_ND, indices_N)
        residual_ND = residual_ND - coded_ND
    coded_BDT = (latents_ND - residual_ND).unflatten(0, (len(latents_BDT), -1)).transpose(1, 2)
    return coded_BDT, F.mse_loss(latents_BDT, coded_BDT.detach())


@torch.no_grad()
def _learn(codebook, points_ND: torch.Tensor, indices_N: torch.Tensor) -> None:
    """Move the codes to the moving average of their points; codes that are hardly used become points of this batch."""
    size, ones_N = codebook.codebook_size, points_ND.new_ones(len(points_ND))
    use_C = points_ND.new_zeros(size).index_add_(0, indices_N, ones_N)
    codebook.cluster_size.lerp_(use_C, 1 - DECAY)
    codebook.embed_avg.lerp_(torch.zeros_like(codebook.embed).index_add_(0, indices_N, points_ND), 1 - DECAY)
    mean_use = len(points_ND) / size
    rare_C = codebook.cluster_size < RARE * mean_use
    chosen_CD = points_ND[torch.randint(len(points_ND), (size,), device=points_ND.device)]
    codebook.cluster_size.copy_(torch.where(rare_C, mean_use, codebook.cluster_size))
    codebook.embed_avg.copy_(torch.where(rare_C[:, None], chosen_CD * mean_use, codebook.embed_avg))
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size[:, None])


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
