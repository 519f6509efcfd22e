"""Train a small waveform EnCodec (kind "encodec").

ESPnet's GAN codec trainer is not used: its EnCodec is another module, whose weights do not load in the `encodec`
package, and it saves only at epoch ends. This loop saves by step, resumes exactly (everything random in a step is
seeded by the step's number) and leaves a folder for `speechlm.codecs.load_codec`.

    before step 0       weight_norm's scales are set so that every layer's output has unit variance
    steps 0 .. W        encoder and decoder alone, nothing quantised
    step W              codebooks by k-means over the latents of many clips
    steps W .. S        quantised, each clip with a random number of codebooks
    steps A .. S        with a discriminator, if adversarial_weight > 0
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from encodec import EncodecModel
from encodec.msstftd import MultiScaleSTFTDiscriminator

from speechlm.codecs.clips import ClipSettings, draw_clips, read_spans
from speechlm.codecs.encodec import EncodecConfig, build_model, save_folder
from speechlm.codecs.losses import MelLoss, discriminator_loss, generator_loss
from speechlm.codecs.progress import Log
from speechlm.codecs.rvq import Quantized, init_codebooks, quantize_and_learn
from speechlm.data.files import machine_error, storage_errors
from speechlm.data.kaldi import Span
from speechlm.data.settings import Above0, Count, Positive, Share, Weight

CHECKPOINT_NAME, LOG_NAME = "checkpoint.pt", "train.log"
DEV_SEED = 1_000_000_007


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result besides the data. `*_share` are shares of `steps`."""

    model: EncodecConfig = field(default_factory=EncodecConfig)
    steps: Positive = 4000
    batch_clips: Positive = 12
    clip_sec: Above0 = 1.28
    learning_rate: Above0 = 1e-3
    warmup_steps: Count = 100
    decay_share: Share = 0.5  # the learning rate falls linearly to 0 over the last half
    unquantized_share: Share = 0.2
    kmeans_batches: Positive = 60
    full_depth_chance: Share = 0.5  # else the number of codebooks is uniform in 1..K
    commitment_weight: Weight = 0.25
    waveform_weight: Weight = 0.1
    adversarial_weight: Weight = 0.0
    adversarial_share: Share = 0.7  # the discriminator starts here
    discriminator_filters: Positive = 8
    gain_db: Weight = 6.0
    seed: Count = 1
    log_steps: Positive = 100
    checkpoint_steps: Positive = 250

    @property
    def first_quantized_step(self) -> int:
        return int(self.steps * self.unquantized_share)

    @property
    def first_adversarial_step(self) -> int:
        return int(self.steps * self.adversarial_share)

    @property
    def clip_samples(self) -> int:
        hop = self.model.hop_samples
        return round(self.clip_sec * self.model.sample_rate_hz / hop) * hop


