"""The processes of a training, started, watched and started again by torch elastic: what torchrun does, from the
options of bin/train.

    python -m speechlm.bin.train --ngpu 8 ...               on one machine (--nproc N: on CPU)
    srun --ntasks-per-node=1 python -m speechlm.bin.train --ngpu 8 ...      on several, by Slurm
    torchrun --nnodes 2 --nproc_per_node 8 ... -m speechlm.bin.train --ngpu 8 ...     by hand

A process that dies, or waits too long for the others, ends all of them; they start again and go on from the last
checkpoint. Beyond what torchrun does, a mistake of the user's is not tried again, and a signal is passed on, so that
the ranks save before they exit.
"""

import argparse
import logging
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import torch
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from speechlm.data.files import STORAGE_ERRORS
from speechlm.train.hang import where_file
from speechlm.train.signals import STOPPING, end_with_parent, ending, exit_at_once

Work = Callable[[argparse.Namespace], None]
INTERRUPTED = [128 + number for number in STOPPING]
ASKED = "SPEECHLM_ASKED_TO_STOP"  # in the environment of a launcher and what it starts: the number of a signal
GRACE_SEC = 5  # for the others to exit by themselves when one has ended
AGAIN = "the same command goes on from the last checkpoint"


# ---------------------------------------------------------------- the launcher


def launch(work: Work, args: argparse.Namespace, processes: int) -> None:
    """Run `work(args)` in `processes` ranks of this machine; return when all, on all machines, have succeeded.

    ValueError if one fails and no restart is left, or with the message of its own ValueError; SystemExit if a signal
    stopped them.
    """
    meeting = find_meeting(args)
    for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the reasons are told below
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGHUP,SIGQUIT"  # the others are passed on
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = (
        "1"  # else gloo finds after a restart what was there before it (torch 2.11)
    )
    with tempfile.TemporaryDirectory(prefix="speechlm_ranks_") as folder:
        spec = WorkerSpec(
            role="rank", local_world_size=processes, rdzv_handler=get_rendezvous_handler(meeting),
            entrypoint=_start_rank,
            args=(work, args, folder), max_restarts=args.max_restarts, local_addr=meeting.local_addr,
        )  # fmt: skip
        # A GPU can't be used in a forked process; without one, forking saves each process the imports (5 s).
        agent = Agent(spec, DefaultLogsSpecs(folder), "spawn" if args.ngpu else "fork")
        agent.end(meeting.max_nodes)


class Agent(LocalElasticAgent):
    """torch elastic's agent, which says why it starts again or ends, and passes signals on."""

    reason = "another machine has ended the training"

    def end(self, nodes: int) -> None:
        """Run to the end; raise what `launch` says."""
        for number in STOPPING:
            signal.signal(number, self._pass_on)
        try:
            result = self.run()
        except RendezvousError as error:
            raise ValueError(
                f"the {nodes} machines (--nodes) did not find each other, or one has ended: {error}; {AGAIN}"
            ) from None
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None
        finally:
            self._rdzv_handler.shutdown()
            exit_at_once()
        if result is None or result.is_failed():
            if ASKED in os.environ:  # before there was anything to save
                raise SystemExit(128 + int(os.environ[ASKED]))
            raise ValueError(self.reason)
        if status := max(result.return_values.values()):
            raise SystemExit(status)

    def _pass_on(self, number: int, _frame) -> None:
        """Pass a signal on to the ranks, which save and end; those that elastic may start from now on end at once."""
        os.environ[ASKED] = str(number)
        sent = 0
        for pid in (self._pcontext.pids() if self._pcontext else {}).values():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                sent += 1
        if not sent:
            os._exit(128 + number)

    def _start_workers(self, worker_group: WorkerGroup) -> dict:
        ids = super()._start_workers(worker_group)
        ranks = self._pcontext
        ranks.close = partial(ranks.close, timeout=GRACE_SEC)  # not 30: who is left when one has ended only waits
        ranks._pc.join = partial(ranks._pc.join, grace_period=GRACE_SEC)
        return ids

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result = super()._monitor_workers(worker_group)
        for rank, failure in (result.failures or {}).items():
            self._judge(rank, failure)
        return result

    def _judge(self, rank: int, failure: ProcessFailure) -> None:
        """Note why the ranks end, show where they were if one hung, and leave no restart if it would end the
        same way.
        """
        spec, world, message = self._worker_group.spec, self._worker_group.workers[0].world_size, _message(failure)
        _show(spec.args[-1], [worker.global_rank for worker in self._worker_group.workers])
        self.reason = message or f"rank {rank} of {world} {ending(failure.exitcode)}"
        if message or ASKED in os.environ:
            self._remaining_restarts = 0
        elif self._remaining_restarts:
            count = f"restart {spec.max_restarts - self._remaining_restarts + 1} of {spec.max_restarts}"
            print(
                f"{self.reason}: all start again from the last checkpoint ({count}, --max_restarts)",
                file=sys.stderr,
                flush=True,
            )
        else:
            self.reason += f". All processes were ended; {AGAIN}."


def _message(failure: ProcessFailure) -> str:
    """Return what a rank had to tell the user; "" if it ended in another way."""
    text = failure.message["message"] if isinstance(failure.message, dict) else ""
    return text.removeprefix("ValueError: ") if text.startswith("ValueError: ") else ""


