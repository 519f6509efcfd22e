"""Training by steps instead of epochs, on ESPnet's trainer: its options, its distributed set-up, its model interface.

ESPnet's own loop saves only at epoch ends, not atomically and without the position in the data, and does not weight
micro-batches by tokens; this one replaces `run`.
"""

import json
import logging
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import torch
from espnet2.torch_utils.device_funcs import to_device
from espnet2.train.trainer import Trainer
from espnet2.utils.build_dataclass import build_dataclass
from torch import Tensor

from speechlm.espnet.checkpoint import load_checkpoint, random_state, restore_random_state, save_checkpoint
from speechlm.espnet.options import SpeechLMTrainerOptions
from speechlm.model.folder import save_weights


class Meter:
    """Weighted means of named values between two log lines."""

    def __init__(self, sums: dict[str, tuple[float, float]] | None = None):
        self.sums = defaultdict(lambda: (0.0, 0.0), sums or {})

    def add(self, stats: dict[str, Tensor | None], weight: float) -> None:
        for name, value in stats.items():
            if value is not None:
                total, weights = self.sums[name]
                self.sums[name] = total + float(value) * weight, weights + weight

    def means(self) -> dict[str, float]:
        return {name: total / weights for name, (total, weights) in self.sums.items()}


class SpeechLMTrainer(Trainer):
    """`run` is called by ESPnet's task with everything built."""

    @classmethod
    def build_options(cls, args) -> SpeechLMTrainerOptions:
        return build_dataclass(SpeechLMTrainerOptions, args)

    @classmethod
    def run(  # noqa: PLR0913  (ESPnet calls it so)
        cls,
        model,
        optimizers,
        schedulers,
        train_iter_factory,
        valid_iter_factory,
        plot_attention_iter_factory,
        trainer_options,
        distributed_option,
    ):
        Run(model, optimizers, train_iter_factory, valid_iter_factory, trainer_options, distributed_option).train()


