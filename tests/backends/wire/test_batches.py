"""Many requests over one connection, or over several at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from harness.alarms import Interrupt, interrupted_after
from harness.peer import Link, MessageType, Packet, Peer, answer, value_of
from harness.threads import Call

from xsffi.backends.wire.batches import carry
from xsffi.backends.wire.native import Connection, open_connection
from xsffi.errors import ConnectionLostError, NodeNotFoundError, TooBigError, WaitTimeoutError
from xsffi.protocol.requests import Read, Request, TransactionStart, Write

from .asking import SHORT, read

M = MessageType
LIMIT = 4096


@pytest.fixture(autouse=True)
def _both(implementation: str) -> None:
    """Runs every test here with connections in C and in Python."""


@contextmanager
def connections_to(peer: Peer, count: int, timeout: float | None = 60) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        opened = [open_connection(peer.path, timeout).connection for _ in range(count)]
        for connection in opened:
            stack.callback(connection.close)
        yield opened


def reads(paths: range) -> list[Request[Any]]:
    return [Read(b"/%d" % number) for number in paths]


def values(paths: range) -> list[bytes]:
    return [value_of(b"/%d" % number) for number in paths]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_outcomes_are_in_order(count: int) -> None:
    """For parts of any length, and more or fewer parts than connections."""
    ends = [0, 1, 1, 301, 302, 1000, 1000, 1250]
    parts = [range(*pair) for pair in zip(ends, ends[1:])]
    with Peer(answer) as peer, connections_to(peer, count) as connections:
        assert carry(connections, [reads(part) for part in parts], LIMIT) == values(range(1250))
        assert carry(connections, [reads(range(3))], LIMIT) == values(range(3))
        assert carry(connections, [], LIMIT) == carry(connections, [[], []], LIMIT) == []


def test_each_connection_carries_every_so_many_part_in_order() -> None:
    came: dict[int, list[Packet]] = {}

    def keep(link: Link) -> None:
        packets = came.setdefault(len(came), [])
        while True:
            packets.append(link.request())
            link.reply(packets[-1])

    with Peer(keep) as peer, connections_to(peer, 2) as connections:
        for connection in connections:  # so that they are accepted in this order
            read(connection, "/first")
        carry(connections, [reads(range(start, start + 100)) for start in range(0, 500, 100)], LIMIT, 7)
    numbers = {place: [packet.payload for packet in packets[1:]] for place, packets in came.items()}
    of_first = [*range(100), *range(200, 300), *range(400, 500)]
    assert numbers == {
        0: [b"/%d\0" % number for number in of_first],
        1: [b"/%d\0" % number for number in (*range(100, 200), *range(300, 400))],
    }
    assert {packet.tx_id for packets in came.values() for packet in packets[1:]} == {7}


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_stands_in_its_place(count: int) -> None:
    def serve(link: Link) -> None:
        while True:
            request = link.request()
            if request.payload.endswith(b"5\0"):
                link.send(request._replace(type=M.ERROR, payload=b"ENOENT\0").encode())
            else:
                link.reply(request)

    with Peer(serve) as peer, connections_to(peer, count) as connections:
        outcomes = carry(connections, [reads(range(100)), reads(range(100, 200))], LIMIT)
    for number, outcome in enumerate(outcomes):
        if number % 10 == 5:
            assert isinstance(outcome, NodeNotFoundError)
            assert outcome.filename == f"/{number}"
        else:
            assert outcome == value_of(b"/%d" % number)


def test_what_is_too_long_is_not_sent() -> None:
    sizes: list[int] = []

    def serve(link: Link) -> None:
        while True:
            request = link.request()
            sizes.append(len(request.payload))
            link.reply(request)

    requests: list[Request[Any]] = [Write(b"/a", bytes(size - 3)) for size in (4096, 4097, 10, 5000, 10)]
    with Peer(serve) as peer, connections_to(peer, 1) as connections:
        outcomes = carry(connections, [requests], LIMIT)
        assert sizes == [4096, 10, 10]
        assert [type(outcome) for outcome in outcomes] == [type(None), TooBigError, type(None), TooBigError, type(None)]
        assert carry(connections, [requests[1:2] * 500], LIMIT)[499].filename == "/a"  # nothing is sent at all
        assert read(connections[0], "/a") == value_of(b"/a")


def test_so_many_are_on_their_way_at_a_time() -> None:
    """More than one batch, but not all requests, however long the daemon takes."""
    waits = threading.Event()

    def serve(link: Link) -> None:
        asked = link.requests(512)
        assert waits.wait(60)
        assert not link.has_more()
        for request in asked:
            link.reply(request)
        answer(link)

    with Peer(serve) as peer, connections_to(peer, 1) as connections:
        call = Call(partial(carry, connections, [reads(range(2000))], LIMIT)).until_asleep()
        waits.set()
        assert call.result() == values(range(2000))


def test_its_time_is_up() -> None:
    """A limit shorter than the connection's timeout; late replies are dropped."""
    resumed = threading.Event()

    def serve(link: Link) -> None:
        for _ in range(100):
            link.reply(link.request())
        assert resumed.wait(60)
        answer(link)

    with Peer(serve) as peer, connections_to(peer, 1, timeout=3600) as connections:
        with pytest.raises(WaitTimeoutError):
            carry(connections, [reads(range(1000))], LIMIT, within=SHORT)
        resumed.set()
        assert read(connections[0], "/after") == value_of(b"/after")


def silent_after(count: int, resumed: threading.Event, came: list[Packet]) -> Callable[[Link], None]:
    """A script that answers `count` requests, and the others once it is resumed."""

    def serve(link: Link) -> None:
        for number in itertools.count():
            if number == count:
                assert resumed.wait(60)
            came.append(link.request())
            link.reply(came[-1])

    return serve


@pytest.mark.usefixtures("alarms")
def test_an_interruption_has_all_of_it_forgotten() -> None:
    """On every connection; they stay usable, and a transaction that was being started is aborted."""
    resumed = threading.Event()
    came: list[Packet] = []
    requests = [*reads(range(150)), TransactionStart()]  # some are answered, and the last one is in flight
    with Peer(silent_after(100, resumed, came)) as peer, connections_to(peer, 2) as connections:
        with pytest.raises(Interrupt), interrupted_after(0.3):
            carry(connections, [requests] * 2, LIMIT)
        resumed.set()
        for connection in connections:
            for _ in range(2):  # once the first is answered, the transaction's id has arrived
                assert read(connection, "/after") == value_of(b"/after")
        assert sum(packet.type == M.TRANSACTION_START for packet in came) == 2
        assert [packet.payload for packet in came if packet.type == M.TRANSACTION_END] == [b"F\0"] * 2
        assert carry(connections, [reads(range(300))] * 2, LIMIT) == values(range(300)) * 2


def test_one_connection_is_lost() -> None:
    """The requests on the others are abandoned, and those connections stay usable."""
    resumed = threading.Event()
    came: list[Packet] = []

    def die(link: Link) -> None:
        link.request()
        link.hang_up()

    with Peer(silent_after(1, resumed, came), die) as peer, connections_to(peer, 2) as connections:
        assert read(connections[0], "/first") == value_of(b"/first")
        with pytest.raises(ConnectionLostError):
            carry(connections[::-1], [reads(range(300)), reads(range(300))], LIMIT)
        resumed.set()
        assert read(connections[0], "/after") == value_of(b"/after")
