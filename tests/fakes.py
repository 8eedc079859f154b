"""A backend without a daemon: it tells what reached it, and answers what the test says."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

import pytest
from inprocess import outcomes

import xsffi.client
from xsffi import Client
from xsffi.addresses import Kind
from xsffi.errors import ClientClosedError
from xsffi.paths import encode
from xsffi.protocol.requests import Read, Request, TransactionStart, Watch
from xsffi.records import WatchEvent

__all__ = ["Answer", "FakeBackend", "make_client"]

T = TypeVar("T")

# Given a request and its tx_id: the decoded reply, or an exception to be raised.
Answer = Callable[[Request[Any], int], Any]


class FakeBackend:
    """A backend that answers by a function, and has the events that the test puts into it.

    Transactions are numbered from 1 on, unless the function answers TransactionStart itself.
    """

    name = "fake"
    kind = Kind.SOCKET

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.calls: list[tuple[Request[Any], int]] = []
        self.waits: list[float | None] = []  # the timeouts with which events were asked for
        self.arrivals: deque[tuple[float, WatchEvent]] = deque()  # those to come, each after so many seconds
        self.wait: Callable[[float], object] | None = None  # how a wait for events passes the time
        self.closed = False
        self._transactions = 0
        self._events: deque[WatchEvent] = deque()
        self._read_end, self._write_end = os.pipe()  # readable while there are events, or once closed

    @property
    def requests(self) -> list[Request[Any]]:
        """What reached the backend."""
        return [request for request, _ in self.calls]

    @property
    def last_token(self) -> str:
        """The token, as the daemon has it, of the watch that was asked for last."""
        request = self.requests[-1]
        assert isinstance(request, Watch)
        return request.token.decode("ascii")

    def try_read(self, path: str) -> Any:
        return None  # it has no short way

    def finish_read(self, path: str, tried: Any) -> bytes:
        return self.call(Read(encode(path)))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if self.closed:
            raise ClientClosedError(errno.EBADF, "the client is closed")
        self.calls.append((request, tx_id))
        outcome: Any = self.answer(request, tx_id) if self.answer is not None else None
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is None and isinstance(request, TransactionStart):
            self._transactions += 1
            outcome = self._transactions
        reply: T = outcome
        return reply

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Any]:
        return outcomes(lambda request: self.call(request, tx_id), requests)

    def bulk(self) -> FakeBackend:
        return self

    def put_event(self, path: str, token: str) -> None:
        """An event comes in, its token as the daemon has it."""
        self._events.append(WatchEvent(path, token))
        os.write(self._write_end, b"e")

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        if self.closed:
            raise ClientClosedError(errno.EBADF, "the client is closed")
        self.waits.append(timeout)
        if not self._events and self.arrivals:
            delay, event = self.arrivals[0]
            if timeout is None or delay <= timeout:
                self.arrivals.popleft()
                self._pass(delay)
                return event
            self.arrivals[0] = (delay - timeout, event)
        if not self._events:
            assert timeout is not None, "this would wait for ever"
            self._pass(timeout)
            return None
        os.read(self._read_end, 1)
        return self._events.popleft()

    def fileno(self) -> int:
        return self._read_end

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.write(self._write_end, b"c")

    def __enter__(self) -> FakeBackend:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._read_end)
        os.close(self._write_end)

    def _pass(self, seconds: float) -> None:
        if self.wait is not None:
            self.wait(seconds)


def make_client(backend: Any) -> Client:
    """A client over this backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xsffi.client, "open_backend", lambda name, path, timeout: backend)
        return Client()
