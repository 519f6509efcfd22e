"""Fifty clients at once for a minute: nothing is lost, each gets what it alone would, the memory stays flat, a full
queue answers 429.

    OMP_NUM_THREADS=1 python -m tests.long.serve_load --model egs/mini_cvss/exp --audio A.wav --src es
    OMP_NUM_THREADS=1 python -m tests.long.serve_load                       # a tiny model

The server is `speechlm serve` in a process of its own, with two cores. A client that is told to come again (429) does
so after `Retry-After`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["good morning", "good evening", "the house is red", "my dog eats"]
PORT = 8765


class Load:
    """Clients that ask one after the other until `stop`; answers of the same request must be the same."""

    def __init__(self, url: str, audio: Path, lang: str):
        self.url, self.audio, self.lang = url, audio.read_bytes(), lang
        self.stop, self.lock, self.statuses, self.answers, self.took = (
            threading.Event(),
            threading.Lock(),
            Counter(),
            {},
            [],
        )

    def client(self, number: int) -> None:
        with httpx.Client(timeout=120) as http:
            while not self.stop.is_set():
                began = time.monotonic()
                key, answer = self.ask(http, number)
                with self.lock:
                    self.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        self.took.append(time.monotonic() - began)
                        self.answers.setdefault(key, Counter())[answer.content] += 1
                if answer.status_code == 429:
                    self.stop.wait(float(answer.headers["Retry-After"]))

    def ask(self, http: httpx.Client, number: int) -> tuple[object, httpx.Response]:
        if number % 2:
            text = TEXTS[number % len(TEXTS)]
            body = {"model": "speechlm", "input": text, "response_format": "wav"}
            return text, http.post(f"{self.url}/v1/audio/speech", json=body)
        form = {"model": "speechlm", "language": self.lang}
        return "audio", http.post(
            f"{self.url}/v1/audio/transcriptions", data=form, files={"file": ("a.wav", self.audio)}
        )


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def start_server(model: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "speechlm",
        "serve",
        "--model",
        model,
        "--port",
        str(PORT),
        "--max_active",
        "40",
        "--device",
        "cpu",
    ]
    server = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for _ in range(240):
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}/health").status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--src", default="es")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--sec", type=float, default=60)
    args = parser.parse_args()
    if not args.model:
        sys.path.insert(0, str(ROOT / "tests/api"))
        from experiment import make_experiment

        folder = Path(tempfile.mkdtemp())
        args.model, args.audio = str(make_experiment(folder)), folder / "a.wav"
    server = start_server(args.model)
    try:
        measure(args, server.pid)
    finally:
        server.terminate()
        server.wait(60)


def measure(args: argparse.Namespace, pid: int) -> None:
    load = Load(f"http://127.0.0.1:{PORT}", args.audio, args.src)
    threads = [threading.Thread(target=load.client, args=[number]) for number in range(args.clients)]
    for thread in threads:
        thread.start()
    memory = []
    for _ in range(10):
        time.sleep(args.sec / 10)
        memory.append(round(resident_mb(pid)))
    load.stop.set()
    for thread in threads:
        thread.join()
    took = sorted(load.took)
    print(
        f"answers {dict(load.statuses)}, {load.statuses[200] / args.sec:.1f} a second; median"
        f" {took[len(took) // 2]:.2f} s, most {took[-1]:.2f} s"
    )
    print(f"memory of the server in MB: {memory}")
    print(
        "\n".join(
            line for line in httpx.get(f"{load.url}/metrics").text.splitlines() if "batch" in line and line[0] != "#"
        )
    )
    assert set(load.statuses) <= {200, 429} and load.statuses[429], load.statuses
    assert all(len(found) == 1 for found in load.answers.values()), "one request had several answers"
    assert memory[-1] < 1.05 * memory[2], "memory grew"


if __name__ == "__main__":
    main()
