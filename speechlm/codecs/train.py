"""Train the neural decoder of a spectral codec (kind "vocos"): the encoder and the codebooks are fitted in closed form
first.

    before step 0       components and codebooks (`speechlm.codecs.train_spectral`), unless `codes_from` names a codec
    that has them
    steps 0 .. S        the decoder: log-mel and STFT distances at several resolutions
    steps A .. S        with a discriminator besides, if adversarial_weight > 0

It saves by step and resumes exactly: everything random in a step is seeded by the step's number.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from encodec.msstftd import MultiScaleSTFTDiscriminator

from speechlm.codecs.clips import ClipSettings, draw_clips, read_spans
from speechlm.codecs.encodec import load_folder, save_folder
from speechlm.codecs.losses import MelLoss, STFTLoss, discriminator_loss, generator_loss
from speechlm.codecs.progress import Log
from speechlm.codecs.train_spectral import SpectralTrainConfig, fit
from speechlm.codecs.vocos import VocosConfig, build_vocos
from speechlm.data.files import machine_error, storage_errors
from speechlm.data.kaldi import Span
from speechlm.data.settings import Above0, Count, Positive, Share, Weight

CHECKPOINT_NAME, LOG_NAME = "checkpoint.pt", "train.log"
DEV_SEED = 1_000_000_007
MEASURES = ("steps", "log_steps", "checkpoint_steps")  # may change from one session to the next


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result besides the data. `*_share` are shares of `steps`.

    `codes_from`: folder of a spectral codec of the same sizes; the new codec has its codes. Empty: fitted on
    `fit_clips` clips of the data.
    """

    model: VocosConfig = field(default_factory=VocosConfig)
    codes_from: str = ""
    fit_clips: Positive = 3600
    steps: Positive = 20000
    batch_clips: Positive = 12
    clip_sec: Above0 = 0.96
    learning_rate: Above0 = 1e-3
    warmup_steps: Count = 100
    decay_share: Share = 0.5  # the learning rate falls linearly to 0 over the last half
    full_depth_chance: Share = 0.7  # else a step has a random number of the codebooks, half of them or more
    stft_weight: Weight = 1.0
    adversarial_weight: Weight = 0.0
    adversarial_share: Share = 0.5  # the discriminator starts here
    discriminator_filters: Positive = 8
    gain_db: Weight = 6.0
    seed: Count = 1
    log_steps: Positive = 100
    checkpoint_steps: Positive = 250

    @property
    def first_adversarial_step(self) -> int:
        return int(self.steps * self.adversarial_share)

    @property
    def clip_samples(self) -> int:
        hop = self.model.hop_samples
        return round(self.clip_sec * self.model.sample_rate_hz / hop) * hop


