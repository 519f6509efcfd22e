"""Signals that ask a training to stop: SIGTERM (clusters), SIGINT (control-C), SIGUSR1 (Slurm's warning before the
end).

The exit status is the shell's for that signal, 128 + its number: 143, 130, 138.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # of Linux's prctl
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def exit_at_once(quietly: bool = False) -> None:
    """From now on a signal ends the process: for times in which there is nothing to save."""
    for number in STOPPING:
        signal.signal(number, _exit_quietly if quietly else _exit)


def _exit(number: int, _frame) -> None:
    """End here: an exception would be lost if the signal came within a `__del__`, and print may be busy."""
    os.write(
        1, f"interrupted by {signal.Signals(number).name}; the same command goes on with what was saved\n".encode()
    )
    os._exit(128 + number)


def _exit_quietly(number: int, _frame) -> None:
    os._exit(128 + number)


def end_with_parent() -> None:
    """From now on this process is killed when the one that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ending(exitcode: int) -> str:
    """Say how a process ended."""
    return (
        f"was killed by {signal.Signals(-exitcode).name}"
        if exitcode < 0
        else f"ended with status {exitcode} (its error stands above)"
    )


def ignore_stopping() -> None:
    """A loader's worker leaves signals to its trainer: a cluster sends them to every process of a job."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def stopping_held() -> Iterator[None]:
    """Hold signals back while processes are forked, so that none reaches one of them before it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequest:
    """Within its block a signal is only noted in `number` (0: none), so that a step can be finished."""

    def __init__(self):
        self.number = 0

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(self, *_error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        self.number = number
