"""The embedded store without its sockets: a backend whose requests are answered in the call that sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from xsffi.addresses import Kind
from xsffi.errors import XenStoreError
from xsffi.paths import encode
from xsffi.protocol.requests import Read, Request
from xsffi.protocol.session import Session
from xsffi.records import WatchEvent
from xsffi.server.connection import Connection
from xsffi.server.store import Store

__all__ = ["InProcessBackend", "outcomes"]

T = TypeVar("T")


def outcomes(call: Callable[[Request[Any]], Any], requests: Sequence[Request[Any]]) -> list[Any]:
    """What requests come to that are carried one by one: an error stands in the place of its reply."""
    found: list[Any] = []
    for request in requests:
        try:
            found.append(call(request))
        except XenStoreError as error:
            found.append(error)
    return found


class InProcessBackend:
    """A connection of dom0 to a store in this process."""

    name = "in process"
    kind = Kind.SOCKET

    def __init__(self, store: Store) -> None:
        self._connection = Connection(store)
        self._session = Session()

    def try_read(self, path: str) -> Any:
        return None

    def finish_read(self, path: str, tried: Any) -> bytes:
        return self.call(Read(encode(path)))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        pending = self._session.send(request, tx_id)
        while (data := self._session.data_to_send()) is not None:
            self._connection.receive_data(bytes(data))
            self._session.sent.append(len(data))
        self._receive()
        return pending.result()

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Any]:
        return outcomes(lambda request: self.call(request, tx_id), requests)

    def bulk(self) -> InProcessBackend:
        return self

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        self._receive()
        events = self._session.events
        return events.popleft() if events else None

    def fileno(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        self._connection.close()

    def _receive(self) -> None:
        while data := self._connection.data_to_send():
            self._connection.data_sent(len(data))
            self._session.receive_data(data)
