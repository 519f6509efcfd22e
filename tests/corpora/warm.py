"""A Python that has imported everything: a recipe runs a dozen commands, and importing torch and ESPnet takes longer
than their work.

`warm_python()` returns a program for --python. It hands its arguments, folder, environment and standard streams to a
server, which forks a process to run them; it ends with that process's status. The commands and what they do are the
same.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    f"speechlm.{name}"
    for name in """espnet.training espnet.preflight model.decoding bin.train bin.decode bin.ceiling bin.extract_codes
    bin.text_tokenizer bin.manifest bin.results""".split()
]
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect({address!r})
    socket.send_fds(link, [b"."], [0, 1, 2])
    link.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    link.shutdown(socket.SHUT_WR)
    sys.exit(int(link.recv(16) or 1))
"""


@cache
def warm_python(root: Path = ROOT) -> Path:
    """Start the server for the code of a folder, once in a test process; it ends with the test process. Return the
    program.
    """
    folder = tempfile.TemporaryDirectory(prefix="warm_")
    atexit.register(folder.cleanup)
    program, address = Path(folder.name) / "python", f"{folder.name}/door"
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    command = [sys.executable, "-X", "utf8", "-u", __file__, address]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
    )
    atexit.register(server.kill)
    assert server.stdout.readline() == b"ready\n"
    return program


def serve(address: str) -> None:
    """Fork a process for each command, until the test process has ended."""
    for name in MODULES:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            link, _ = door.accept()
            if not os.fork():
                door.close()
                status = run(link)
                link.sendall(str(status).encode())
                os._exit(status)
            link.close()


def run(link: socket.socket) -> int:
    """Run one command as Python would, `-m module ...`, `script.py ...` or `- ...`; return its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    arguments, folder, environment = json.loads(b"".join(iter(lambda: link.recv(1 << 16), b"")))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    try:
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        elif sys.argv[0] == "-":
            exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})  # noqa: S102
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
