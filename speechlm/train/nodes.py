"""Several launchers, one on each machine, that train together: which one this is, how far all ranks are, and why it ended.

Node 0 listens. The others connect to it, and about once a second each sends how far its ranks are, and gets an answer. Node 0 decides
when a rank hangs. A launcher that has ended is noticed by its connection. Messages are JSON objects, one a line.
"""

import argparse
import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass

SILENT_SEC = 30.0  # without a word from a launcher, which speaks every second: its machine or its network is gone
GRACE_SEC = 5.0  # for the others to end by themselves, and to say why, when one has ended
JOIN_SEC = 1.0  # between tries to reach node 0
STARTED, JOINED, MODEL_READY, DATA_READY = range(-4, 0)  # progress before the first step; steps count from 0
AGAIN = "All processes were ended; the same command goes on from the last checkpoint."


@dataclass(frozen=True)
class Place:
    """This launcher is number `node` of `nodes`; node 0 listens at `addr`:`port`."""

    nodes: int = 1
    node: int = 0
    addr: str = "localhost"
    port: int = 0


@dataclass
class Row:
    """A rank: its progress, the seconds until it is due again, its limit, and whether it is stopped (or waits for a device)."""

    progress: int
    left_sec: float
    limit_sec: float
    stopped: bool = False


@dataclass
class End:
    """Why a training ends; of several reasons the smallest `order` explains the others."""

    order: int
    reason: str
    status: int = 1
    hang: bool = False


LOST, INTERRUPTED, TOLD, UNKNOWN = range(4)  # orders: killed, gone or hanging; by a signal to end; with a message; with a status


# ---------------------------------------------------------------- which one is this?


