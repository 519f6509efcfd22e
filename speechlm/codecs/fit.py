"""The closed form that a codec starts from: principal components of log-mel patches, then the codebooks by k-means.

Shapes: as in `speechlm.codecs.spectral`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from encodec import EncodecModel

from speechlm.codecs.clips import Clips
from speechlm.codecs.rvq import init_codebooks

CLIPS_PER_DRAW, FRAMES_PER_BATCH = 16, 1024


@torch.no_grad()
def fit(model: EncodecModel, clips: Clips, count: int, seed: int) -> None:
    """Set the components and the codebooks of a spectral or vocos codec from so many random clips."""
    torch.manual_seed(seed)
    patches_NP = draw_patches(model, clips, count, seed).flatten(0, 1)
    model.encoder.fit(patches_NP)
    model.decoder.closed.fit(model.encoder)
    latents_ND = (patches_NP - model.encoder.mean_P) @ model.encoder.components_PD
    missing = model.quantizer.dimension - latents_ND.shape[1]
    layers = model.quantizer.vq.layers[model.encoder.config.letter_codebooks :]
    init_codebooks(layers, F.pad(latents_ND, (0, missing)), FRAMES_PER_BATCH)


@torch.no_grad()
def fit_letters(model: EncodecModel, clips: Clips, count: int, seed: int) -> None:
    """Set the codebooks of the letters of a vocos codec from the latents of so many random clips."""
    torch.manual_seed(seed)
    latents_BTL = [
        model.encoder.latents(part) for part in draw_patches(model, clips, count, seed).split(CLIPS_PER_DRAW)
    ]
    latents_NL = torch.cat(latents_BTL).flatten(0, 1)
    latents_NL[:, : model.encoder.config.dimension] = 0
    init_codebooks(model.quantizer.vq.layers[: model.encoder.config.letter_codebooks], latents_NL, FRAMES_PER_BATCH)


def draw_patches(model: EncodecModel, clips: Clips, count: int, seed: int) -> torch.Tensor:
    """Return log-mel patches_BTP of so many random clips, rounded up to a whole draw."""
    rng = np.random.default_rng(seed)
    return torch.cat(
        [model.encoder.patches(clips.draw(CLIPS_PER_DRAW, rng)) for _ in range(-(-count // CLIPS_PER_DRAW))]
    )
