"""A pool of processes that is this process: fast, and what is patched here holds."""

from concurrent.futures import Future


class InProcess:
    """Takes the place of ProcessPoolExecutor."""

    def __init__(self, nj, context, initializer, initargs):
        initializer(*initargs)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def shutdown(self):
        return None

    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future
