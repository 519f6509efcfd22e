"""Counters of the server, in Prometheus' text format."""

import threading
from bisect import bisect_left
from collections import Counter

BUCKETS_SEC = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Requests by path and status, how long they took, batches, and how many are at work now (`active`). Safe to use
    from threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter = Counter()
        self._took = [0] * (len(BUCKETS_SEC) + 1)
        self._took_sec = self._busy_sec = 0.0
        self._batches = self._batched = 0
        self.active = 0

    def count_request(self, path: str, status: int, sec: float) -> None:
        """Count an answered request."""
        with self._lock:
            self._requests[path, status] += 1
            self._took[bisect_left(BUCKETS_SEC, sec)] += 1
            self._took_sec += sec

    def count_batch(self, size: int, sec: float) -> None:
        """Count a batch that the worker did."""
        with self._lock:
            self._batches += 1
            self._batched += size
            self._busy_sec += sec

    def text(self) -> str:
        """Return all figures as Prometheus reads them."""
        with self._lock:
            lines = ["# TYPE speechlm_requests_total counter"]
            lines += [
                f'speechlm_requests_total{{path="{p}",status="{s}"}} {n}'
                for (p, s), n in sorted(self._requests.items())
            ]
            lines += ["# TYPE speechlm_request_seconds histogram", *self._histogram()]
            for name, value in (
                ("batches", self._batches),
                ("batched_requests", self._batched),
                ("busy_seconds", round(self._busy_sec, 3)),
            ):
                lines += [f"# TYPE speechlm_{name}_total counter", f"speechlm_{name}_total {value}"]
            lines += ["# TYPE speechlm_active_requests gauge", f"speechlm_active_requests {self.active}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        bounds = [*map(str, BUCKETS_SEC), "+Inf"]
        total, lines = 0, []
        for bound, count in zip(bounds, self._took):
            total += count
            lines.append(f'speechlm_request_seconds_bucket{{le="{bound}"}} {total}')
        return [*lines, f"speechlm_request_seconds_sum {self._took_sec:.3f}", f"speechlm_request_seconds_count {total}"]
