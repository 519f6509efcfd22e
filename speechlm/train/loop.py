"""Training by steps: gradients over micro-batches and processes, checkpoints, signals, validation.

ESPnet's own loop saves only at epoch ends, not atomically and without the position in the data, and does not weight
micro-batches by tokens; this one takes its place.
"""

import json
import logging
import signal
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from speechlm.data.files import atomic_write
from speechlm.model.adapter import has_lora, save_adapter
from speechlm.model.folder import copy_llm_files, save_weights
from speechlm.tasks.examples import stable_hash
from speechlm.train.checkpoint import Checkpoints, read_rest, tensors_of
from speechlm.train.cost import Cost
from speechlm.train.guard import LossGuard
from speechlm.train.hang import rest, watch
from speechlm.train.iterator import Corpus
from speechlm.train.log import Log
from speechlm.train.meter import Meter
from speechlm.train.mixture import Plan
from speechlm.train.precision import autocast, has_bfloat16
from speechlm.train.sharding import clip_gradients, is_sharded, no_sync
from speechlm.train.signals import STOPPING, StopRequest


class Run:
    """One training run, in one process of `world`. All processes hold the same state, and agree on when to stop."""

    def __init__(self, model, optimizers, data, valid, options, distributed):
        self.model, self.optimizers, self.data, self.valid = model, optimizers, data, valid
        self.options, self.folder = options, Path(options.output_dir)
        self.device = "cuda" if options.ngpu > 0 else "cpu"
        self.world, self.rank = (distributed.dist_world_size or 1), (distributed.dist_rank or 0)
        self.step, self.meter = 0, Meter()
        self.guard = LossGuard(options.max_loss_ratio, options.warmup_steps)
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
            if self.is_due(self.options.log_interval or 50):
                if self.log:
                    self.report()
                self.meter = Meter()
            if self.is_due(self.options.eval_interval):
                self.validate()
            if self.step in self.options.keep_steps:
                self.keep()
            signal_number = self.signal_anywhere()
            if signal_number or self.is_due(self.options.save_interval):
                self.save()
            if signal_number:
                self.exit_interrupted(signal_number)

    def report(self) -> None:
        left_out = {f"left_out.{task}": count for task, count in self.data.state["too_long"].items()}
        self.log.write("train", self.step, self.meter.means() | left_out)
        self.write_cost()

    def keep(self) -> None:
        """Write the weights of this step to `steps/<step>/`, a model folder as the last one will be."""
        folder, speechlm = self.folder / "steps" / str(self.step), self.model.speechlm
        if self.log:
            copy_llm_files(str(self.folder / "llm"), speechlm.llm.config, folder / "llm")
            speechlm.vocab.save(folder / "vocab.json")
        self.save_weights(folder, adapter=False)

    def save_weights(self, folder: Path, adapter: bool = True) -> None:
        """Write model.safetensors, and the adapter alone if there is one; of a sharded model every rank gives its part."""
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
        """Return a signal by which a process was asked to stop, the same in all of them; 0 if there is none."""
        asked = torch.tensor([self.stop.number == number for number in STOPPING], dtype=torch.float32, device=self.device)
        self.sum_over_processes(asked)
        return next((int(number) for number, count in zip(STOPPING, asked.tolist(), strict=True) if count), 0)

    def exit_interrupted(self, number: int) -> None:
        self.checkpoints.wait()
        self.wait_for_all()  # until it is saved
        if self.log:
            print(
                f"interrupted by {signal.Signals(number).name}: step {self.step} of {self.options.max_steps} is saved in {self.folder}; "
                "the same command goes on from there",
                flush=True,
            )
        raise SystemExit(128 + number)

    def sum_over_processes(self, values: Tensor) -> None:
        if self.world > 1:
            torch.distributed.all_reduce(values)

    def wait_for_all(self) -> None:
        if self.world > 1:
            torch.distributed.barrier()

    def wrap(self) -> torch.nn.Module:
        if self.world == 1 or self.sharded:
            return self.model
        devices = [torch.cuda.current_device()] if self.device == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(
            self.model, device_ids=devices, find_unused_parameters=self.options.unused_parameters, gradient_as_bucket_view=True
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
        """Accumulate `accum_grad` micro-batches, every predicted row weighing the same over all of them and all processes.

        A step of `skip_steps` only takes its batches. One that must not be learned from changes nothing: ValueError.
        """
        position = self.data.state
        watch(self.options.dist_timeout_min)
        micro_batches = [next(batches) for _ in range(self.options.accum_grad)]
        if self.step in self.options.skip_steps:
            return
        totals, norm = self.gradients(parallel, [batch for _, batch in micro_batches])
        loss = totals.means().get("loss", 0.0)
        complaint = self.guard.complaint(loss, norm)
        if complaint:
            self.data.state = position
            self.refuse(complaint, [plan for plan, _ in micro_batches], {"loss": loss, "grad_norm": norm})
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.guard.add(loss)
        self.meter.add(totals.sums | {"grad_norm": (norm, 1.0)})

    def gradients(self, parallel: torch.nn.Module, micro_batches: list) -> tuple[Meter, float]:
        """Compute the clipped gradients of a step; return its sums over all processes, and the norm before clipping."""
        self.model.train()
        rows = sum(batch["loss_BL"][:, 1:].sum() for batch in micro_batches).to(self.device)
        self.sum_over_processes(rows)
        totals = Meter()
        for i, batch in enumerate(micro_batches):
            # Dropout follows from the step and the batch's place in it: not from what came before, nor from the process.
            torch.manual_seed(stable_hash(self.options.seed, self.step, i * self.world + self.rank))
            synchronised = self.world == 1 or i == len(micro_batches) - 1
            with nullcontext() if synchronised else no_sync(parallel):
                with self.autocast():
                    loss, stats, weight = parallel(**on_device(batch, self.device))
                # DistributedDataParallel averages over processes: multiply by their number.
                (loss * weight.sum() / rows * self.world).sum().backward()
            totals.add(stats | {"positions": (int((batch["segment_BL"] >= 0).sum()), 1.0)})
        norm = clip_gradients(self.model.parameters(), self.options.grad_clip)
        names = list(totals.sums)  # in the same order in every process
        sums = torch.tensor([totals.sums[name] for name in names], dtype=torch.float64, device=self.device)
        self.sum_over_processes(sums)
        return Meter(dict(zip(names, sums.tolist(), strict=True))), float(norm)

    def refuse(self, complaint: str, plans: list[Plan], found: dict[str, float]) -> None:
        """Keep the state before this step and the batch, for bin/replay; raise ValueError, in all processes the same."""
        self.save()
        self.checkpoints.wait()
        parts = [plans]
        if self.world > 1:
            parts = [None] * self.world
            torch.distributed.all_gather_object(parts, plans)
        batches = [part[i] for i in range(len(plans)) for part in parts]  # in the order of the stream
        if self.log:
            write_bad_batch(self.folder, {"step": self.step} | found, batches, self.data.corpus)
        self.wait_for_all()
        skip = " ".join(str(step) for step in [*self.options.skip_steps, self.step])
        raise ValueError(
            f"step {self.step}: {complaint}. Nothing was learned from it: {self.folder}/checkpoints/{self.step} is the state before, bad_batch.json "
            f"names the {sum(len(row) for batch in batches for row in batch)} examples. See the loss of each with "
            f"`python -m speechlm.bin.replay --exp {self.folder}`; mend the data, or go on without this batch by --skip_steps {skip} "
            f"(in the config: skip_steps: [{skip.replace(' ', ', ')}])."
        )

    def autocast(self):
        return autocast(self.device, self.options.dtype)

    def make_up_validation(self) -> None:
        """Validate where a signal cut that short: the first rank knows from its log."""
        missing = [bool(self.log and self.step and self.is_due(self.options.eval_interval) and not self.log.holds("valid", self.step))]
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
        meter = Meter()
        for batch in self.valid:
            if self.signal_anywhere() if self.sharded else self.stop.number:
                return
            with self.autocast():
                _, stats, _ = self.model(**on_device(batch, self.device))
            meter.add(stats)
        if self.log:
            self.log.write("valid", self.step, meter.means())

    def save(self) -> None:
        state = {
            "skipped": [step for step in sorted(self.options.skip_steps) if step < self.step],
            "data": self.data.state,
            "meter": dict(self.meter.sums),
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
                f"{self.model.speechlm.vocab.fingerprint}. Restore the codec and LLM it had, or give a new --expdir."
            )
        skipped = [step for step in sorted(self.options.skip_steps) if step < state["step"]]
        if skipped != state["skipped"]:
            raise ValueError(
                f"{path}: until there the steps {state['skipped']} were skipped, --skip_steps says "
                f"{skipped}. Expected the same, and any later ones. Give those, or delete the checkpoints to start again."
            )
        self.checkpoints.load(path, self.model, self.optimizers)
        if self.log:
            logging.info(f"resumed from {path}")
        self.step, self.meter = state["step"], Meter(state["meter"])
        self.guard.restore(state["guard"])
        self.data.restore(state["data"])


def write_bad_batch(folder: Path, found: dict, batches: list[Plan], corpus: Corpus) -> None:
    """Write `bad_batch.json`: step, loss, gradient norm, and the draws of each row of each micro-batch with their names."""
    draws = [[[asdict(draw) | {"name": corpus.name(draw)} for draw in row] for row in batch] for batch in batches]
    with atomic_write(folder / "bad_batch.json") as stream:
        json.dump(found | {"batches": draws}, stream, indent=1)


def on_device(batch: dict, device: str) -> dict:
    """Return the batch with its tensors on `device`."""
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
