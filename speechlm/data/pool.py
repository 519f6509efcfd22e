"""Processes, each on a device of its own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

from speechlm.data.machine import take_device


def pool_on(devices: list[str], start: Callable[..., None], *arguments) -> ProcessPoolExecutor:
    """Return a pool of a process for each of `devices_for`, in which `start(device in torch, *arguments)` is called
    first.

    A process on a GPU sees no other. `start` and what is submitted must be functions of a module.
    """
    context = get_context("spawn")
    free = context.SimpleQueue()
    for device in devices:
        free.put(device)
    return ProcessPoolExecutor(len(devices), context, initializer=_begin, initargs=(free, start, arguments))


def _begin(free: SimpleQueue, start: Callable[..., None], arguments: tuple) -> None:
    start(take_device(free.get()), *arguments)
