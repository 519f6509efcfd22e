"""Train a neural codec (kind "vocos") in two parts, in one run.

    before step 0         principal components and codebooks in closed form (`speechlm.codecs.fit`)
    the first code_steps  encoder, codebooks and log-mel decoder: the reconstructed log-mel; then they are frozen. In a
                          codec with `letter_codebooks`, letters are read from a part of the latent (CTC), which is
                          coded from `letter_share` of these steps on: codes from the start would say nothing
    the other steps       the waveform decoder: log-mel and STFT distances at several resolutions, and from
                          `adversarial_share` of them on a discriminator's opinion

It saves by step and resumes exactly: everything random in a step is seeded by the step's number. Shapes: B batch, N
samples, T frames, P numbers of a patch, D latent dimension, F spectrogram frames, M mel bands.
"""

import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from encodec.msstftd import MultiScaleSTFTDiscriminator
from torch import nn

from speechlm.codecs.clips import Clips, ClipSettings
from speechlm.codecs.encodec import load_folder, save_decoder, save_folder
from speechlm.codecs.fit import fit, fit_letters
from speechlm.codecs.letters import Reader, reading_loss, spell
from speechlm.codecs.losses import MelLoss, STFTLoss, discriminator_loss, generator_loss
from speechlm.codecs.progress import Log
from speechlm.codecs.rvq import init_averages, train_codebooks
from speechlm.codecs.vocos import VocosConfig, build_vocos
from speechlm.data.files import machine_error, storage_errors
from speechlm.data.settings import Above0, Count, Positive, Share, Weight

