"""The embedded store without sockets: a backend whose requests are answered within the call that sends them."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from xsffi.addresses import Kind
from xsffi.errors import ConnectionLostError, XenStoreError, closed_error
from xsffi.paths import encode
from xsffi.protocol.lookups import Lookups
from xsffi.protocol.requests import Read, Request
from xsffi.protocol.session import EventQueue, Session, reply_of
from xsffi.records import WatchEvent
from xsffi.server.connection import Connection
from xsffi.server.store import Store

__all__ = ["DisturbedBackend", "InProcessBackend", "nothing_is_left", "outcomes"]

T = TypeVar("T")


def outcomes(call: Callable[[Request[Any]], Any], requests: Sequence[Request[Any]]) -> list[Any]:
    """The outcomes of requests that are carried out one by one: the reply, or the error."""
    found: list[Any] = []
    for request in requests:
        try:
            found.append(call(request))
        except XenStoreError as error:
            found.append(error)
    return requests.combine(found) if isinstance(requests, Lookups) else found


class InProcessBackend:
    """A connection of dom0 to a store in this process."""

    name = "in process"
    kind = Kind.SOCKET
    path = "/of/a/test"
    description = "of a test"

    def __init__(self, store: Store) -> None:
        self.session = Session()
        self._connection = Connection(store)
        self._closed = False

    def read(self, path: str) -> bytes:
        return self.call(Read(encode(path)))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if self._closed:
            raise closed_error()
        exchange = self.session.send([(request.type, request.payload())], tx_id)
        while (data := self.session.data_to_send()) is not None:
            self._connection.receive_data(bytes(data))
            self.session.data_sent(len(data))
        self.receive()
        return reply_of(request, exchange.replies[0])

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Any]:
        return outcomes(lambda request: self.call(request, tx_id), requests)

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        outcomes(lambda each: self.call(each, tx_id), [request])

    def bulk(self) -> InProcessBackend:
        return self

    def events(self, prefix: str = "", limit: int = 0) -> InProcessEvents:
        return InProcessEvents(self, self.session.queues.open(prefix, limit))

    def close(self) -> None:
        self._closed = True
        self._connection.close()

    def receive(self) -> None:
        """Take in the data that the store has to send."""
        while data := self._connection.data_to_send():
            self._connection.data_sent(len(data))
            self.session.receive_data(data)


class InProcessEvents:
    """A queue of events of an :class:`InProcessBackend`. Nothing ever waits: all events have already arrived."""

    def __init__(self, backend: InProcessBackend, queue: EventQueue) -> None:
        self._backend = backend
        self._queue = queue
        self.new_token = queue.new_token

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        self._backend.receive()
        events = self._queue.events
        return events.popleft() if events else None

    def put_back(self, event: WatchEvent) -> None:
        self._queue.events.appendleft(event)

    def drop(self, token: bytes) -> None:
        kept = [event for event in self._queue.events if event.token != token.decode("ascii")]
        self._queue.events.clear()
        self._queue.events.extend(kept)

    def wake(self) -> None:
        pass

    def fileno(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self._backend.session.queues.close(self._queue)


class DisturbedBackend(InProcessBackend):
    """Calls hooks before and after each single request, and can fail bulk requests as if the connection were lost."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.is_lost = False

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Any]:
        if self.is_lost:
            raise ConnectionLostError(errno.ECONNRESET, "lost")
        return super().call_many(requests, tx_id)

    def call(self, request: Request[Any], tx_id: int = 0) -> Any:
        self.before()
        reply = super().call(request, tx_id)
        self.after()
        return reply


def nothing_is_left(store: Store, backend: InProcessBackend) -> bool:
    """Whether neither the daemon nor the client holds a watch or a queue."""
    return store.dom0.watches == 0 and list(backend.session.queues) == []
