"""The speed of the embedded store, compared with C xenstored in the same run; and how it depends on its size.

    python benchmarks/embedded.py [--rounds N]

Prints ratios, each the median of several rounds in which both sides take turns: on a machine with other load, only
ratios are meaningful. C xenstored is left out if ci/fetch-xen has not unpacked it.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from daemons import load_packages, start_xenstored  # noqa: E402

from xsffi.protocol.wire import MessageType, encode_packet  # noqa: E402
from xsffi.server.connection import Connection  # noqa: E402
from xsffi.server.store import Store  # noqa: E402

READS = 20_000
PIPELINE = 512
WRITES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how many times each thing is measured")
    rounds = parser.parse_args().rounds
    reads(rounds)
    size_of_the_tree(rounds)
    watches_elsewhere(rounds)


# Reads, pipelined, over a socket from another process.


def reads(rounds: int) -> None:
    """Requests and answers per second, with 512 requests in flight."""
    path = b"/local/domain/1/device/vif/0/state\0"
    batch = encode_packet(MessageType.READ, 1, 0, path) * PIPELINE
    with embedded() as place, socket_to(place) as ours:
        write_over(ours, path, b"0123456789")
        if load_packages() is None:
            rates = [read_rate(ours, batch) for _ in range(rounds)]
            print(f"pipelined reads: {statistics.median(rates):,.0f} a second; C xenstored is not here to compare")
            return
        with start_xenstored() as daemon, socket_to(daemon.socket_path) as theirs:
            write_over(theirs, path, b"0123456789")
            pairs = [(read_rate(ours, batch), read_rate(theirs, batch)) for _ in range(rounds)]
    ratio = statistics.median(our / their for our, their in pairs)
    our, their = (statistics.median(column) for column in zip(*pairs))
    print(f"pipelined reads: {ratio:.2f} of C xenstored's rate ({our:,.0f} and {their:,.0f} a second)")


def read_rate(connection: socket.socket, batch: bytes) -> float:
    """One batch is always in flight while the next is prepared, so that the server never waits."""
    answer = 16 + 10
    batches = READS // PIPELINE
    begin = time.perf_counter()
    connection.sendall(batch)
    for _ in range(batches - 1):
        connection.sendall(batch)
        receive(connection, answer * PIPELINE)
    receive(connection, answer * PIPELINE)
    return batches * PIPELINE / (time.perf_counter() - begin)


def receive(connection: socket.socket, size: int) -> None:
    while size:
        size -= len(connection.recv(min(size, 1 << 20)))


def write_over(connection: socket.socket, path: bytes, value: bytes) -> None:
    connection.sendall(encode_packet(MessageType.WRITE, 1, 0, path + value))
    receive(connection, 16 + 3)


@contextmanager
def embedded() -> Iterator[str]:
    """An embedded store in a process of its own; returns its path."""
    with tempfile.TemporaryDirectory(prefix="xs-") as folder:
        place = os.path.join(folder, "socket")
        ready, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "xsffi.server", place, "--ready-fd", str(writing)], cwd=ROOT, pass_fds=[writing]
        )
        os.close(writing)
        os.read(ready, 1)
        os.close(ready)
        try:
            yield place
        finally:
            process.terminate()
            process.wait()


@contextmanager
def socket_to(place: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        yield connection


# The cost of size, without a socket, whose cost would hide it.


def size_of_the_tree(rounds: int) -> None:
    """A write in a large tree compared with one in a small tree, for both typical shapes."""
    for shape, fill in (("flat", flat), ("as a host has it", host)):
        small, large = prepared(fill(100)), prepared(fill(100_000))
        for what, request in (("a write", write), ("a new node", create)):
            report(f"{what} among 100 000 nodes, {shape}", "among 100", request(large), request(small), rounds)


def watches_elsewhere(rounds: int) -> None:
    """A write with 10 000 watches set on other nodes compared with one without any."""
    none, many = prepared(host(1000)), prepared(host(1000))
    watcher = Connection(many[0])
    for number in range(10_000):
        token = b"%d\0" % number
        payload = b"/local/domain/%d/device/vif/%d\0" % (number % 97 + 1, number + 1) + token
        watcher.receive_data(encode_packet(MessageType.WATCH, 1, 0, payload))
        watcher.data_sent(len(watcher.data_to_send()))
    report("a write with 10 000 watches elsewhere", "with none", write(many), write(none), rounds)


def prepared(paths: Iterator[bytes]) -> tuple[Store, Connection]:
    store = Store()
    connection = Connection(store)
    for path in paths:
        send(connection, path + b"\0value")
    send(connection, b"/local/domain/1/device/vif/0/state\0" + b"0")
    return store, connection


def flat(count: int) -> Iterator[bytes]:
    """Siblings of the node that is written."""
    for number in range(count):
        yield b"/local/domain/1/device/vif/0/node-%d" % number


def host(count: int) -> Iterator[bytes]:
    """The nodes of domains, 50 each."""
    for number in range(count):
        yield b"/local/domain/%d/device/vbd/%d/node-%d" % (number // 50 + 1, number // 10 % 5, number % 10)


def send(connection: Connection, payload: bytes) -> None:
    connection.receive_data(encode_packet(MessageType.WRITE, 1, 0, payload))
    connection.data_sent(len(connection.data_to_send()))


def write(prepared: tuple[Store, Connection]) -> Callable[[], None]:
    connection = prepared[1]

    def work() -> None:
        for number in range(WRITES):
            send(connection, b"/local/domain/1/device/vif/0/state\0%d" % number)

    return work


def create(prepared: tuple[Store, Connection]) -> Callable[[], None]:
    connection = prepared[1]
    path = b"/local/domain/1/device/vif/0/new\0"

    def work() -> None:
        for _ in range(WRITES // 2):
            send(connection, path)
            connection.receive_data(encode_packet(MessageType.RM, 1, 0, path))
            connection.data_sent(len(connection.data_to_send()))

    return work


def report(what: str, against: str, one: Callable[[], None], other: Callable[[], None], rounds: int) -> None:
    one()
    other()
    pairs = [(timed(one), timed(other)) for _ in range(rounds * 3)]
    ratio = statistics.median(a / b for a, b in pairs)
    first, second = (statistics.median(column) / WRITES * 1e6 for column in zip(*pairs))
    print(f"{what}: {ratio:.2f} times one {against} ({first:.1f} and {second:.1f} µs)")


def timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
