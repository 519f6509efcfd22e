"""How the codebooks of an EncodecModel are set: by k-means over many latents, one after the other, or from a codec that
is there. The package's own training step goes on from them.

That step restarts a code that a batch uses less than `RARE` times, and then undoes the restart in its moving average:
with the package's own bound of 2 and a few hundred frames a batch, the first codebook collapses. Shapes: D latent
dimension, N frames, C codes of a codebook.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from encodec.quantization.core_vq import ResidualVectorQuantization, VectorQuantization

KMEANS_ITERATIONS = 15
RARE = 0.3  # uses a batch


@torch.no_grad()
def init_codebooks(layers: Iterable[VectorQuantization], latents_ND: torch.Tensor, frames_per_batch: int) -> None:
    """Set every codebook by k-means over the residual that the codebooks before it leave."""
    residual_ND = latents_ND
    for layer in layers:
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


def train_codebooks(
    layers: Iterable[VectorQuantization], latents_BDT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the package's training step of these codebooks, each on what the ones before it leave. Return the coded
    latents_BDT, straight through, and each codebook's distance_K.
    """
    residual_BDT, coded_BDT, distances = latents_BDT, torch.zeros_like(latents_BDT), []
    for layer in layers:
        quantised_BDT, _, distance = layer(residual_BDT)
        residual_BDT, coded_BDT = residual_BDT - quantised_BDT, coded_BDT + quantised_BDT
        distances.append(distance.mean())
    return coded_BDT, torch.stack(distances)


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
