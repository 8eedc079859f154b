"""The table: each operation in xsffi's forms, compared with others that do the same."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from daemons import Daemon, Packages

import xsffi
from xsffi import Client, Node, Permission
from xsffi.backends.wire.several import CONNECTIONS_DEFAULT
from xsffi.protocol.requests import Directory, GetPermissions, Read, Request, SetPermissions, Write
from xsffi.protocol.wire import encode_packet

from .measure import C_LIBRARY, C_PIPELINED, C_SINGLE, OLD, ONE_WATCH, PYXS, XENSTORE_LS, compare, timed
from .peers import clients, lowlevel, processor_time, pyxs_client

__all__ = ["Ceiling", "Row", "all_rows"]

NODE = "/local/domain/5/name"
SINGLES = 500  # requests per turn; with ten times the rounds, since a round trip is short and noise lasts long
MANY = 10_000
TREE = 20_000
EVENTS = 1000  # oxenstored stops serving a connection with more than some 1,100 unread events
OWNER = (Permission(0, "n"),)
WINDOW = 64  # requests


class Row(NamedTuple):
    """A line of the table."""

    work: str
    against: str
    rate: float  # operations per second
    their_rate: float
    ratio: float
    cpu: float  # seconds of this process's processor time per operation
    daemon: float  # seconds of the daemon's processor time per operation: a lower bound for any client


class Ceiling:
    """The C program ceiling.c, which does nothing besides the requests."""

    def __init__(self, program: Path, daemon: Daemon, packages: Packages) -> None:
        self._program = program
        self._daemon = daemon
        self._packages = packages
        self._files = 0

    def libxenstore(self, path: str, count: int) -> Callable[[], float]:
        """`count` calls of xs_read."""
        return program(
            "env",
            f"LD_LIBRARY_PATH={self._packages.library_path}",
            self._program,
            "libxenstore",
            self._packages.libxenstore,
            path,
            count,
            operations=count,
        )

    def pipelined(self, requests: Sequence[Request[Any]], operations: int) -> Callable[[], float]:
        """All requests, pipelined over as many connections as our client opens."""
        return self._contender("several", requests, operations, WINDOW, CONNECTIONS_DEFAULT)

    def in_a_transaction(self, requests: Sequence[Request[Any]], operations: int) -> Callable[[], float]:
        """All requests in a transaction, pipelined."""
        return self._contender("transaction", requests, operations, WINDOW)

    def one_by_one(self, request: Request[Any], count: int) -> Callable[[], float]:
        """One request `count` times, each after the reply to the previous one."""
        return self._contender("single", [request], count, count)

    def _contender(
        self, mode: str, requests: Sequence[Request[Any]], operations: int, *numbers: int
    ) -> Callable[[], float]:
        self._files += 1
        messages = self._daemon.directory / f"messages-{self._files}"
        messages.write_bytes(
            b"".join(
                encode_packet(request.type, req_id, 0, request.payload()) for req_id, request in enumerate(requests, 1)
            )
        )
        return program(self._program, mode, self._daemon.socket_path, messages, *numbers, operations=operations)


def all_rows(daemon: Daemon, packages: Packages, compiled: Path, rounds: int) -> list[Row]:
    """Every row, on one daemon; `compiled` is the program of ceiling.c."""
    old = lowlevel(packages)
    ceiling = Ceiling(compiled, daemon, packages)
    with clients(daemon) as forms:
        forms["wire"].write(NODE, "0123456789")
        rows = _reads(forms, old, daemon, ceiling, rounds)
        rows += _many(forms, old, daemon, ceiling, rounds)
        rows += _transactions(forms, old, daemon, ceiling, rounds)
        rows += _trees(forms, daemon, ceiling, max(3, rounds // 3))
        rows += _events(forms, old, daemon, rounds)
    return rows


def _rows(
    work: dict[str, str], contenders: dict[str, Callable[[], float]], rounds: int, daemon: Daemon, *against: str
) -> list[Row]:
    results = compare(contenders, rounds)
    rows = []
    for name, text in work.items():
        cpu, daemons = _processor_times(contenders[name], daemon)
        for other in against:
            if other in results and other != name:
                rows.append(
                    Row(
                        text,
                        other,
                        results[name].rate,
                        results[other].rate,
                        results[name].ratio_to(results[other]),
                        cpu,
                        daemons,
                    )
                )
    return rows


def _processor_times(contender: Callable[[], float], daemon: Daemon) -> tuple[float, float]:
    """Processor time per operation, of this process and of the daemon: medians of a few turns."""
    ours, theirs = [], []
    for _ in range(5):
        cpu, daemons, wall = time.process_time(), processor_time(daemon), time.perf_counter()
        each = contender()
        share = each / (time.perf_counter() - wall)
        ours.append((time.process_time() - cpu) * share)
        theirs.append((processor_time(daemon) - daemons) * share)
    return statistics.median(ours), statistics.median(theirs)


def program(*arguments: object, operations: int) -> Callable[[], float]:
    """A contender that is a program which prints how many seconds it took."""

    def contender() -> float:
        told = subprocess.check_output([str(argument) for argument in arguments])
        return float(told.split()[0]) / operations

    return contender


def _repeat(work: Callable[[], object], count: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(count):
            work()

    return repeated


def _reads(forms: dict[str, Client], old: Any, daemon: Daemon, ceiling: Ceiling, rounds: int) -> list[Row]:
    contenders = {
        name: timed(_repeat(lambda client=client: client.read(NODE), SINGLES), SINGLES)  # type: ignore[misc]
        for name, client in forms.items()
    }
    contenders[C_LIBRARY] = ceiling.libxenstore(NODE, SINGLES)
    contenders[C_SINGLE] = ceiling.one_by_one(Read(NODE.encode()), SINGLES)
    if old is not None:
        contenders[OLD] = timed(_repeat(lambda: old.read("", NODE), SINGLES), SINGLES)
    pyxs = pyxs_client(daemon)
    if pyxs is not None:
        contenders[PYXS] = timed(_repeat(lambda: pyxs.read(NODE.encode()), SINGLES), SINGLES)
    try:
        work = {name: f"read, {name}" for name in (*forms, C_LIBRARY, C_SINGLE)}
        return _rows(work, contenders, 10 * rounds, daemon, OLD, PYXS, C_LIBRARY, C_SINGLE)
    finally:
        if pyxs is not None:
            pyxs.close()


def _many(forms: dict[str, Client], old: Any, daemon: Daemon, ceiling: Ceiling, rounds: int) -> list[Row]:
    paths = [NODE] * MANY
    contenders = {
        name: timed(lambda client=client: client.read_many(paths), MANY)  # type: ignore[misc]
        for name, client in forms.items()
    }
    contenders[C_PIPELINED] = ceiling.pipelined([Read(NODE.encode())] * MANY, MANY)
    if old is not None:
        contenders[OLD] = timed(_repeat(lambda: old.read("", NODE), SINGLES), SINGLES)
    work = {name: f"read_many of {MANY:,}, {name}" for name in (*forms, C_PIPELINED)}
    return _rows(work, contenders, rounds, daemon, OLD, C_PIPELINED)


def _transactions(forms: dict[str, Client], old: Any, daemon: Daemon, ceiling: Ceiling, rounds: int) -> list[Row]:
    top = "/local/domain/5/device"
    paths = [f"{top}/vif/{number // 10}/key-{number % 10}" for number in range(100)]
    permissions = [Permission(5, "n"), Permission(0, "r")]
    old_permissions = [{"dom": 5}, {"dom": 0, "read": True}]

    def build(client: Client) -> None:
        with client.pipeline(transaction=True) as p:
            for path in paths:
                p.write(path, "value")
                p.set_permissions(path, permissions)

    def build_old() -> None:
        transaction = old.transaction_start()
        for path in paths:
            old.write(transaction, path, "value")
            old.set_permissions(transaction, path, old_permissions)
        assert old.transaction_end(transaction)

    contenders = {
        name: timed(lambda client=client: build(client), 1)  # type: ignore[misc]
        for name, client in forms.items()
    }
    if old is not None:
        contenders[OLD] = timed(build_old, 1)
    requests = [request for path in paths for request in _written(path.encode(), permissions)]
    contenders[C_PIPELINED] = ceiling.in_a_transaction(requests, 1)
    work = {name: f"100 writes with permissions in a transaction, {name}" for name in (*forms, C_PIPELINED)}
    rows = _rows(work, contenders, rounds, daemon, OLD, C_PIPELINED)
    forms["wire"].rm(top)
    return rows


def _written(path: bytes, permissions: list[Permission]) -> tuple[Request[Any], ...]:
    return Write(path, b"value"), SetPermissions(path, permissions)


def _trees(forms: dict[str, Client], daemon: Daemon, ceiling: Ceiling, rounds: int) -> list[Row]:
    top = "/tree"
    leaves = [Node(f"{top}/{number // 100}/{number % 100}", b"value", (), OWNER) for number in range(TREE)]
    forms["wire"].load(leaves)
    nodes = forms["wire"].dump(top)
    count = len(nodes)

    def listed() -> None:
        assert daemon.tool("xenstore-ls", "-fp", top, timeout=600).stdout.count("\n") == count - 1

    contenders = {
        name: timed(lambda client=client: client.dump(top), count)  # type: ignore[misc]
        for name, client in forms.items()
        if name != "libxenstore"  # uses the same connection as the wire
    }
    contenders[XENSTORE_LS] = timed(listed, count)
    paths = [node.path.encode() for node in nodes]
    contenders[C_PIPELINED] = ceiling.pipelined(
        [q(path) for path in paths for q in (Read, Directory, GetPermissions)], count
    )
    work = {name: f"dump of {TREE:,} nodes, {name}" for name in contenders if name != XENSTORE_LS}
    rows = _rows(work, contenders, rounds, daemon, XENSTORE_LS, C_PIPELINED)
    forms["wire"].rm(top)
    return rows


# Writes so many nodes, pipelined, for each line of input.
_WRITER = """
import sys, xsffi
with xsffi.Client(sys.argv[1], backend="wire") as xs:
    for line in sys.stdin:
        with xs.pipeline() as p:
            for number in range(int(line)):
                p.write(f"{sys.argv[2]}/{number}", "")