def train_encodec(config: TrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path) -> None:
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
        self.model = build_model(config.model).train()
        self.optimizer = self._adam(self.model)
        self.mel = MelLoss(config.model.sample_rate_hz)
        self.discriminator = MultiScaleSTFTDiscriminator(config.discriminator_filters) if config.adversarial_weight else None
        self.discriminator_optimizer = self._adam(self.discriminator) if self.discriminator else None

    def run_step(self) -> dict[str, float]:
        """Do one step; return its losses by name."""
        config = self.config
        if self.step == 0 and config.model.norm == "weight_norm":
            init_scales(self.model, self._draw(np.random.default_rng(config.seed)))
        if self.step == config.first_quantized_step:
            self._init_codebooks()
        rng = np.random.default_rng([config.seed, self.step])
        torch.manual_seed(int(rng.integers(2**31)))
        clips_BN = self._draw(rng)
        quantized = self._quantize(self.model.encoder(clips_BN[:, None]), rng)
        made_BN = self.model.decoder(quantized.latents_BDT)[:, 0]
        losses = {
            "mel": self.mel(made_BN, clips_BN),
            "waveform": config.waveform_weight * (made_BN - clips_BN).abs().mean(),
            "commitment": config.commitment_weight * quantized.commitment,
        }
        if self.discriminator and self.step >= config.first_adversarial_step:
            losses["adversarial"] = config.adversarial_weight * generator_loss(self.discriminator, made_BN, clips_BN)
        self._update(self.model, self.optimizer, sum(losses.values()))
        if "adversarial" in losses:
            losses["discriminator"] = discriminator_loss(self.discriminator, made_BN, clips_BN)
            self._update(self.discriminator, self.discriminator_optimizer, losses["discriminator"])
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    @torch.inference_mode()
    def dev_loss(self, folders: list[list[Span]]) -> float:
        """Return the mel loss with all codebooks on fixed clips (nan without dev data)."""
        if not folders:
            return float("nan")
        rng = np.random.default_rng(DEV_SEED)
        clips_BN = torch.from_numpy(draw_clips(folders, self.clips, 2 * self.config.batch_clips, rng))
        latents_BDT = self.model.encoder(clips_BN[:, None])
        if self.step > self.config.first_quantized_step:
            latents_BDT = self.model.quantizer.decode(self.model.quantizer.vq.encode(latents_BDT))
        return float(self.mel(self.model.decoder(latents_BDT)[:, 0], clips_BN))

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
                    f"{path}: cannot be read: {reason}. The file may be whole: give the command again when that is put right."
                ) from None
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: cannot be read ({reason}). Delete it to start this training again.") from None
        mine = asdict(self.config)
        changed = [f"{key}: {value} -> {mine.get(key)}" for key, value in state["config"].items() if value != mine.get(key)]
        if changed:
            raise ValueError(f"{path} was made with other settings ({'; '.join(changed)}). Remove it, or give another --out")
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

    def _quantize(self, latents_BDT: torch.Tensor, rng: np.random.Generator) -> Quantized:
        config = self.config
        if self.step < config.first_quantized_step:
            return Quantized(latents_BDT, latents_BDT.new_zeros(()))
        num_codebooks = config.model.num_codebooks
        depth_B = rng.integers(1, num_codebooks + 1, config.batch_clips)
        depth_B[rng.random(config.batch_clips) < config.full_depth_chance] = num_codebooks
        return quantize_and_learn(self.model.quantizer.vq, latents_BDT, torch.from_numpy(depth_B))

    def _draw(self, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(draw_clips(self.folders, self.clips, self.config.batch_clips, rng))

    @torch.no_grad()
    def _init_codebooks(self) -> None:
        rng = np.random.default_rng([self.config.seed, self.step, 1])
        torch.manual_seed(self.config.seed)
        batches = [self.model.encoder(self._draw(rng)[:, None]) for _ in range(self.config.kmeans_batches)]
        latents_ND = torch.cat([latents_BDT.transpose(1, 2).flatten(0, 1) for latents_BDT in batches])
        init_codebooks(self.model.quantizer.vq, latents_ND, len(latents_ND) // len(batches))


@torch.no_grad()
def init_scales(model: EncodecModel, clips_BN: torch.Tensor) -> None:
    """Scale each weight-normalised convolution to unit variance on these clips, the last one to the clips' own.

    Without it the signal shrinks from layer to layer, and the decoder learns to ignore the latents.
    """

    def rescale(conv: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        std = output.std() + 1e-8
        conv.weight_g.div_(std)
        conv.bias.sub_(output.mean()).div_(std)
        return (output - output.mean()) / std

    convs = [module for module in model.modules() if hasattr(module, "weight_g")]
    hooks = [conv.register_forward_hook(rescale) for conv in convs]
    model.decoder(model.encoder(clips_BN[:, None]))
    for hook in hooks:
        hook.remove()
    convs[-1].weight_g.mul_(clips_BN.std())
    convs[-1].bias.mul_(clips_BN.std())


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of a step: linear warm-up, constant, linear decay to 0."""
    rise = (step + 1) / max(1, config.warmup_steps)
    fall = (config.steps - step) / max(1.0, config.steps * config.decay_share)
    return config.learning_rate * min(1.0, rise, fall)
