"""Train a spectral codec: principal components and k-means, then some minutes of gradient steps for the decoder.

The encoder is fitted in closed form on fixed random clips and never changes afterwards, so that the codes are final
before the decoder is trained. Shapes: as in `speechlm.codecs.spectral`.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from speechlm.codecs.clips import ClipSettings, draw_clips
from speechlm.codecs.rvq import init_codebooks
from speechlm.codecs.spectral import SpectralConfig, build_spectral
from speechlm.data.kaldi import Span

CLIPS_PER_DRAW = 16


@dataclass(frozen=True)
class SpectralTrainConfig:
    """Everything that decides the result besides the data."""

    model: SpectralConfig = field(default_factory=SpectralConfig)
    fit_clips: int = 2400
    clip_sec: float = 1.28
    gain_db: float = 6.0
    steps: int = 800
    batch_clips: int = 16
    learning_rate: float = 2e-3
    full_depth_chance: float = 0.5
    seed: int = 1

    @property
    def clip_samples(self) -> int:
        return round(self.clip_sec * self.model.sample_rate_hz / self.model.hop_samples) * self.model.hop_samples


@dataclass(frozen=True)
class FitData:
    """codes_KBT and log magnitudes_BFS (half precision) of all clips."""

    codes_KBT: torch.Tensor
    magnitudes_BFS: torch.Tensor


@torch.no_grad()
def fit_encoder(model: nn.Module, config: SpectralTrainConfig, folders: list[list[Span]]) -> FitData:
    """Set components and codebooks; return what the decoder is trained on."""
    torch.manual_seed(config.seed)
    settings = ClipSettings(config.model.sample_rate_hz, config.clip_samples, config.gain_db)
    rng = np.random.default_rng(config.seed)
    patches, magnitudes = [], []
    for _ in range(-(-config.fit_clips // CLIPS_PER_DRAW)):
        clips_BN = torch.from_numpy(draw_clips(folders, settings, CLIPS_PER_DRAW, rng))
        patches.append(model.encoder.patches(clips_BN))
        magnitudes.append(torch.log(model.encoder.spectrogram(clips_BN).abs() + config.model.floor).half())
    patches_BTP = torch.cat(patches)
    model.encoder.fit(patches_BTP.flatten(0, 1))
    latents_BTD = (patches_BTP - model.encoder.mean_P) @ model.encoder.components_PD
    init_codebooks(model.quantizer.vq, latents_BTD.flatten(0, 1), len(latents_BTD))
    return FitData(model.quantizer.vq.encode(latents_BTD.transpose(1, 2)), torch.cat(magnitudes))


def train_decoder(model: nn.Module, config: SpectralTrainConfig, data: FitData, report) -> None:
    """Learn log magnitudes from the first 1..K codebooks; calls report(step, loss) after every step."""
    vq, decoder = model.quantizer.vq, model.decoder
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1)
    K, B, _ = data.codes_KBT.shape
    with torch.no_grad():
        decoder.outer[-1].bias.copy_(data.magnitudes_BFS.float().mean((0, 1)))
    for step in range(config.steps):
        rng = np.random.default_rng([config.seed, step])
        chosen_B = torch.from_numpy(rng.integers(B, size=config.batch_clips))
        depth = K if rng.random() < config.full_depth_chance else int(rng.integers(1, K + 1))
        latents_BDT = vq.decode(data.codes_KBT[:depth, chosen_B])
        loss = (decoder.log_magnitudes(latents_BDT) - data.magnitudes_BFS[chosen_B].float()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step + 1, loss.item())


def build_and_fit(config: SpectralTrainConfig, folders: list[list[Span]], report) -> nn.Module:
    """Return a trained model."""
    torch.manual_seed(config.seed)
    model = build_spectral(config.model)
    train_decoder(model, config, fit_encoder(model, config, folders), report)
    return model
