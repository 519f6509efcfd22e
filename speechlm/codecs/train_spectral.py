"""Fit a spectral codec (kind "spectral"): principal components, then the codebooks by k-means, in closed form.

It takes half a minute: interrupted, it starts again. Shapes: as in `speechlm.codecs.spectral`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from encodec import EncodecModel

from speechlm.codecs.clips import Clips, ClipSettings
from speechlm.codecs.encodec import save_folder
from speechlm.codecs.fit import fit
from speechlm.codecs.losses import MelLoss
from speechlm.codecs.spectral import SpectralConfig, build_spectral
from speechlm.data.files import atomic_write
from speechlm.data.settings import Above0, Count, Positive, Weight

DEV_CLIPS, DEV_SEED = 16, 1_000_000_007


@dataclass(frozen=True)
class SpectralTrainConfig:
    """Everything that decides the result besides the data."""

    model: SpectralConfig = field(default_factory=SpectralConfig)
    fit_clips: Positive = 2400
    clip_sec: Above0 = 1.28
    gain_db: Weight = 6.0
    seed: Count = 1

    @property
    def clips(self) -> ClipSettings:
        hop, rate = self.model.hop_samples, self.model.sample_rate_hz
        return ClipSettings(rate, round(self.clip_sec * rate / hop) * hop, self.gain_db)


def train_spectral(
    config: SpectralTrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path, device: str = "cpu"
) -> None:
    """Fit; leave config.json, model.safetensors and train.log in `out_dir`. ValueError for another device than the
    CPU.
    """
    if device != "cpu":
        raise ValueError("--ngpu: a codec of kind spectral is fitted on the CPU, in half a minute. Leave it out")
    clips, dev = (Clips(dirs, config.clips) if dirs else None for dirs in (data_dirs, dev_dirs))
    model = build_spectral(config.model)
    print(f"components and codebooks from {config.fit_clips} clips of {config.clip_sec} s ...", flush=True)
    fit(model, clips, config.fit_clips, config.seed)
    with atomic_write(out_dir / "train.log") as stream:
        stream.write(f"fitted on {config.fit_clips} clips of {config.clip_sec} s, dev_mel {dev_mel(model, dev):.4f}\n")
    save_folder(out_dir, model, config.model)


@torch.no_grad()
def dev_mel(model: EncodecModel, dev: Clips | None) -> float:
    """Return the mel distance of fixed clips, coded and decoded (nan without dev data)."""
    if dev is None:
        return float("nan")
    clips_BN = dev.draw(DEV_CLIPS, np.random.default_rng(DEV_SEED))
    latents_BDT = model.quantizer.decode(model.quantizer.vq.encode(model.encoder(clips_BN[:, None])))
    return float(MelLoss(model.sample_rate)(model.decoder(latents_BDT)[:, 0], clips_BN))