"""


def _events(forms: dict[str, Client], old: Any, daemon: Daemon, rounds: int) -> list[Row]:
    """From the first write, by another process, to the last callback: includes the daemon's work and the transport."""
    top = "/events"
    rows = []
    forms["wire"].mkdir(top)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, daemon.socket_path, top], stdin=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    commands = writer.stdin

    def fire() -> None:
        commands.write(f"{EVENTS}\n")
        commands.flush()

    def called_back(client: Client) -> Callable[[], float]:
        def contender() -> float:
            seen = 0

            def count(event: xsffi.WatchEvent) -> None:
                nonlocal seen
                seen += 1
                if seen == EVENTS:
                    client.stop()

            with client.watch(top, callback=count):
                client.read_watch()  # the immediate one
                begin = time.perf_counter()
                fire()
                client.run(timeout=60)
                assert seen >= EVENTS, f"{seen} events of {EVENTS} came"
                return (time.perf_counter() - begin) / EVENTS

        return contender

    def read_old() -> float:
        old.watch(top, "token")
        old.read_watch()
        begin = time.perf_counter()
        fire()
        for _ in range(EVENTS):
            old.read_watch()
        each = (time.perf_counter() - begin) / EVENTS
        old.unwatch(top, "token")
        return each

    try:
        contenders = {name: called_back(client) for name, client in forms.items()}
        if old is not None:
            contenders[OLD] = read_old
        rows += _rows({name: f"events to a callback, {name}" for name in forms}, contenders, 5 * rounds, daemon, OLD)
        for name, client in forms.items():
            with xsffi.Client(daemon.socket_path, backend=client.backend.name) as crowded:
                for number in range(MANY):
                    crowded.watch(f"/elsewhere/{number}")
                    if number % 500 == 0:
                        list(crowded.events(timeout=0))
                list(crowded.events(timeout=0.1))
                pair = {"crowd": called_back(crowded), ONE_WATCH: called_back(client)}
                # The daemon searches all watches at each write: both sides wait for that.
                rows += _rows({"crowd": f"events with {MANY:,} watches set, {name}"}, pair, rounds, daemon, ONE_WATCH)
    finally:
        commands.close()
        writer.wait()
    forms["wire"].rm(top)
    return rows
