"""A backend without a daemon: it records the requests, and replies as the test says."""

from __future__ import annotations

import errno
import itertools
import os
import select
from collections import defaultdict, deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Callable, TypeVar

import pytest

import xsffi.sync.client
from harness.inprocess import outcomes
from xsffi import Client
from xsffi.addresses import Kind
from xsffi.errors import ClientClosedError
from xsffi.paths import encode
from xsffi.protocol.requests import Read, Request, TransactionStart, Unwatch, Watch
from xsffi.records import WatchEvent

__all__ = ["PATIENCE", "Answer", "FakeBackend", "FakeEvents", "make_client"]

T = TypeVar("T")

PATIENCE = 10.0  # seconds to wait, on a machine under load, for what should happen at once

# Takes a request and its tx_id; returns the decoded reply, or an exception to be raised.
Answer = Callable[[Request[Any], int], Any]


class FakeBackend:
    """A backend whose replies come from a function, and whose events come from the test.

    Transactions are numbered from 1, unless the function answers TransactionStart itself.
    """

    name = "fake"
    kind = Kind.SOCKET
    path = "/of/a/test"
    description = "of a test"

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.calls: list[tuple[Request[Any], int]] = []
        self.waits: list[float | None] = []  # the timeouts of the waits for events
        self.arrivals: deque[tuple[float, WatchEvent]] = deque()  # future events, each after so many seconds
        self.wait: Callable[[float], object] | None = None  # called instead of letting real time pass
        self.queues: dict[str, FakeEvents] = {}  # those opened, by prefix
        self.closed = False
        self._transactions = 0
        self._tokens = itertools.count(1)
        self._arrived: dict[str, deque[WatchEvent]] = defaultdict(deque)
        self._read_end, self._write_end = os.pipe()  # readable when a wait should check again
        os.set_blocking(self._read_end, False)

    @property
    def requests(self) -> list[Request[Any]]:
        """The requests made so far."""
        return [request for request, _ in self.calls]

    @property
    def last_token(self) -> str:
        """The token, as sent to the daemon, of the watch in the last request."""
        request = self.requests[-1]
        assert isinstance(request, Watch)
        return request.token.decode("ascii")

    def check_queues_closed(self) -> None:
        """Fails where a queue of events is left open, or there was none."""
        assert {queue.closed for queue in self.queues.values()} == {True}

    def check_taken_back(self) -> None:
        """Fails where anything but one watch was asked for, or that was not taken back with its queue."""
        watch, unwatch = self.requests
        assert isinstance(watch, Watch)
        assert unwatch == Unwatch(watch.path, watch.token)
        self.check_queues_closed()

    def read(self, path: str) -> bytes:
        return self.call(Read(encode(path)))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        self.check()
        self.calls.append((request, tx_id))
        outcome: Any = self.answer(request, tx_id) if self.answer is not None else None
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is None and isinstance(request, TransactionStart):
            self._transactions += 1
            outcome = self._transactions
        reply: T = outcome
        return reply

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Any]:
        return outcomes(lambda request: self.call(request, tx_id), requests)

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self.calls.append((request, tx_id))

    def bulk(self) -> FakeBackend:
        return self

    def put_event(self, path: str, token: str) -> None:
        """Deliver an event, with its token as the daemon sends it."""
        prefix, colon, _ = token.rpartition(":")
        self._arrived[prefix + colon].append(WatchEvent(path, token))
        self.ring()

    def events(self, prefix: str = "", limit: int = 0) -> FakeEvents:
        self.check()
        if prefix in self.queues and not self.queues[prefix].closed:
            raise ValueError(f"another open queue has this prefix: {prefix!r}")
        self.queues[prefix] = queue = FakeEvents(self, prefix, self._arrived[prefix])
        return queue

    def new_token(self, prefix: str) -> bytes:
        return b"%s%x" % (prefix.encode(), next(self._tokens))

    def check(self) -> None:
        if self.closed:
            raise ClientClosedError(errno.EBADF, "the client is closed")

    def ring(self) -> None:
        """Wake up a wait, so that it checks again."""
        os.write(self._write_end, b".")

    def rest(self, timeout: float | None) -> bool:
        """Wait until woken up; returns False on timeout."""
        if not select.select([self._read_end], [], [], PATIENCE if timeout is None else min(timeout, PATIENCE))[0]:
            assert timeout is not None, "this would wait for ever"
            return False
        os.read(self._read_end, 1000)
        return True

    def fileno(self) -> int:
        return self._read_end

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.ring()

    def __enter__(self) -> FakeBackend:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


class FakeEvents:
    """A queue of a :class:`FakeBackend`."""

    def __init__(self, backend: FakeBackend, prefix: str, events: deque[WatchEvent]) -> None:
        self.closed = False
        self._backend = backend
        self._prefix = prefix
        self._events = events
        self._woken = False

    def new_token(self) -> bytes:
        return self._backend.new_token(self._prefix)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        backend = self._backend
        backend.check()
        backend.waits.append(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        while not self._events:
            backend.check()
            if self._woken:
                self._woken = False
                return None
            if backend.arrivals:
                delay, event = backend.arrivals[0]
                if timeout is None or delay <= timeout:
                    backend.arrivals.popleft()
                    self._pass(delay)
                    return event
                backend.arrivals[0] = (delay - timeout, event)
            if backend.wait is not None:
                assert timeout is not None, "this would wait for ever"
                self._pass(timeout)
                return None
            if not backend.rest(None if deadline is None else max(0.0, deadline - monotonic())):
                return None
        # No call follows the removal of the event, so an interruption cannot lose it.
        event = self._events[0]
        del self._events[0]
        return event

    def put_back(self, event: WatchEvent) -> None:
        self._events.appendleft(event)
        self._backend.ring()

    def drop(self, token: bytes) -> None:
        kept = [event for event in self._events if event.token != token.decode("ascii")]
        self._events.clear()
        self._events.extend(kept)

    def wake(self) -> None:
        self._woken = True
        if not self._backend.closed:
            self._backend.ring()

    def fileno(self) -> int:
        return self._backend.fileno()

    def close(self) -> None:
        self.closed = True
        self._events.clear()

    def _pass(self, seconds: float) -> None:
        if self._backend.wait is not None:
            self._backend.wait(seconds)


def make_client(backend: Any) -> Client:
    """A client that uses this backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xsffi.sync.client, "open_backend", lambda *arguments: backend)
        return Client()
