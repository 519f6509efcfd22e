"""The processes of one machine, one per GPU (or on CPU), started, watched and ended together; with several machines, see nodes.py.

ESPnet's own launcher passes on no signal and doesn't notice a process that hangs. A process that dies or hangs here ends
all of them, with its rank named, so that the same command can go on from the last checkpoint.
"""

import argparse
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

from speechlm.train import nodes as group
from speechlm.train.nodes import AGAIN, GRACE_SEC, STARTED, End, Nodes, Row, ending
from speechlm.train.signals import STOPPING, end_with_parent, exit_at_once

INTERRUPTED = [128 + number for number in STOPPING]
SHOW_STACK = signal.SIGUSR2  # makes a rank print where it is

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


def launch(work: Callable[[argparse.Namespace], None], args: argparse.Namespace, nodes: Nodes) -> None:
    """Run `work(args)` in the processes of this node; return when all, on all nodes, have succeeded.

    ValueError if one dies or hangs, or with the message of its own ValueError; SystemExit if a signal stopped them.
    """
    # A GPU can't be used in a forked process; without one, forking saves each process the imports (5 s).
    context = torch.multiprocessing.get_context("spawn" if args.ngpu else "fork")
    board = context.Array("d", 3 * nodes.processes, lock=False)
    for rank in range(nodes.processes):
        _note(board, rank, STARTED, args.start_sec)
    pipes = [context.Pipe(duplex=False) for _ in range(nodes.processes)]  # a queue's lock would need room in /dev/shm
    messages = [ours for ours, _ in pipes]
    leave = None if args.ngpu else nodes.close  # what a forked process inherits, a spawned one does not
    parts = [(work, _rank_args(args, rank, nodes), rank, board, theirs, leave) for rank, (_, theirs) in enumerate(pipes)]
    ranks = [context.Process(target=_run_rank, args=part) for part in parts]
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a signal waits until everybody can deal with it
    try:
        for process in ranks:
            process.start()
        for number in STOPPING:
            signal.signal(number, lambda number, _frame: _send(ranks, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        end = _watch(ranks, board, messages, nodes)
    finally:
        for process in ranks:
            if process.pid:
                process.kill()
                process.join()
        nodes.close()
        exit_at_once()
    if end and end.status in INTERRUPTED:
        raise SystemExit(end.status)
    if end:
        raise ValueError(end.reason)


def _rank_args(args: argparse.Namespace, rank: int, nodes: Nodes) -> argparse.Namespace:
    """Return ESPnet's options of a process that was started from outside, with at most one GPU; `rank` is counted on this node."""
    distributed = {
        "dist_rank": nodes.first_rank + rank,
        "dist_world_size": nodes.world,
        "dist_master_addr": nodes.place.addr,
        "dist_master_port": nodes.port,
        "dist_backend": args.dist_backend if args.ngpu else "gloo",
        "local_rank": rank if args.ngpu else None,
        "multiprocessing_distributed": False,
        "ngpu": min(args.ngpu, 1),
    }
    return argparse.Namespace(**vars(args) | distributed)


def _run_rank(work, args: argparse.Namespace, rank: int, board, pipe, leave) -> None:  # noqa: PLR0913
    global _board, _rank
    _board, _rank = board, rank
    end_with_parent()  # a killed launcher leaves no process behind
    exit_at_once()
    if leave:
        leave()
    faulthandler.register(SHOW_STACK, all_threads=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    if not args.ngpu:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet takes it for the number of this process
    try:
        work(args)
    except ValueError as error:
        pipe.send(str(error))
        sys.exit(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _send(ranks: list, number: int) -> None:
    for process in ranks:
        if process.exitcode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, number)


def _watch(ranks: list, board, messages, nodes: Nodes) -> End | None:
    """Wait until all have ended well (None), or one has died or hangs, here or on another node."""
    while True:
        wait([process.sentinel for process in ranks if process.exitcode is None], timeout=1.0)
        statuses = [process.exitcode for process in ranks]  # looked at once: a rank may end at any time, also within `exchange`
        if any(statuses):
            return _end_all(ranks, nodes, _end_of(ranks, messages, nodes))
        if None not in statuses:
            return nodes.finish()
        if end := nodes.exchange(_rows(ranks, board)):
            return _end_all(ranks, nodes, end)


def _end_all(ranks: list, nodes: Nodes, end: End) -> End:
    """Agree with the other nodes on the reason, and let the ranks end by themselves for a moment; the caller kills the rest."""
    end = nodes.settle(end)
    for rank, process in enumerate(ranks if end.hang else []):
        print(f"rank {nodes.first_rank + rank} is here:", file=sys.stderr, flush=True)
        _send([process], SHOW_STACK)
        time.sleep(0.3)  # so that each prints alone
    until = time.monotonic() + GRACE_SEC
    while any(process.exitcode is None for process in ranks) and time.monotonic() < until and not end.hang:
        wait([process.sentinel for process in ranks if process.exitcode is None], timeout=0.5)
    return end


def _end_of(ranks: list, messages, nodes: Nodes) -> End:
    """Return why this node ends: the process that was killed, else one that was interrupted, else one that failed."""
    ended = [process for process in ranks if process.exitcode]
    first = min(ended, key=lambda process: (process.exitcode >= 0, process.exitcode not in INTERRUPTED))
    if first.exitcode in INTERRUPTED:
        return End(group.INTERRUPTED, "interrupted", first.exitcode)
    if first.exitcode > 0 and (told := next((pipe for pipe in messages if pipe.poll()), None)):
        return End(group.TOLD, told.recv())
    order = group.LOST if first.exitcode < 0 else group.UNKNOWN
    return End(order, f"rank {nodes.first_rank + ranks.index(first)} of {nodes.world} {ending(first.exitcode)}. {AGAIN}")


def _rows(ranks: list, board) -> list[Row]:
    world, now = len(ranks), time.monotonic()
    stopped = [process.exitcode is None and _state(process.pid) in "TD" for process in ranks]
    return [Row(int(board[r]), board[world + r] - now, board[2 * world + r], stopped[r]) for r in range(world)]


def _state(pid: int) -> str:
    """Return the letter of a process's state (man proc): T is stopped, D waits for a device, X has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].upper()
    except OSError:
        return "X"
