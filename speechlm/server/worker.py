"""One thread that computes: requests wait in line, and those that wait together are decoded together."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from speechlm.api import Speech, SpeechLM, Text
from speechlm.server.metrics import Metrics


@dataclass(eq=False)
class Request:
    """What is to be done: `prepare` makes the job, in the worker's thread; the result, or the user's mistake, is
    delivered through `done`.

    With `emit`, speech is streamed: it is called with each chunk [samples], in the end with None, or with what went
    wrong; `done` then tells that the first one is there. `left` is set by who asked, if nobody listens any more.
    """

    prepare: Callable
    emit: Callable | None = None
    done: Future = field(default_factory=Future)
    left: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Runs requests in batches of up to `max_batch`, in the order in which they came. The caller bounds how many may
    wait.
    """

    def __init__(self, lm: SpeechLM, metrics: Metrics, max_batch: int):
        self._lm, self._metrics, self._max_batch = lm, metrics, max_batch
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="speechlm-worker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Does the thread run?"""
        return self._thread.is_alive()

    def submit(self, request: Request) -> Future:
        """Put a request in line; return the future of its Text or Speech."""
        self._queue.put(request)
        return request.done

    def close(self) -> None:
        """Finish what is in line, and end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (request := self._queue.get()) is not None:
            batch, last = [request], False
            while len(batch) < self._max_batch and not self._queue.empty() and not last:
                more = self._queue.get()
                last = more is None
                batch += [more] if more else []
            self._run([request for request in batch if request.done.set_running_or_notify_cancel()])
            if last:
                return

    def _run(self, batch: list[Request]) -> None:
        began = time.monotonic()
        jobs = []
        for request in batch:
            try:
                jobs.append((request, request.prepare()))
            except Exception as error:  # the user's mistake (ValueError) or a bug: it is this request's alone
                request.done.set_exception(error)
        self._answer([(request, job) for request, job in jobs if request.emit is None])
        for request, job in jobs:
            if request.emit is not None:
                self._stream(request, job)
        self._metrics.count_batch(len(batch), time.monotonic() - began)

    def _answer(self, jobs: list) -> None:
        """Decode jobs together; if that fails, one by one, so that a failing request affects no other."""
        if not jobs:
            return
        try:
            results: list[Text | Speech] = self._lm.run([job for _, job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0][0].done.set_exception(error)
                return
            for pair in jobs:
                self._answer([pair])
            return
        for (request, _), result in zip(jobs, results, strict=True):
            request.done.set_result(result)

    def _stream(self, request: Request, job) -> None:
        """Make speech chunk by chunk; nobody else is served meanwhile."""
        try:
            for wav_N in self._lm.stream(job):
                if not request.done.done():
                    request.done.set_result(None)
                request.emit(wav_N)
                if request.left.is_set():
                    return
            request.emit(None)
            if not request.done.done():  # nothing is said
                request.done.set_result(None)
        except Exception as error:
            if request.done.done():
                request.emit(error)
            else:
                request.done.set_exception(error)
