"""Train a spectral codec (kind "spectral"): principal components and k-means, then gradient steps for the decoder.

The encoder is fitted in closed form on fixed random clips and never changes afterwards, so that the codes are final
before the decoder is trained. All of it takes a minute or two: interrupted, it starts again. Shapes: as in `speechlm.codecs.spectral`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from encodec import EncodecModel
from torch import nn

from speechlm.codecs.clips import ClipSettings, draw_clips, read_spans
from speechlm.codecs.encodec import save_folder
from speechlm.codecs.losses import MelLoss
from speechlm.codecs.progress import Log
from speechlm.codecs.rvq import init_codebooks
from speechlm.codecs.spectral import SpectralConfig, build_spectral
from speechlm.data.kaldi import Span

CLIPS_PER_DRAW, DEV_CLIPS, DEV_SEED = 16, 16, 1_000_000_007
Report = Callable[[int, float], None]


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
    log_steps: int = 50

    def __post_init__(self):
        if self.steps < 4:
            raise ValueError(f"steps: expected at least 4, found {self.steps}")

    @property
    def clip_samples(self) -> int:
        return round(self.clip_sec * self.model.sample_rate_hz / self.model.hop_samples) * self.model.hop_samples


@dataclass(frozen=True)
class FitData:
    """codes_KBT and log magnitudes_BFS (half precision) of all clips."""

    codes_KBT: torch.Tensor
    magnitudes_BFS: torch.Tensor


@torch.no_grad()
def fit_encoder(model: EncodecModel, config: SpectralTrainConfig, folders: list[list[Span]]) -> FitData:
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


def train_decoder(model: EncodecModel, config: SpectralTrainConfig, data: FitData, report: Report) -> None:
    """Learn log magnitudes from the first 1..K codebooks; calls report(steps done, loss) after every step."""
    vq, decoder = model.quantizer.vq, model.decoder
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    rise_share = max(0.1, 2 / config.steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps, pct_start=rise_share)
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


def train_spectral(config: SpectralTrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path) -> None:
    """Train; leave config.json, model.safetensors and train.log in `out_dir`."""
    folders, dev_folders = ([read_spans(folder) for folder in dirs] for dirs in (data_dirs, dev_dirs))
    log_path = out_dir / "train.log"
    log_path.unlink(missing_ok=True)
    torch.manual_seed(config.seed)
    model = build_spectral(config.model)
    print(f"components and codebooks from {config.fit_clips} clips of {config.clip_sec} s ...", flush=True)
    data = fit_encoder(model, config, folders)
    log = Log(log_path, 0, config.steps)

    def report(step: int, loss: float) -> None:
        log.add({"log_magnitude": loss})
        if step % config.log_steps == 0 or step == config.steps:
            log.report(step, dev_mel(model, config, dev_folders))

    train_decoder(model, config, data, report)
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
