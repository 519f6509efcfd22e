"""Training by steps: gradients over micro-batches and processes, checkpoints, signals, validation.

ESPnet's own loop saves only at epoch ends, not atomically and without the position in the data, and does not weight
micro-batches by tokens; this loop takes its place.
"""

import json
import logging
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechlm.data.files import atomic_write
from speechlm.model.adapter import has_lora, save_adapter
from speechlm.model.folder import copy_llm_files
from speechlm.model.weights import save_weights
from speechlm.tasks.examples import stable_hash
from speechlm.train.checkpoint import Checkpoints, read_rest, tensors_of
from speechlm.train.cost import Cost
from speechlm.train.guard import LossGuard, Refusal
from speechlm.train.hang import rest, watch
from speechlm.train.iterator import Corpus
from speechlm.train.log import Log
from speechlm.train.meter import Meter
from speechlm.train.mixture import Plan
from speechlm.train.precision import autocast, has_bfloat16
from speechlm.train.sharding import clip_gradients, is_sharded, no_sync
from speechlm.train.signals import STOPPING, StopRequest


@dataclass(frozen=True)
class Taken:
    """What a step was given: the position in the data before it, and the plan of each of its batches."""

    step: int
    position: dict
    plans: list[Plan]


class Run:
    """One training run, in one process of `world`. All processes hold the same state, and agree on when to stop."""

    def __init__(self, model, optimizers, data, valid, options, distributed):
        self.model, self.optimizers, self.data, self.valid = model, optimizers, data, valid
        self.options, self.folder = options, Path(options.output_dir)
        self.device = "cuda" if options.ngpu > 0 else "cpu"
        model.prepare(self.device, options.compile)
        self.world, self.rank = (distributed.dist_world_size or 1), (distributed.dist_rank or 0)
        self.step, self.meter = 0, self.new_meter()
        self.guard, self.taken = LossGuard(options.max_loss_ratio, options.warmup_steps, self.device), []
        on_cpu = self.world > 1 and self.device == "cuda"  # signals are agreed on without waiting for the GPUs
        self.signals = torch.distributed.new_group(backend="gloo") if on_cpu else None
        self.stop, self.checkpoints, self.sharded = StopRequest(), Checkpoints(self.folder), is_sharded(model)
        self.base_lrs = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        batches_per_step = options.accum_grad * self.world
        logs = options.use_tensorboard, options.use_wandb
        self.log = Log(self.folder, options.max_steps, batches_per_step, *logs) if self.rank == 0 else None

    def train(self) -> None:
        if self.log and self.options.dtype == "bfloat16" and not has_bfloat16(self.device):
            logging.info("this processor has no fast bfloat16: float32 is used in its place (--dtype)")
        if self.options.resume:
            self.restore()
        parallel = self.wrap()
        if self.log:
            self.cost = Cost(self.folder, self.step, self.world, self.device == "cuda")
            self.log.start(self.step)
        self.make_up_validation()
        batches = iter(self.data)
        try:
            with self.stop:
                self.steps(parallel, batches)
        finally:
            batches.close()  # ends the loader's workers
        rest()
        self.checkpoints.wait()
        self.save_weights(self.folder)
        if self.log:
            self.write_cost()
            if said := self.data.left_out():
                logging.warning(f"train: {said}")

    def steps(self, parallel: torch.nn.Module, batches) -> None:
        """Train to the last step, or until a signal: then everything is saved as after any other step."""
        while self.step < self.options.max_steps:
            self.set_learning_rate()
            self.one_step(parallel, batches)
            self.step += 1
            signal_number = self.signal_anywhere()
            if signal_number or self.looks():
                self.settle()
            if self.is_due(self.options.log_interval or 50):
                if self.log:
                    self.report()
                self.meter = self.new_meter()
            if self.is_due(self.options.eval_interval):
                self.validate()
            if self.step in self.options.keep_steps:
                self.keep()
            if signal_number or self.is_due(self.options.save_interval):
                self.save()
            if signal_number:
                self.exit_interrupted(signal_number)

    def looks(self) -> bool:
        """Does this step produce output: a report, a validation, or weights that are written?"""
        intervals = self.options.log_interval or 50, self.options.eval_interval, self.options.save_interval
        return any(map(self.is_due, intervals)) or self.step in self.options.keep_steps

    def settle(self) -> None:
        """Wait for the steps since the last time; ValueError if one of them must not be learned from: everything is
        then as before that step.
        """
        if refusal := self.guard.refused():
            self.refuse(refusal, next(taken for taken in self.taken if taken.step == refusal.step))
        self.taken = []

    def new_meter(self) -> Meter:
        return Meter([*self.model.figures, "grad_norm"], self.device)

    def report(self) -> None:
        left_out = {f"left_out.{task}": count for task, count in self.data.state["too_long"].items()}
        self.log.write("train", self.step, self.meter.means() | left_out)
        self.write_cost()

    def keep(self) -> None:
        """Write the weights of this step to `steps/<step>/`, a model folder as the last one will be."""
        folder, speechlm = self.folder / "steps" / str(self.step), self.model.speechlm
        if self.log:
            copy_llm_files(str(self.folder / "llm"), speechlm.llm.config, folder / "llm")
            speechlm.save_config(folder)
        self.save_weights(folder, adapter=False)

    def save_weights(self, folder: Path, adapter: bool = True) -> None:
        """Write model.safetensors, and the adapter alone if there is one; of a sharded model every rank gives
        its part.
        """
        if not self.log and not self.sharded:
            return
        speechlm = self.model.speechlm
        save_weights(folder / "model.safetensors" if self.log else None, speechlm)
        if adapter and has_lora(speechlm.llm):
            save_adapter(folder / "adapter" if self.log else None, speechlm.llm)

    def write_cost(self) -> None:
        self.cost.write(self.step, sum(p.numel() for p in self.model.parameters()))

    def is_due(self, interval: int) -> bool:
        return self.step == self.options.max_steps or self.step % interval == 0

    def signal_anywhere(self) -> int:
        """Return the signal by which a process was asked to stop, the same in all processes; 0 if there is none."""
        asked = torch.tensor([self.stop.number == number for number in STOPPING], dtype=torch.float32)
        self.sum_over_processes(asked, self.signals)
        return next((int(number) for number, count in zip(STOPPING, asked.tolist(), strict=True) if count), 0)

    def exit_interrupted(self, number: int) -> None:
        self.checkpoints.wait()
        self.wait_for_all()  # until it is saved
        if self.log:
            print(
                f"interrupted by {signal.Signals(number).name}: step {self.step} of {self.options.max_steps} is saved"
                f" in {self.folder}; the same command goes on from there",
                flush=True,
            )
        raise SystemExit(128 + number)

    def sum_over_processes(self, values: Tensor, group: torch.distributed.ProcessGroup | None = None) -> None:
        if self.world > 1:
            torch.distributed.all_reduce(values, group=group)

    def wait_for_all(self) -> None:
        if self.world > 1:
            torch.distributed.barrier()

    def wrap(self) -> torch.nn.Module:
        if self.world == 1 or self.sharded:
            return self.model
        devices = [torch.cuda.current_device()] if self.device == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(
            self.model,
            device_ids=devices,
            find_unused_parameters=self.options.unused_parameters,
            gradient_as_bucket_view=True,
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
        """Accumulate `accum_grad` micro-batches, every predicted row weighing the same over all of them and all
        processes.

        A step of `skip_steps` only takes its batches. One that must not be learned from changes nothing, and nor do
        those after it, until
        `settle` finds it. Nothing here waits for a GPU.
        """
        position = self.data.state
        watch(self.options.dist_timeout_min)
        micro_batches = [next(batches) for _ in range(self.options.accum_grad)]
        if self.step in self.options.skip_steps:
            return
        self.taken.append(Taken(self.step, position, [plan for plan, _ in micro_batches]))
        table_S2, norm = self.gradients(parallel, [batch for _, batch in micro_batches])
        loss, rows = table_S2[0]
        stopped = self.guard.judge(self.step, torch.where(rows > 0, loss / rows, 0.0), norm)
        for optimizer in self.optimizers:
            optimizer.found_inf = stopped
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        norm_12 = torch.stack([norm.double(), torch.ones_like(loss)])[None]
        self.meter.add(torch.where(stopped > 0, 0.0, torch.cat([table_S2, norm_12])))

    def gradients(self, parallel: torch.nn.Module, micro_batches: list) -> tuple[Tensor, Tensor]:
        """Compute the clipped gradients of a step; return its table_S2 over all processes, and the norm before
        clipping.
        """
        self.model.train()
        rows = on_device(sum(batch["loss_BL"][:, 1:].sum() for batch in micro_batches), self.device)
        self.sum_over_processes(rows)
        share = self.world / rows.clamp(
            min=1e-6
        )  # DistributedDataParallel averages over processes: multiply by their number
        tables = []
        for i, batch in enumerate(micro_batches):
            # Dropout follows from the step and the batch's place in it: not from what came before, nor from the
            # process.
            torch.manual_seed(stable_hash(self.options.seed, self.step, i * self.world + self.rank))
            synchronised = self.world == 1 or i == len(micro_batches) - 1
            with nullcontext() if synchronised else no_sync(parallel):
                with self.autocast():
                    total, table_S2 = parallel(**batch_on(batch, self.device))
                (total * share).backward()
            tables.append(table_S2)
        table_S2 = torch.stack(tables).sum(0)
        self.sum_over_processes(table_S2)
        return table_S2, clip_gradients(self.model.parameters(), self.options.grad_clip)

    def refuse(self, refusal: Refusal, taken: Taken) -> None:
        """Keep the state before the refused step and its batch, for bin/replay; raise the same ValueError in all
        processes.
        """
        self.step, self.data.state, plans = taken.step, taken.position, taken.plans
        self.save()
        self.checkpoints.wait()
        parts = [plans]
        if self.world > 1:
            parts = [None] * self.world
            torch.distributed.all_gather_object(parts, plans)
        batches = [part[i] for i in range(len(plans)) for part in parts]  # in the order of the stream
        if self.log:
            write_bad_batch(self.folder, refusal, batches, self.data.corpus)
        self.wait_for_all()
        skip = " ".join(str(step) for step in [*self.options.skip_steps, self.step])
        raise ValueError(
            f"step {self.step}: {refusal.complaint}. Nothing was learned from it, nor after it:"
            f" {self.folder}/checkpoints/{self.step} is the state before, {self.folder}/bad_batch.json names the"
            f" {sum(len(row) for batch in batches for row in batch)} examples. See the loss of each with `python -m"
            f" speechlm.bin.replay --exp {self.folder}`; fix the data, or go on without this batch by --skip_steps"
            f" {skip} (in the config: skip_steps: [{skip.replace(' ', ', ')}])."
        )

    def autocast(self):
        return autocast(self.device, self.options.dtype)

    def make_up_validation(self) -> None:
        """Validate where a signal cut that short: the first rank knows from its log."""
        missing = [
            bool(
                self.log
                and self.step
                and self.is_due(self.options.eval_interval)
                and not self.log.holds("valid", self.step)
            )
        ]
        if self.sharded:
            torch.distributed.broadcast_object_list(missing, src=0)
        if missing[0]:
            self.validate()

    @torch.no_grad()
    def validate(self) -> None:
        """Write the means over the (small, fixed) validation batches; a signal ends it, and resuming makes up for it.

        The first rank does it alone; a sharded model runs in all ranks.
        """
        if not self.log and not self.sharded:
            return
        self.model.eval()
        meter = Meter(self.model.figures, self.device)
        for batch in self.valid:
            if self.signal_anywhere() if self.sharded else self.stop.number:
                return
            with self.autocast():
                _, table_S2 = self.model(**batch_on(batch, self.device))
            meter.add(table_S2)
        if self.log:
            self.log.write("valid", self.step, meter.means())

    def save(self) -> None:
        state = {
            "skipped": [step for step in sorted(self.options.skip_steps) if step < self.step],
            "data": self.data.state,
            "meter": self.meter.sums(),
            "guard": self.guard.state(),
            "vocab": self.model.speechlm.vocab.fingerprint,
        }
        if self.log:
            self.write_cost()
        self.checkpoints.save(self.step, tensors_of(self.model, self.optimizers), state)

    def restore(self) -> None:
        path = self.checkpoints.newest()
        if path is None:
            return
        state = read_rest(path)
        if state["vocab"] != self.model.speechlm.vocab.fingerprint:
            raise ValueError(
                f"{path} was trained with vocabulary {state['vocab']}, this run has "
                f"{self.model.speechlm.vocab.fingerprint}. Restore the codec and LLM that it was trained with, or"
                " give a new --expdir."
            )
        skipped = [step for step in sorted(self.options.skip_steps) if step < state["step"]]
        if skipped != state["skipped"]:
            raise ValueError(
                f"{path}: up to there the steps {state['skipped']} were skipped, but --skip_steps says {skipped}."
                " Expected the same ones, and any later ones. Give those, or delete the checkpoints to start"
                " again."
            )
        self.checkpoints.load(path, self.model, self.optimizers)
        if self.log:
            logging.info(f"resumed from {path}")
        self.step = state["step"]
        self.meter.restore(state["meter"])
        self.guard.restore(state["guard"])
        self.data.restore(state["data"])


def write_bad_batch(folder: Path, refusal: Refusal, batches: list[Plan], corpus: Corpus) -> None:
    """Write `bad_batch.json`: step, loss, gradient norm, and the draws of each row of each micro-batch with their
    names.
    """
    found = {"step": refusal.step, "loss": refusal.loss, "grad_norm": refusal.grad_norm}
    draws = [[[draw._asdict() | {"name": corpus.name(draw)} for draw in row] for row in batch] for batch in batches]
    with atomic_write(folder / "bad_batch.json") as stream:
        json.dump(found | {"batches": draws}, stream, indent=1)


def batch_on(batch: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    """Return a batch with its tensors on `device`."""
    return {name: on_device(value, device) for name, value in batch.items()}


def on_device(value: Tensor, device: str) -> Tensor:
    """Return a tensor on `device`; nothing waits for a GPU."""
    return value.pin_memory().to(device, non_blocking=True) if device == "cuda" else value