def _show(folder: str, ranks: list[int]) -> None:
    """Print where each rank was, if one says so: those that waited too long, and the one that they waited for."""
    paths = {rank: where_file(folder, rank) for rank in ranks}
    said = {rank: path.read_text(errors="replace") if path.exists() else "" for rank, path in paths.items()}
    for rank, text in said.items() if any(said.values()) else ():
        found = f"was here:\n{text}" if text else "does not say where it is: it was stopped, or it waits for a device"
        print(f"rank {rank} {found}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- where the machines meet


def find_meeting(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> RendezvousParameters:
    """Return where the launchers of all machines meet: of this one alone, or of the srun that started them; ValueError
    if they can't.
    """
    nodes, tasks = args.nodes, slurm_tasks(environ)
    if tasks > 1:
        if nodes not in (1, tasks):
            raise ValueError(
                f"--nodes {nodes}, but srun started {tasks} tasks. Expected one task on each machine: srun --ntasks"
                f" {nodes}"
            )
        job = int(environ["SLURM_JOB_ID"]) * 31 + int(environ["SLURM_STEP_ID"])
        host = environ.get("MASTER_ADDR") or first_host(environ["SLURM_STEP_NODELIST"])
        port = environ.get("MASTER_PORT") or 20000 + job % 10000
        local = host if host in ("localhost", "127.0.0.1") else None
        return RendezvousParameters("c10d", f"{host}:{port}", f"speechlm{job}", tasks, tasks, local)
    if nodes > 1:
        raise ValueError(
            f"--nodes {nodes}, but nothing has started this command on several machines. Expected srun"
            f" --ntasks-per-node=1 (of a recipe: SPEECHLM_CMD=slurm ./run.sh --nodes {nodes}), or on each machine"
            f" torchrun --nnodes {nodes} --nproc_per_node N --rdzv_backend c10d --rdzv_endpoint FIRST_MACHINE:29500 -m"
            " speechlm.bin.train and the options."
        )
    return RendezvousParameters("c10d", "localhost:0", str(uuid.uuid4()), 1, 1, "localhost")


def slurm_tasks(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many times srun has started this command."""
    return int(environ.get("SLURM_STEP_NUM_TASKS", 1))


def first_host(nodelist: str) -> str:
    """Return the first name of Slurm's short form: "gpu[03-07,9],login" is gpu03."""
    prefix, numbers, suffix = re.match(r"([^\[,]+)(?:\[([^\]]+)\])?([^,]*)", nodelist).groups()
    return prefix + (re.split("[-,]", numbers)[0] + suffix if numbers else "")


# ---------------------------------------------------------------- in a rank


def place(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return (rank, number of ranks), as torch elastic says; (0, 1) in a training of one process."""
    return int(environ.get("RANK", 0)), int(environ.get("WORLD_SIZE", 1))


def _start_rank(work: Work, args: argparse.Namespace, folder: str) -> int:
    end_with_parent()  # a killed launcher leaves no process behind
    exit_at_once(quietly=True)
    if ASKED in os.environ:
        return 128 + int(os.environ[ASKED])
    os.environ["SPEECHLM_RANKS"] = folder
    return run_rank(work, args)


def run_rank(work: Work, args: argparse.Namespace) -> int:
    """Run `work(args)` in a process that torch elastic has started; return 0, or the exit status of a signal that ended
    it.
    """
    if not args.ngpu:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet takes it for the number of this process
    os.environ.setdefault("NCCL_BLOCKING_WAIT", "0")  # ESPnet would have every step wait for the GPU, and
    os.environ.setdefault("NCCL_DEBUG", "WARN")  # NCCL tell all it does
    try:
        work(_rank_args(args))
    except SystemExit as end:
        if end.code not in INTERRUPTED:
            raise
        return end.code
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise ValueError(f"{error.filename or 'a file'}: {error.strerror}. {STORAGE_ERRORS[error.errno]}.") from None
    except ValueError:
        raise  # a mistake of the user's, which the launcher tells
    except Exception as error:
        _tell_lost(error)
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def _tell_lost(error: Exception) -> None:
    """Say what went wrong; a rank that lost another one waits a little, so that the other's end is noticed first."""
    if not (isinstance(error, RuntimeError) and "gloo" in str(error)) and not isinstance(
        error, torch.distributed.DistError
    ):
        traceback.print_exc()
        return
    message = str(error).strip().splitlines()[0]
    print(f"rank {place()[0]} does not hear from another rank: {message}", file=sys.stderr, flush=True)
    time.sleep(2.0)


def _rank_args(args: argparse.Namespace) -> argparse.Namespace:
    """Return ESPnet's options of a process whose place is in the environment, with at most one GPU."""
    backend = args.dist_backend if args.ngpu else "gloo"
    distributed = {"dist_backend": backend, "multiprocessing_distributed": False, "ngpu": min(args.ngpu, 1)}
    return argparse.Namespace(**vars(args) | distributed)


class Decision:
    """What the first rank decides before there is a process group: is there anything to do?"""

    def __init__(self):
        self._store = next(torch.distributed.rendezvous("env://"))[0] if place()[1] > 1 else None

    def tell(self, todo: bool) -> None:
        if self._store:
            self._store.set("speechlm/todo", str(int(todo)))

    def hear(self) -> bool:
        """Wait for it, in another rank."""
        return self._store.get("speechlm/todo") == b"1"


def require_alike(settings: dict) -> None:
    """Raise ValueError, in all ranks, if one was given other options than the first."""
    if not torch.distributed.is_initialized():
        return
    every = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, settings)
    for rank, theirs in enumerate(every):
        keys = sorted(key for key in every[0].keys() | theirs.keys() if every[0].get(key) != theirs.get(key))
        if keys:
            found = ", ".join(f"{key} ({every[0].get(key)}, {theirs.get(key)})" for key in keys)
            raise ValueError(
                f"rank {rank} has other options than rank 0: {found}. Run the same command on every machine."
            )
