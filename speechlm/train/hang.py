"""If a rank hangs, the collective in which the others wait for it fails, and every rank says where it was."""

import faulthandler
import os
import sys
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch

SHARE = 0.9  # of the limit, after which a rank says where it is: before the others, who began to wait later, give up


def limit_waiting(minutes: float) -> None:
    """Let a collective fail if another rank does not reach it within this time."""
    if torch.distributed.is_initialized():
        torch.distributed.distributed_c10d._set_pg_timeout(timedelta(minutes=minutes))
        faulthandler.enable()  # NCCL ends a process by SIGABRT


def watch(minutes: float) -> None:
    """Write where this rank is if it does not call this again, or `rest`, in time."""
    if torch.distributed.is_initialized():
        faulthandler.dump_traceback_later(SHARE * 60 * minutes, file=_stream())


def rest() -> None:
    """What follows has no limit."""
    faulthandler.cancel_dump_traceback_later()


def where_file(folder: str, rank: int) -> Path:
    """Return the file in which a rank says where it is, of a launcher with this folder."""
    return Path(folder) / f"rank{rank}.where"


@cache
def _stream():
    """Return where this rank writes to: its launcher's file; stderr if torchrun was called by hand."""
    folder = os.environ.get("SPEECHLM_RANKS")
    return where_file(folder, torch.distributed.get_rank()).open("w") if folder else sys.stderr