def train_vocos(config: TrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path) -> None:
    """Train, or go on from `out_dir/checkpoint.pt`; leave config.json, model.safetensors and train.log in `out_dir`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, [read_spans(folder) for folder in data_dirs])
    dev_folders = [read_spans(folder) for folder in dev_dirs]
    trainer.resume(out_dir / CHECKPOINT_NAME)
    log = Log(out_dir / LOG_NAME, trainer.step, config.steps)
    while trainer.step < config.steps:
        stats = trainer.run_step()
        log.add(stats)
        if trainer.step % config.log_steps == 0 or trainer.step == config.steps:
            log.report(trainer.step, dev_mel=trainer.dev_loss(dev_folders))
        if trainer.step % config.checkpoint_steps == 0 or trainer.step == config.steps:
            trainer.save(out_dir)


class Trainer:
    """The model, its optimizers and the number of the next step."""

    def __init__(self, config: TrainConfig, folders: list[list[Span]]):
        torch.manual_seed(config.seed)
        self.config, self.folders, self.step = config, folders, 0
        self.clips = ClipSettings(config.model.sample_rate_hz, config.clip_samples, config.gain_db)
        self.model = build_vocos(config.model)
        self.optimizer = self._adam(self.model.decoder)
        self.mel, self.stft = MelLoss(config.model.sample_rate_hz), STFTLoss()
        self.discriminator = (
            MultiScaleSTFTDiscriminator(config.discriminator_filters) if config.adversarial_weight else None
        )
        self.discriminator_optimizer = self._adam(self.discriminator) if self.discriminator else None

    def run_step(self) -> dict[str, float]:
        """Do one step; return its losses by name."""
        config = self.config
        if self.step == 0:
            self._set_codes()
        rng = np.random.default_rng([config.seed, self.step])
        clips_BN = torch.from_numpy(draw_clips(self.folders, self.clips, config.batch_clips, rng))
        made_BN = self._decode(clips_BN, self._draw_depth(rng))
        losses = {"mel": self.mel(made_BN, clips_BN), "stft": config.stft_weight * self.stft(made_BN, clips_BN)}
        if self.discriminator and self.step >= config.first_adversarial_step:
            losses["adversarial"] = config.adversarial_weight * generator_loss(self.discriminator, made_BN, clips_BN)
        self._update(self.model.decoder, self.optimizer, sum(losses.values()))
        if "adversarial" in losses:
            losses["discriminator"] = discriminator_loss(self.discriminator, made_BN, clips_BN)
            self._update(self.discriminator, self.discriminator_optimizer, losses["discriminator"])
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    @torch.inference_mode()
    def dev_loss(self, folders: list[list[Span]]) -> float:
        """Return the mel loss on fixed clips (nan without dev data)."""
        if not folders:
            return float("nan")
        rng = np.random.default_rng(DEV_SEED)
        clips_BN = torch.from_numpy(draw_clips(folders, self.clips, 2 * self.config.batch_clips, rng))
        return float(self.mel(self._decode(clips_BN, self.config.model.num_codebooks), clips_BN))

    def save(self, out_dir: Path) -> None:
        """Write the checkpoint, and the codec as it is now; each file is replaced whole."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "config": asdict(self.config)}
        temporary = out_dir / f".{CHECKPOINT_NAME}.tmp"
        with storage_errors(out_dir / CHECKPOINT_NAME):
            torch.save(state, temporary)
            os.replace(temporary, out_dir / CHECKPOINT_NAME)
        save_folder(out_dir, self.model, self.config.model)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint if there is one; raise ValueError if it was made with another config."""
        if not path.is_file():
            return
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            if reason := machine_error(error):
                raise ValueError(
                    f"{path}: cannot be read: {reason}. The file may be whole: give the command again when that is put"
                    " right."
                ) from None
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: cannot be read ({reason}). Delete it to start this training again.") from None
        mine, theirs = asdict(self.config), state["config"]
        changed = [
            f"{key}: {value} -> {mine.get(key)}"
            for key, value in theirs.items()
            if value != mine.get(key) and key not in MEASURES
        ]
        if changed:
            raise ValueError(
                f"{path} was made with other settings ({'; '.join(changed)}). Remove it, or give another --out"
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]

    def _parts(self) -> dict:
        parts = {"model": self.model, "optimizer": self.optimizer}
        if self.discriminator:
            parts |= {"discriminator": self.discriminator, "discriminator_optimizer": self.discriminator_optimizer}
        return parts

    def _adam(self, module: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), lr=self.config.learning_rate, betas=(0.8, 0.99), weight_decay=0.0)

    def _update(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    def _draw_depth(self, rng: np.random.Generator) -> int:
        most = self.config.model.num_codebooks
        return most if rng.random() < self.config.full_depth_chance else int(rng.integers((most + 1) // 2, most + 1))

    def _decode(self, clips_BN: torch.Tensor, depth: int) -> torch.Tensor:
        """Return the clips, coded with so many codebooks and decoded."""
        with torch.no_grad():
            codes_KBT = self.model.quantizer.vq.encode(self.model.encoder(clips_BN[:, None]), n_q=depth)
            latents_BDT = self.model.quantizer.decode(codes_KBT)
        return self.model.decoder(latents_BDT)[:, 0]

    def _set_codes(self) -> None:
        config = self.config
        if not config.codes_from:
            fit(
                self.model,
                SpectralTrainConfig(config.model, config.fit_clips, gain_db=config.gain_db, seed=config.seed),
                self.folders,
            )
            return
        other = load_folder(Path(config.codes_from)).model
        try:
            self.model.encoder.load_state_dict(other.encoder.state_dict())
            self.model.quantizer.load_state_dict(other.quantizer.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"codes_from {config.codes_from}: not a spectral codec of the sizes of `model`: {error}"
            ) from None
        self.model.decoder.closed.fit(self.model.encoder)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of a step: linear warm-up, constant, linear decay to 0."""
    rise = (step + 1) / max(1, config.warmup_steps)
    fall = (config.steps - step) / max(1.0, config.steps * config.decay_share)
    return config.learning_rate * min(1.0, rise, fall)
