"""Processes that plan and build batches ahead of the training, in order.

Results come through pipes as arrays, not through /dev/shm, which is small in many containers. A worker that ends is
noticed at once, by its pipe, and named; one that fails sends the reason. Each works on one result while the training
takes the results of the others.
"""

import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from speechlm.train.signals import end_with_parent, ending, ignore_stopping, stopping_held

NO_WORKERS = "--num_workers 0 builds the batches in the training itself"


class Workers:
    """`number` processes that call `build(task)`: from the first result on, until `close`. With 0, it is called in this
    process.

    Each is given `ahead` tasks before it is waited for; they must be small if there are several.
    """

    def __init__(self, build: Callable[[Any], Any], number: int, ahead: int = 1):
        self._build, self._number, self._ahead = build, number, ahead
        self._processes, self._pipes = [], []

    def results(self, tasks: Iterator) -> Iterator[tuple[Any, Any]]:
        """Yield (task, its result) in the order of the tasks. ValueError: how a worker ended, or what it could not
        build.
        """
        if not self._number:
            for task in tasks:
                yield task, self._build(task)
            return
        try:
            self._start()
            given = deque(
                (worker, self._give(worker, next(tasks))) for _ in range(self._ahead) for worker in range(self._number)
            )
            while True:
                worker, task = given.popleft()
                result = self._take(worker)
                given.append((worker, self._give(worker, next(tasks))))
                yield task, result
        finally:
            self.close()

    def close(self) -> None:
        for process in self._processes:
            process.kill()  # it has nothing to save, and it does not listen to other signals
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        """Fork them: they need no copy of the corpus then, and start at once."""
        context = multiprocessing.get_context("fork")
        for _ in range(self._number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(self._build, theirs, [*self._pipes, ours]), daemon=True)
            with stopping_held():
                process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _give(self, worker: int, task: Any) -> Any:
        """Send a task to a worker that waits for one; return it."""
        try:
            self._pipes[worker].send(task)
        except OSError:
            raise ValueError(self._lost(worker)) from None
        return task

    def _take(self, worker: int) -> Any:
        try:
            result, error = self._pipes[worker].recv()
        except (EOFError, OSError):
            raise ValueError(self._lost(worker)) from None
        if error:
            raise ValueError(f"loader worker {worker}: {error}")
        return result

    def _lost(self, worker: int) -> str:
        process = self._processes[worker]
        process.join(timeout=5)
        how = ending(process.exitcode) if process.exitcode is not None else "closed its pipe"
        memory = " Is the memory full (see dmesg)? Give fewer --num_workers." if process.exitcode == -9 else ""
        goes_on = f"{NO_WORKERS}; the same command goes on from the last checkpoint."
        return f"loader worker {worker} of {self._number} {how}.{memory} {goes_on}"


def _work(build: Callable[[Any], Any], pipe: Connection, others: list[Connection]) -> None:
    """In a worker: build what is asked for until the training is gone."""
    end_with_parent()
    ignore_stopping()
    for other in others:
        other.close()
    while True:
        try:
            task = pipe.recv()
            pipe.send(_built(build, task))
        except (EOFError, OSError):
            os._exit(0)


def _built(build: Callable[[Any], Any], task: Any) -> tuple[Any, str]:
    """Return (the result, ""), or (None, why there is none)."""
    try:
        return build(task), ""
    except (ValueError, OSError, MemoryError) as error:
        return None, str(error) or "not enough memory"
    except Exception:  # a bug of ours: where it is matters
        return None, traceback.format_exc()