def find_place(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Place:
    """Return this launcher's place from --nodes and its companions, or from the srun that started it; ValueError if something lacks."""
    nodes, node, addr, port = args.nodes, args.node_rank, args.master_addr, args.master_port
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    if node is None and tasks > 1:
        if nodes not in (1, tasks):
            raise ValueError(f"--nodes {nodes}, but srun started {tasks} tasks. Expected one task on each machine: srun --ntasks {nodes}")
        job = int(environ["SLURM_JOB_ID"]) * 31 + int(environ["SLURM_STEP_ID"])
        nodes, node = tasks, int(environ["SLURM_PROCID"])
        addr, port = addr or environ.get("MASTER_ADDR") or first_host(environ["SLURM_STEP_NODELIST"]), port or 20000 + job % 10000
    if nodes == 1:
        return Place()
    given = {"--node_rank": node, "--master_addr": addr, "--master_port": port}
    if missing := [name for name, value in given.items() if value is None]:
        raise ValueError(
            f"--nodes {nodes} without {', '.join(missing)}. Give the same command on every machine, with --master_addr (the name of the "
            "first one), --master_port (a free port there) and --node_rank 0, 1, ...; under srun, none of them is needed (of a recipe: "
            f"SPEECHLM_CMD=slurm ./run.sh --nodes {nodes})."
        )
    if not 0 <= node < nodes:
        raise ValueError(f"--node_rank {node}: expected 0 to {nodes - 1}, for --nodes {nodes}")
    return Place(nodes, node, addr, port)


def first_host(nodelist: str) -> str:
    """Return the first name of Slurm's short form: "gpu[03-07,9],login" is gpu03."""
    prefix, numbers, suffix = re.match(r"([^\[,]+)(?:\[([^\]]+)\])?([^,]*)", nodelist).groups()
    return prefix + (re.split("[-,]", numbers)[0] + suffix if numbers else "")


# ---------------------------------------------------------------- one connection


class _Line:
    """JSON objects over a socket."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(SILENT_SEC)
        self._socket, self._rest, self.heard, self.closed = connection, b"", time.monotonic(), False

    def send(self, message: dict) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.closed = True

    def receive(self) -> list[dict]:
        """Return what has come, without waiting; `closed` if the other side has ended, or talks of something else."""
        try:
            while select.select([self._socket], [], [], 0)[0]:
                if not (data := self._socket.recv(1 << 16)):
                    self.closed = True
                    break
                self._rest += data
        except OSError:
            self.closed = True  # what came before counts
        *lines, self._rest = self._rest.split(b"\n")
        try:
            messages = [dict(json.loads(line)) for line in lines]
        except (ValueError, TypeError):
            self.closed, messages = True, []
        if messages:
            self.heard = time.monotonic()
        return messages

    def lost(self) -> str:
        """Return in what way the other side is gone; "" if it is not."""
        if self.closed:
            return "has ended: its launcher was killed, or failed before its processes started"
        silent_sec = time.monotonic() - self.heard
        return f"was not heard of for {silent_sec:.0f} s: its machine or the network is gone" if silent_sec > SILENT_SEC else ""

    def drain(self) -> None:
        """Send no more, and wait for the other side to end: what was sent last is lost if a socket closes with something unread."""
        until = time.monotonic() + GRACE_SEC
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while select.select([self._socket], [], [], max(0.0, until - time.monotonic()))[0] and self._socket.recv(1 << 16):
                pass
        except OSError:
            self.closed = True

    def close(self) -> None:
        self._socket.close()


# ---------------------------------------------------------------- all of them


class Nodes:
    """All launchers, as this one sees them. `same` are settings that must be alike everywhere, `processes` those of each node."""

    def __init__(self, place: Place, processes: int, same: dict, start_sec: float):
        self.place, self.processes, self._same, self._start_sec = place, processes, same, start_sec
        self.world, self.first_rank = place.nodes * processes, place.node * processes
        self._peers: dict[int, _Line] = {}  # of node 0: the others by number; of another: node 0
        self._newcomers: list[_Line] = []
        self._hosts, self._done = {place.node: socket.gethostname()}, set()
        self._rows: dict[int, list[tuple[Row, float]]] = {}  # of node 0: of each node, with the moment of the report
        self.port, self._end = 0, None  # the port of torch's own rendezvous; the first reason to end
        self._server = self._listen() if place.nodes > 1 and place.node == 0 else None
        if place.node == 0:
            self.port = _free_port()
        else:
            self._join()

    def _listen(self) -> socket.socket:
        try:
            return socket.create_server(("", self.place.port), backlog=self.place.nodes)
        except OSError as error:
            raise ValueError(f"--master_port {self.place.port}: {error.strerror}. Give another one, the same on all machines.") from None

    def _join(self) -> None:
        """Connect to node 0, say who this is, and wait until it starts."""
        until, where = time.monotonic() + (self._start_sec or float("inf")), (self.place.addr, self.place.port)
        while time.monotonic() < until:
            try:
                line = _Line(socket.create_connection(where, timeout=JOIN_SEC))
            except OSError:
                time.sleep(JOIN_SEC)
                continue
            line.send({"node": self.place.node, "host": socket.gethostname(), "same": self._same, "processes": self.processes})
            while time.monotonic() < until and not line.closed:
                for message in line.receive():
                    if "end" in message:
                        raise ValueError(End(**message["end"]).reason)
                    self.port, self._peers, self._hosts[0] = message["port"], {0: line}, message["host"]
                    return
                time.sleep(0.1)
        raise ValueError(
            f"node {self.place.node} of {self.place.nodes}: node 0 did not start at {where[0]}:{where[1]} within {self._start_sec:.0f} s "
            "(--start_sec). Expected the same command there with --node_rank 0, and a port that is open between the machines."
        )

    def close(self) -> None:
        """Close the connections: in a process that is no launcher, and at the end."""
        for line in [*self._peers.values(), *self._newcomers, *([self._server] if self._server else [])]:
            line.close()

    def exchange(self, rows: list[Row]) -> End | None:
        """Tell the others how far the ranks of this node are, and hear how far theirs; return why all must end, if they must."""
        if self.place.node:
            self._peers[0].send({"rows": [astuple(row) for row in rows]})
            self._listen_to_first()
        else:
            self._rows[0] = [(row, time.monotonic()) for row in rows]
            self._accept()
            self._hear()
            self._agree(self._overdue())
            self._answer({})
        return self._end

    def settle(self, end: End) -> End:
        """Tell all that this node ends, give them a moment to say why they do, and return the reason that explains the others."""
        until = time.monotonic() + GRACE_SEC
        if self.place.node:
            self._peers[0].send({"end": asdict(end)})
            while time.monotonic() < until + GRACE_SEC and self._end is None:
                self._listen_to_first()
                time.sleep(0.1)
            return self._end or end
        self._agree(end)
        while time.monotonic() < until and self._end.order == UNKNOWN and self._peers:
            self._hear()
            time.sleep(0.1)
        self._answer({"end": asdict(self._end)})
        for line in self._peers.values():
            line.drain()
        return self._end

    def finish(self) -> End | None:
        """The ranks of this node have ended well: wait until all have (node 0), or say so; return why it fails after all."""
        if self.place.node:
            self._peers[0].send({"done": True})
            self._peers[0].drain()
            return None
        while self._end is None and len(self._done) < self.place.nodes - 1:
            self._hear()
            self._answer({})
            time.sleep(0.1)
        return self.settle(self._end) if self._end else None

    def _agree(self, end: End | None) -> None:
        """Of node 0: note a reason to end, if it explains the one there is."""
        if end and (self._end is None or end.order < self._end.order):
            self._end = end

    def _accept(self) -> None:
        """Let other nodes in, once they have said who they are."""
        while self._server and select.select([self._server], [], [], 0)[0]:
            self._newcomers.append(_Line(self._server.accept()[0]))
        for line in self._newcomers.copy():
            for message in line.receive()[:1]:
                self._newcomers.remove(line)
                if [type(message.get(key)) for key in ("node", "host", "same", "processes")] == [int, str, dict, int]:
                    self._admit(message["node"], message, line)

    def _admit(self, node: int, message: dict, line: _Line) -> None:
        mine, theirs = {**self._same, "processes": self.processes}, {**message["same"], "processes": message["processes"]}
        different = [
            f"{key} ({mine.get(key)}, {theirs.get(key)})" for key in sorted(mine.keys() | theirs) if mine.get(key) != theirs.get(key)
        ]
        advice = "Give the same command on every machine, apart from --node_rank"
        if node not in range(1, self.place.nodes) or node in self._peers:
            wrong = End(TOLD, f"node {node} of {self.place.nodes} is there already, or does not exist. {advice}.")
            line.send({"end": asdict(wrong)})
        elif different:
            wrong = End(TOLD, f"node {node} ({message['host']}) has other options than node 0: {', '.join(different)}. {advice}.")
            line.send({"end": asdict(wrong)})
            self._agree(wrong)
        else:
            self._peers[node], self._hosts[node] = line, message["host"]
            line.send({"port": self.port, "host": self._hosts[0]})

    def _hear(self) -> None:
        """Of node 0: take in the reports, and notice who is gone."""
        for node, line in self._peers.items():
            for message in line.receive():
                if "end" in message:
                    self._agree(End(**message["end"]))
                elif message.get("done"):
                    self._done.add(node)
                else:
                    self._rows[node] = [(Row(*values), time.monotonic()) for values in message["rows"]]
            if node not in self._done and (how := line.lost()):
                self._agree(End(LOST, f"{self._name(node)} {how}. {AGAIN}"))

    def _answer(self, message: dict) -> None:
        for line in self._peers.values():
            line.send(message)

    def _listen_to_first(self) -> None:
        line = self._peers[0]
        for message in line.receive():
            if "end" in message:
                self._end = End(**message["end"])
        if self._end is None and (how := line.lost()):
            self._end = End(LOST, f"{self._name(0)} {how}. {AGAIN}")

    def _name(self, node: int) -> str:
        return f"node {node} ({self._hosts[node]})"

    def _overdue(self) -> End | None:
        """Of node 0: name the ranks that are stopped or behind, if every rank is overdue (the others only wait for them)."""
        now = time.monotonic()
        rows = {node * self.processes + i: pair for node, pairs in self._rows.items() for i, pair in enumerate(pairs)}
        if any(row.left_sec > now - at for row, at in rows.values()):
            return None
        if absent := [node for node in range(1, self.place.nodes) if node not in self._peers]:
            return End(
                LOST, f"node {' and '.join(map(str, absent))} of {self.place.nodes} did not join within {self._start_sec:.0f} s (--start_sec). "
                f"Expected the same command there with --node_rank {absent[0]}, and port {self.place.port} open between the machines.",
            )  # fmt: skip
        least = min(row.progress for row, _ in rows.values())
        named = [r for r, (row, _) in rows.items() if row.stopped] or [r for r, (row, _) in rows.items() if row.progress == least]
        row, _ = rows[named[0]]
        option = "--hang_sec" if row.progress >= 0 else "--start_sec, for what comes before the first step"
        where = f", on {self._name(named[0] // self.processes)}," if self.place.nodes > 1 else ""
        return End(
            LOST, f"rank {' and '.join(map(str, named))} of {self.world}{where} made no progress for {row.limit_sec:.0f} s ({option}); where each "
            f"rank was stands above. {AGAIN}", hang=True,
        )  # fmt: skip


def ending(exitcode: int) -> str:
    """Say how a process ended."""
    return f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with status {exitcode} (its error stands above)"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]
