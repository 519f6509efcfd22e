"""Fit a spectral codec (kind "spectral"): principal components, then the codebooks by k-means, in closed form.

It takes half a minute: interrupted, it starts again. Shapes: as in `speechlm.codecs.spectral`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from encodec import EncodecModel

from speechlm.codecs.clips import ClipSettings, draw_clips, read_spans
from speechlm.codecs.encodec import save_folder
from speechlm.codecs.losses import MelLoss
from speechlm.codecs.rvq import init_codebooks
from speechlm.codecs.spectral import SpectralConfig, build_spectral
from speechlm.data.files import atomic_write
from speechlm.data.kaldi import Span
from speechlm.data.settings import Above0, Count, Positive, Weight

CLIPS_PER_DRAW, DEV_CLIPS, DEV_SEED = 16, 16, 1_000_000_007


@dataclass(frozen=True)
class SpectralTrainConfig:
    """Everything that decides the result besides the data."""

    model: SpectralConfig = field(default_factory=SpectralConfig)
    fit_clips: Positive = 2400
    clip_sec: Above0 = 1.28
    gain_db: Weight = 6.0
    seed: Count = 1

    @property
    def clip_samples(self) -> int:
        return round(self.clip_sec * self.model.sample_rate_hz / self.model.hop_samples) * self.model.hop_samples


@torch.no_grad()
def fit(model: EncodecModel, config: SpectralTrainConfig, folders: list[list[Span]]) -> None:
    """Set the components and the codebooks from random clips of the folders, each folder with the same share."""
    torch.manual_seed(config.seed)
    settings = ClipSettings(config.model.sample_rate_hz, config.clip_samples, config.gain_db)
    rng = np.random.default_rng(config.seed)
    draws = [draw_clips(folders, settings, CLIPS_PER_DRAW, rng) for _ in range(-(-config.fit_clips // CLIPS_PER_DRAW))]
    patches_BTP = torch.cat([model.encoder.patches(torch.from_numpy(clips_BN)) for clips_BN in draws])
    model.encoder.fit(patches_BTP.flatten(0, 1))
    getattr(model.decoder, "closed", model.decoder).fit(model.encoder)
    latents_BTD = (patches_BTP - model.encoder.mean_P) @ model.encoder.components_PD
    init_codebooks(model.quantizer.vq, latents_BTD.flatten(0, 1), len(latents_BTD))


def train_spectral(config: SpectralTrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path) -> None:
    """Fit; leave config.json, model.safetensors and train.log in `out_dir`."""
    folders, dev_folders = ([read_spans(folder) for folder in dirs] for dirs in (data_dirs, dev_dirs))
    torch.manual_seed(config.seed)
    model = build_spectral(config.model)
    print(f"components and codebooks from {config.fit_clips} clips of {config.clip_sec} s ...", flush=True)
    fit(model, config, folders)
    with atomic_write(out_dir / "train.log") as stream:
        stream.write(
            f"fitted on {config.fit_clips} clips of {config.clip_sec} s, dev_mel"
            f" {dev_mel(model, config, dev_folders):.4f}\n"
        )
    save_folder(out_dir, model, config.model)


@torch.no_grad()
def dev_mel(model: EncodecModel, config: SpectralTrainConfig, folders: list[list[Span]]) -> float:
    """Return the mel distance of fixed clips, coded and decoded (nan without dev data)."""
    if not folders:
        return float("nan")
    settings = ClipSettings(config.model.sample_rate_hz, config.clip_samples, config.gain_db)
    clips_BN = torch.from_numpy(draw_clips(folders, settings, DEV_CLIPS, np.random.default_rng(DEV_SEED)))
    latents_BDT = model.quantizer.decode(model.quantizer.vq.encode(model.encoder(clips_BN[:, None])))
    return float(MelLoss(config.model.sample_rate_hz)(model.decoder(latents_BDT)[:, 0], clips_BN))