class Run:
    """One training run in one process."""

    def __init__(self, model, optimizers, data, valid, options: SpeechLMTrainerOptions, distributed):
        self.model, self.optimizers, self.data, self.valid = model, optimizers, data, valid
        self.options, self.folder = options, Path(options.output_dir)
        self.device = "cuda" if options.ngpu > 0 else "cpu"
        self.world, self.is_main = (distributed.dist_world_size or 1), (distributed.dist_rank or 0) == 0
        self.step, self.meter = 0, Meter()
        self.base_lrs = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self.log = Log(self.folder, options.max_steps, options.use_tensorboard) if self.is_main else None

    def train(self) -> None:
        if self.options.resume:
            self.restore()
        parallel = self.wrap()
        batches = iter(self.data)
        if self.log:
            self.log.start(self.step)
        while self.step < self.options.max_steps:
            self.set_learning_rate()
            self.one_step(parallel, batches)
            self.step += 1
            last = self.step == self.options.max_steps
            if self.log and (last or self.step % (self.options.log_interval or 50) == 0):
                self.log.write("train", self.step, self.meter.means())
                self.meter = Meter()
            if last or self.step % self.options.eval_interval == 0:
                self.validate()
            if last or self.step % self.options.save_interval == 0:
                self.save()
        if self.is_main:
            save_weights(self.folder / "model.safetensors", self.model.speechlm.state_dict())

    def wrap(self) -> torch.nn.Module:
        if self.world == 1:
            return self.model
        devices = [torch.cuda.current_device()] if self.device == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(
            self.model, device_ids=devices, find_unused_parameters=self.options.unused_parameters
        )

    def set_learning_rate(self) -> None:
        """Linear warm-up, then linear decay to `final_lr_ratio`: a function of the step alone."""
        warmup, final = self.options.warmup_steps, self.options.final_lr_ratio
        rest = (self.step - warmup) / max(1, self.options.max_steps - warmup)
        scale = (self.step + 1) / warmup if self.step < warmup else 1 - (1 - final) * rest
        for optimizer, rates in zip(self.optimizers, self.base_lrs, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale

    def one_step(self, parallel: torch.nn.Module, batches) -> None:
        """Accumulate `accum_grad` micro-batches, every predicted row weighing the same over all of them and all processes."""
        self.model.train()
        micro_batches = [next(batches) for _ in range(self.options.accum_grad)]
        rows = sum(batch["loss_BL"][:, 1:].sum() for _, batch in micro_batches).to(self.device)
        if self.world > 1:
            torch.distributed.all_reduce(rows)
        for i, (_, batch) in enumerate(micro_batches):
            synchronised = self.world == 1 or i == len(micro_batches) - 1
            with nullcontext() if synchronised else parallel.no_sync():
                with self.autocast():
                    loss, stats, weight = parallel(**to_device(batch, self.device))
                # DistributedDataParallel averages over processes: multiply by their number.
                (loss * weight.sum() / rows * self.world).sum().backward()
            if self.log:
                self.meter.add(stats | {"positions": (batch["segment_BL"] >= 0).sum()}, float(weight.sum()))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.grad_clip)
        if not torch.isfinite(norm):
            names = [name for names, _ in micro_batches for name in names]
            raise ValueError(
                f"step {self.step}: the gradient norm is {norm}. The batch: {', '.join(names)}. The last checkpoint is kept in {self.folder}."
            )
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.log:
            self.meter.add({"grad_norm": norm}, 1.0)

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.options.dtype == "bfloat16")

    @torch.no_grad()
    def validate(self) -> None:
        """Every process scores all of the (small, fixed) validation batches; one of them writes the means."""
        if not self.log:
            return
        self.model.eval()
        meter = Meter()
        for _, batch in self.valid:
            with self.autocast():
                _, stats, weight = self.model(**to_device(batch, self.device))
            meter.add(stats, float(weight.sum()))
        self.log.write("valid", self.step, meter.means())

    def save(self) -> None:
        if not self.is_main:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "data": self.data.state,
            "random": random_state(),
            "meter": dict(self.meter.sums),
            "vocab": self.model.speechlm.vocab.fingerprint,
        }
        save_checkpoint(self.folder, state)

    def restore(self) -> None:
        state = load_checkpoint(self.folder, self.device)
        if state is None:
            return
        if state["vocab"] != self.model.speechlm.vocab.fingerprint:
            raise ValueError(
                f"{self.folder}/checkpoint.pth was trained with vocabulary {state['vocab']}, this run has "
                f"{self.model.speechlm.vocab.fingerprint}. Restore the codec and LLM it had, or give a new --expdir."
            )
        self.model.load_state_dict(state["model"])
        for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        self.step, self.meter = state["step"], Meter(state["meter"])
        self.data.restore(state["data"])
        restore_random_state(state["random"])


class Log:
    """`train.jsonl`: one line per report; the same to the console, with the time left, and to TensorBoard."""

    def __init__(self, folder: Path, max_steps: int, use_tensorboard: bool):
        self.path, self.max_steps, self.writer = folder / "train.jsonl", max_steps, None
        if use_tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def start(self, step: int) -> None:
        """Drop the lines of steps that will be done again."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.began, self.first_step, self.last = time.monotonic(), step, (time.monotonic(), step)

    def write(self, kind: str, step: int, means: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "step": step} | {k: round(v, 5) for k, v in means.items()}) + "\n")
        shown = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name != "positions")
        logging.info(f"{kind} {step}/{self.max_steps}: {shown}{self._pace(step, means)}")
        if self.writer:
            for name, value in means.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)

    def _pace(self, step: int, means: dict[str, float]) -> str:
        if "positions" not in means or step == self.last[1]:
            return ""
        now = time.monotonic()
        rate = (step - self.last[1]) / (now - self.last[0])
        self.last = now, step
        left_min = (self.max_steps - step) * (now - self.began) / max(1, step - self.first_step) / 60
        return f" | {rate:.2f} steps/s, {rate * means['positions']:.0f} positions/s, {left_min:.1f} min left"
