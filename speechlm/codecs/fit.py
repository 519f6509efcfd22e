"""The closed form that a codec starts from: principal components of log-mel patches, then the codebooks by k-means.

Shapes: as in `speechlm.codecs.spectral`.
"""

import numpy as np
import torch
from encodec import EncodecModel

from speechlm.codecs.clips import Clips
from speechlm.codecs.rvq import init_codebooks

CLIPS_PER_DRAW, FRAMES_PER_BATCH = 16, 1024


@torch.no_grad()
def fit(model: EncodecModel, clips: Clips, count: int, seed: int) -> None:
    """Set the components and the codebooks of a spectral or vocos codec from so many random clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    patches_BTP = torch.cat(
        [model.encoder.patches(clips.draw(CLIPS_PER_DRAW, rng)) for _ in range(-(-count // CLIPS_PER_DRAW))]
    )
    model.encoder.fit(patches_BTP.flatten(0, 1))
    getattr(model.decoder, "closed", model.decoder).fit(model.encoder)
    latents_BTD = (patches_BTP - model.encoder.mean_P) @ model.encoder.components_PD
    init_codebooks(model.quantizer.vq, latents_BTD.flatten(0, 1), FRAMES_PER_BATCH)
