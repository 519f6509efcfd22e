"""A server in this process, at a free port of 127.0.0.1."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import uvicorn

from speechlm.server.app import Limits, make_app


@contextmanager
def serving(lm, key=None, hosts=None, **limits):
    """Serve `lm` as the model `tiny`; yield (url, app)."""
    with running(make_app(lm, "tiny", Limits(**limits), key, hosts)) as server:
        yield server


@contextmanager
def running(app):
    """Run an application; yield its url and port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port, app=app)
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
