"""Clients of a scripted daemon: requests over a connection, or a client that makes many requests at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.peer import Link, MessageType, Peer, value_of

from xsffi import Client
from xsffi.backends.wire.native import Connection
from xsffi.errors import WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xsffi.protocol.session import Reply

__all__ = ["PATHS", "SHORT", "VALUES", "Counting", "client_at", "paths", "patiently", "read", "values"]

M = MessageType
SHORT = 0.1  # seconds: the timeout of a request that is not answered
PATHS = [f"/{number}" for number in range(3000)]
VALUES = [value_of(path.encode()) for path in PATHS]


def read(connection: Connection, path: str) -> Reply:
    return connection.carry(M.READ, path.encode() + b"\0")


def paths(count: int) -> list[tuple[int, bytes]]:
    """READ requests for nodes with numbers."""
    return [(M.READ, b"/%d\0" % number) for number in range(count)]


def values(count: int) -> list[bytes]:
    return [value_of(b"/%d" % number) for number in range(count)]


def patiently(call: Callable[[], Reply]) -> Reply:
    """The reply, even on a slow machine."""
    for _ in range(600):
        try:
            return call()
        except WaitTimeoutError:
            pass
    pytest.fail("no reply ever comes")


@contextmanager
def client_at(peer: Peer, **options: Any) -> Iterator[Client]:
    options = {"connections": 4, **options}
    with Client(peer.path, backend="wire", **options) as client:
        yield client


class Counting:
    """A daemon that answers, and counts its connections and requests."""

    def __init__(self) -> None:
        self.requests: dict[Link, int] = {}
        self.asked: set[bytes] = set()  # the payloads

    def __call__(self, link: Link) -> None:
        self.requests[link] = 0
        while True:
            request = link.request()
            self.requests[link] += 1
            self.asked.add(request.payload)
            link.reply(request)