CHECKPOINT_NAME, LOG_NAME = "checkpoint.pt", "train.log"
DEV_SEED = 1_000_000_007
MEASURES = ("steps", "log_steps", "checkpoint_steps")  # may differ between sessions


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result besides the data. `*_share` are shares of a part's steps.

    `start_from`: folder of a codec of the same sizes to continue from; with `code_steps: 0` its codes stay as they are.
    `decode_only: N`: all that is trained is a decoder for its first N codebooks, in the first part to the log-mel and
    in the second to the waveform. It is saved beside the codec (`encodec.save_decoder`), and `--codec FOLDER:N` uses
    it.
    """

    model: VocosConfig = field(default_factory=VocosConfig)
    start_from: str = ""
    decode_only: Count = 0
    fit_clips: Positive = 1800
    code_steps: Count = 6000
    code_batch_clips: Positive = 32
    commitment_weight: Weight = 0.25
    letter_weight: Weight = 0.5
    letter_share: Share = 0.3
    letter_clip_sec: Above0 = 5.12  # with letter_codebooks, the clips of the first part are whole recordings
    steps: Positive = 20000  # in all
    batch_clips: Positive = 12
    clip_sec: Above0 = 2.56
    spoken_sec: Above0 = 0.96  # of each clip, in the second part
    learning_rate: Above0 = 1e-3
    warmup_steps: Count = 100
    decay_share: Share = 0.5  # the learning rate falls linearly to 0 over the last half
    full_depth_chance: Share = 0.7  # else a step has a random number of the codebooks:
    least_depth: Count = 0  # this many or more (0: half of them)
    stft_weight: Weight = 1.0
    adversarial_weight: Weight = 0.0
    adversarial_share: Share = 0.5  # the discriminator starts here
    discriminator_filters: Positive = 8
    gain_db: Weight = 6.0
    seed: Count = 1
    log_steps: Positive = 100
    checkpoint_steps: Positive = 250

    def __post_init__(self):
        if self.decode_only > self.model.num_codebooks or (self.decode_only and not self.start_from):
            raise ValueError(
                f"decode_only: {self.decode_only}, start_from: {self.start_from!r}; expected at most"
                f" {self.model.num_codebooks} codebooks, and the folder of the codec that has them"
            )

    @property
    def depth(self) -> int:
        """The most codebooks of a step."""
        return self.decode_only or self.model.num_codebooks

    @property
    def own_code_steps(self) -> int:
        return min(self.code_steps, self.steps)

    @property
    def first_letter_step(self) -> int:
        return int(self.own_code_steps * self.letter_share)

    @property
    def first_adversarial_step(self) -> int:
        return self.own_code_steps + int((self.steps - self.own_code_steps) * self.adversarial_share)

    @property
    def clips(self) -> ClipSettings:
        hop, rate = self.model.hop_samples, self.model.sample_rate_hz
        return ClipSettings(rate, round(self.clip_sec * rate / hop) * hop, self.gain_db)

    @property
    def clip_frames(self) -> int:
        """Frames of codes of a clip."""
        return self.clips.clip_samples // self.model.hop_samples

    @property
    def spoken_frames(self) -> int:
        """Spectrogram frames of a clip that the waveform decoder learns from."""
        steps = round(min(self.spoken_sec, self.clip_sec) * self.model.sample_rate_hz / self.model.step_samples)
        return min(steps, self.clips.clip_samples // self.model.step_samples)


def train_vocos(
    config: TrainConfig, data_dirs: list[str], dev_dirs: list[str], out_dir: Path, device: str = "cpu"
) -> None:
    """Train, or resume from `out_dir/checkpoint.pt`; write config.json, model.safetensors and train.log there."""
    out_dir.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, Clips(data_dirs, config.clips, device), device)
    dev = Clips(dev_dirs, config.clips, device) if dev_dirs else None
    trainer.resume(out_dir / CHECKPOINT_NAME)
    log = Log(out_dir / LOG_NAME, trainer.step, config.steps)
    while trainer.step < config.steps:
        stats = trainer.run_step()
        log.add(stats)
        if trainer.step % config.log_steps == 0 or trainer.step == config.steps:
            log.report(trainer.step, dev_mel=trainer.dev_loss(dev))
        if trainer.step % config.checkpoint_steps == 0 or trainer.step == config.steps:
            trainer.save(out_dir)


class Trainer:
    """The model, its optimizers and the number of the next step."""

    def __init__(self, config: TrainConfig, clips: Clips, device: str = "cpu"):
        torch.manual_seed(config.seed)
        self.config, self.clips, self.device, self.step = config, clips, device, 0
        self.model = build_vocos(config.model).to(device)
        model = self.model
        reads = config.model.letter_codebooks and not config.decode_only
        self.reader = Reader(config.model.letter_dimension).to(device) if reads else None
        coders = [] if config.decode_only else [model.encoder.network]
        coders += [model.decoder.network, *filter(None, [self.reader])]
        self.coder = nn.ModuleList(coders)  # what the first part trains
        self.speaker = model.decoder.waveform  # what the second part trains
        self.mel, self.stft = MelLoss(config.model.sample_rate_hz).to(device), STFTLoss().to(device)
        self.discriminator = None
        if config.adversarial_weight:
            self.discriminator = MultiScaleSTFTDiscriminator(config.discriminator_filters).to(device)
        trained = {"coder": self.coder, "speaker": self.speaker, "discriminator": self.discriminator}
        self.optimizers = {name: self._adam(part) for name, part in trained.items() if part is not None}

    def run_step(self) -> dict[str, torch.Tensor]:
        """Do one step; return its losses by name."""
        if self.step == 0:
            self._set_codes()
        if self.reader and self.step == self.config.first_letter_step:
            fit_letters(self.model, self.clips, self.config.fit_clips, self.config.seed)
        rng = np.random.default_rng([self.config.seed, self.step])
        torch.manual_seed(int(rng.integers(2**31)))  # where a rare code starts anew
        losses = self._code_step(rng) if self.step < self.config.own_code_steps else self._speak_step(rng)
        self.step += 1
        return {name: loss.detach() for name, loss in losses.items()}

    def _code_step(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Train what makes the codes, and the log-mel made from them."""
        model, config = self.model, self.config
        clips_BN, letters = self._draw_read(rng)
        with torch.no_grad():
            patches_BTP = model.encoder.patches(clips_BN)
        latents_BLT, depth = model.encoder.latents(patches_BTP).transpose(1, 2), self._draw_depth(rng)
        if config.decode_only:
            coded_BLT, losses = self._coded(latents_BLT, depth), {}
        else:
            coded_BLT, losses = self._quantise(latents_BLT, letters, depth)
        error_BFM = model.decoder.mel(coded_BLT) - patches_BTP.view(len(patches_BTP), -1, config.model.mel_bands)
        losses |= {"l1": error_BFM.abs().mean(), "l2": 0.3 * error_BFM.square().mean()}
        self._update("coder", self.coder, sum(losses.values()))
        return losses

    def _quantise(
        self, latents_BLT: torch.Tensor, letters: list[list[int]], depth: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the coded latents_BLT and the losses of coding."""
        vq, config = self.model.quantizer.vq, self.config
        first, own = config.model.letter_codebooks, config.model.dimension
        sound_BLT = F.pad(latents_BLT[:, :own], (0, 0, 0, latents_BLT.shape[1] - own))
        self.model.quantizer.train()
        coded_BLT, distances_K = train_codebooks(vq.layers[first:depth], sound_BLT)
        losses = {"commitment": config.commitment_weight * distances_K.mean()}
        if self.reader:
            said_BLT, letter_losses = self._code_letters(latents_BLT - sound_BLT, letters)
            coded_BLT, losses = coded_BLT + said_BLT, losses | letter_losses
        self.model.quantizer.eval()
        return coded_BLT, losses

    def _code_letters(
        self, latents_BLT: torch.Tensor, letters: list[list[int]]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the part of the letters, coded if it is time to, and the losses of reading it. The reconstructed sound
        does not influence it.
        """
        config = self.config
        read = partial(reading_loss, self.reader, letters=letters)
        losses = {"letters": config.letter_weight * read(latents_BLT[:, config.model.dimension :])}
        if self.step < config.first_letter_step:
            return latents_BLT.detach(), losses
        coded_BLT, distances_K = train_codebooks(
            self.model.quantizer.vq.layers[: config.model.letter_codebooks], latents_BLT
        )
        losses["coded_letters"] = config.letter_weight * read(coded_BLT[:, config.model.dimension :])
        losses["letter_commitment"] = config.commitment_weight * distances_K.mean()
        return coded_BLT.detach(), losses

    def _draw_read(self, rng: np.random.Generator) -> tuple[torch.Tensor, list[list[int]]]:
        """Return the clips of a step of the first part, and the letters of each if they are read."""
        config = self.config
        if not self.reader:
            return self.clips.draw(config.code_batch_clips, rng), []
        clips_BN, texts = self.clips.draw_spoken(config.code_batch_clips, config.letter_clip_sec, rng)
        return clips_BN, [spell(text) for text in texts]

    def _speak_step(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Train the waveform decoder on a part of each clip."""
        config = self.config
        clips_BN = self.clips.draw(config.batch_clips, rng)
        mel_BFM = self._coded_mel(clips_BN, self._draw_depth(rng))
        first = int(rng.integers(mel_BFM.shape[1] - config.spoken_frames + 1))
        frames = slice(first, first + config.spoken_frames)
        step = config.model.step_samples
        target_BN = clips_BN[:, frames.start * step : frames.stop * step]
        made_BN = self.model.decoder.speak(mel_BFM[:, frames])
        losses = {"mel": self.mel(made_BN, target_BN), "stft": config.stft_weight * self.stft(made_BN, target_BN)}
        if self.discriminator and self.step >= config.first_adversarial_step:
            losses["adversarial"] = config.adversarial_weight * generator_loss(self.discriminator, made_BN, target_BN)
        self._update("speaker", self.speaker, sum(losses.values()))
        if "adversarial" in losses:
            losses["discriminator"] = discriminator_loss(self.discriminator, made_BN, target_BN)
            self._update("discriminator", self.discriminator, losses["discriminator"])
        return losses

    @torch.inference_mode()
    def dev_loss(self, dev: Clips | None) -> float:
        """Return the mean |difference| of log-mel on fixed clips (first part), or `MelLoss` (second); nan without."""
        if dev is None:
            return float("nan")
        clips_BN = dev.draw(2 * self.config.batch_clips, np.random.default_rng(DEV_SEED))
        mel_BFM = self._coded_mel(clips_BN, self.config.depth)
        if self.step <= self.config.own_code_steps:
            return float((mel_BFM - self.model.encoder.patches(clips_BN).view_as(mel_BFM)).abs().mean())
        return float(self.mel(self.model.decoder.speak(mel_BFM), clips_BN))

    def save(self, out_dir: Path) -> None:
        """Write the checkpoint, and the codec as it is now; each file is replaced whole."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "config": asdict(self.config)}
        temporary = out_dir / f".{CHECKPOINT_NAME}.tmp"
        with storage_errors(out_dir / CHECKPOINT_NAME):
            torch.save(state, temporary)
            os.replace(temporary, out_dir / CHECKPOINT_NAME)
        if self.config.decode_only:
            save_decoder(out_dir, self.model, Path(self.config.start_from), self.config.decode_only)
        else:
            save_folder(out_dir, self.model, self.config.model)

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint if there is one; raise ValueError if it was made with another config."""
        if not path.is_file():
            return
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
        except Exception as error:  # torch raises many types for a damaged file
            if reason := machine_error(error):
                raise ValueError(
                    f"{path}: cannot be read: {reason}. The file may be intact: fix that and run the command again."
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
                f"{path} was made with different settings ({'; '.join(changed)}). Remove it, or give another --out"
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]

    def _parts(self) -> dict:
        parts = {"model": self.model, "reader": self.reader, "discriminator": self.discriminator}
        parts |= {f"{name}_optimizer": adam for name, adam in self.optimizers.items()}
        return {name: part for name, part in parts.items() if part is not None}

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), lr=self.config.learning_rate, betas=(0.8, 0.99), weight_decay=0.0)

    def _update(self, name: str, module: nn.Module, loss: torch.Tensor) -> None:
        for group in self.optimizers[name].param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.optimizers[name].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        self.optimizers[name].step()

    def _draw_depth(self, rng: np.random.Generator) -> int:
        most, letters = self.config.depth, self.config.model.letter_codebooks
        least = max(self.config.least_depth or (most + 1) // 2, letters + 1)
        return most if rng.random() < self.config.full_depth_chance else int(rng.integers(min(least, most), most + 1))

    @torch.no_grad()
    def _coded_mel(self, clips_BN: torch.Tensor, depth: int) -> torch.Tensor:
        """Return the log-mel_BFM of the clips, coded with so many codebooks."""
        return self.model.decoder.mel(self._coded(self.model.encoder(clips_BN[:, None]), depth))

    @torch.no_grad()
    def _coded(self, latents_BLT: torch.Tensor, depth: int) -> torch.Tensor:
        """Return the latents_BLT that their first `depth` codes stand for."""
        return self.model.quantizer.decode(self.model.quantizer.vq.encode(latents_BLT, n_q=depth))

    def _set_codes(self) -> None:
        config = self.config
        if not config.start_from:
            fit(self.model, self.clips, config.fit_clips, config.seed)
            return
        try:
            self.model.load_state_dict(load_folder(Path(config.start_from)).model.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"start_from {config.start_from}: not a vocos codec of the sizes of `model`: {error}"
            ) from None
        init_averages(self.model.quantizer.vq, config.code_batch_clips * config.clip_frames)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of a step: in each part linear warm-up, constant, linear decay to 0."""
    own = config.own_code_steps
    first, last = (0, own) if step < own else (own, config.steps)
    rise = (step - first + 1) / max(1, config.warmup_steps)
    fall = (last - step) / max(1.0, (last - first) * config.decay_share)
    return config.learning_rate * min(1.0, rise, fall)
