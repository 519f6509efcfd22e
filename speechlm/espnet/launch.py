"""Several processes on one machine, one per GPU (or on CPU), started, watched and ended together.

ESPnet's own launcher passes on no signal and doesn't notice a process that hangs. A process that dies or hangs here ends
all of them, with its rank named, so that the same command can go on from the last checkpoint.
"""

import argparse
import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import torch
from espnet2.train.distributed_utils import free_port

from speechlm.espnet.signals import STOPPING, exit_at_once

GRACE_SEC = 5.0  # for the others to end by themselves, when one has ended
INTERRUPTED = [128 + number for number in STOPPING]
PR_SET_PDEATHSIG = 1  # of Linux's prctl
SHOW_STACK = signal.SIGUSR2  # makes a rank print where it is
STARTED, JOINED, MODEL_READY, DATA_READY = range(-4, 0)  # progress before the first step; steps count from 0

_board = None  # shared by all ranks and the launcher: progress of each rank, moment by which each is due again, and its limit in seconds
_rank = 0


def beat(progress: int, limit_sec: float) -> None:
    """Tell the launcher that this rank is alive: how far it is, and how long it may take until its next beat (0: for ever)."""
    if _board is not None:
        _note(_board, _rank, progress, limit_sec)


def _note(board, rank: int, progress: int, limit_sec: float) -> None:
    world = len(board) // 3
    board[rank], board[world + rank], board[2 * world + rank] = progress, _due(limit_sec), limit_sec


def _due(limit_sec: float) -> float:
    return time.monotonic() + limit_sec if limit_sec else float("inf")


def launch(work: Callable[[argparse.Namespace], None], args: argparse.Namespace, world: int) -> None:
    """Run `work(args)` in `world` processes; return when all have succeeded.

    ValueError if one dies or hangs, or with the message of its own ValueError; SystemExit if a signal stopped them.
    """
    # A GPU can't be used in a forked process; without one, forking saves each process the imports (5 s).
    context = torch.multiprocessing.get_context("spawn" if args.ngpu else "fork")
    board = context.Array("d", 3 * world, lock=False)
    for rank in range(world):
        _note(board, rank, STARTED, args.start_sec)
    messages = context.SimpleQueue()
    port = free_port()
    ranks = [context.Process(target=_run_rank, args=(work, _rank_args(args, r, world, port), board, messages)) for r in range(world)]
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a signal waits until everybody can deal with it
    try:
        for process in ranks:
            process.start()
        for number in STOPPING:
            signal.signal(number, lambda number, _frame: _send(ranks, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        reason = _watch(ranks, board)
    finally:
        for process in ranks:
            if process.pid:
                process.kill()
                process.join()
        exit_at_once()
    if reason:
        raise ValueError(reason if messages.empty() else messages.get())


def _rank_args(args: argparse.Namespace, rank: int, world: int, port: int) -> argparse.Namespace:
    """Return ESPnet's options of a process that was started from outside, with at most one GPU."""
    distributed = {
        "dist_rank": rank,
        "dist_world_size": world,
        "dist_master_addr": "localhost",
        "dist_master_port": port,
        "dist_backend": args.dist_backend if args.ngpu else "gloo",
        "local_rank": rank if args.ngpu else None,
        "multiprocessing_distributed": False,
        "ngpu": min(args.ngpu, 1),
    }
    return argparse.Namespace(**vars(args) | distributed)


def _run_rank(work, args: argparse.Namespace, board, messages) -> None:
    global _board, _rank
    _board, _rank = board, args.dist_rank
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed launcher leaves no process behind
    exit_at_once()
    faulthandler.register(SHOW_STACK, all_threads=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    if not args.ngpu:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet takes it for the number of this process
    try:
        work(args)
    except ValueError as error:
        messages.put(str(error))
        sys.exit(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _send(ranks: list, number: int) -> None:
    for process in ranks:
        if process.exitcode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, number)


def _watch(ranks: list, board) -> str | None:
    """Wait until all have ended well (None), or one has died or hangs (the reason); SystemExit if they were interrupted."""
    world = len(ranks)
    while any(process.exitcode is None for process in ranks):
        wait([process.sentinel for process in ranks if process.exitcode is None], timeout=1.0)
        ended = [process for process in ranks if process.exitcode not in (None, 0)]
        if ended:
            first = min(ended, key=lambda process: (process.exitcode >= 0, process.exitcode not in INTERRUPTED))
            _end_others(ranks)
            if first.exitcode in INTERRUPTED:
                raise SystemExit(first.exitcode)
            return f"rank {ranks.index(first)} of {world} {_ending(first.exitcode)}. {_AGAIN}"
        if time.monotonic() > max(board[world : 2 * world]):
            return _hanging(ranks, board)
    return None


_AGAIN = "All processes were ended; the same command goes on from the last checkpoint."


def _end_others(ranks: list) -> None:
    """Let the other ranks end by themselves for a moment; the caller kills the rest."""
    until = time.monotonic() + GRACE_SEC
    while any(process.exitcode is None for process in ranks) and time.monotonic() < until:
        wait([process.sentinel for process in ranks if process.exitcode is None], timeout=0.5)


def _ending(exitcode: int) -> str:
    return f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with status {exitcode} (its error stands above)"


def _hanging(ranks: list, board) -> str:
    """Name the ranks that are stopped, else those that are behind (the others only wait for them), and let all show where they are."""
    world = len(ranks)
    progress, limits = board[:world], board[2 * world :]
    stopped = [r for r, process in enumerate(ranks) if process.exitcode is None and _state(process.pid) in "TD"]
    named = stopped or [r for r in range(world) if progress[r] == min(progress)]
    _send(ranks, SHOW_STACK)
    time.sleep(1.0)
    option = "--hang_sec" if progress[named[0]] >= 0 else "--start_sec, for what comes before the first step"
    return (
        f"rank {' and '.join(map(str, named))} of {world} made no progress for {limits[named[0]]:.0f} s ({option}); "
        f"where each rank was stands above. {_AGAIN}"
    )


def _state(pid: int) -> str:
    """Return the letter of a process's state (man proc): T is stopped, D waits for a device."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].upper()
