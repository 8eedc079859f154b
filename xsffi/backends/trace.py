"""A backend that traces each request and reply: to the log ``xsffi`` at DEBUG or, with ``XSFFI_TRACE=1`` in the
environment, to stderr.

Tracing is decided when a client is opened, so it costs nothing when off. Values are never shown, only their length:
they may be secrets.
"""

from __future__ import annotations

from time import perf_counter

from ..paths import encode
from ..protocol.requests import Read
from ..protocol.tracing import event_text, many_texts, posted_text, request_text, told_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..log import Tell
    from ..protocol.requests import Request
    from ..records import WatchEvent
    from ..static_types import T
    from .base import Backend, Events, Outcome

__all__ = ["TracedBackend"]


class TracedBackend:
    """Wraps a backend and traces its requests and events (see :class:`~xsffi.backends.base.Backend`)."""

    def __init__(self, backend: Backend, tell: Tell) -> None:
        """`tell` is called with a line of text for each; it must not raise."""
        self.name = backend.name
        self.kind = backend.kind
        self.path = backend.path
        self.description = backend.description
        self._backend = backend
        self._tell = tell

    def read(self, path: str) -> bytes:
        request = Read(encode(path))
        return self._told(request, 0, lambda: self._backend.read(path))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        return self._told(request, tx_id, lambda: self._backend.call(request, tx_id))

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Outcome]:
        begin = perf_counter()
        try:
            outcomes = self._backend.call_many(requests, tx_id, within)
        except BaseException as error:
            self._tell(told_text(f"{len(requests)} requests at once", error, perf_counter() - begin))
            raise
        for text in many_texts(requests, tx_id, outcomes, perf_counter() - begin):
            self._tell(text)
        return outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self._tell(posted_text(request, tx_id))
        self._backend.post(request, tx_id)

    def events(self, prefix: str = "", limit: int = 0) -> Events:
        return TracedEvents(self._backend.events(prefix, limit), self._tell)

    def bulk(self) -> Backend:
        bulk = self._backend.bulk()
        return self if bulk is self._backend else TracedBackend(bulk, self._tell)

    def close(self) -> None:
        self._backend.close()
        self._tell("closed")

    def _told(self, request: Request[Any], tx_id: int, carry: Callable[[], T]) -> T:
        begin = perf_counter()
        try:
            result = carry()
        except BaseException as error:
            self._tell(told_text(request_text(request, tx_id), error, perf_counter() - begin))
            raise
        self._tell(told_text(request_text(request, tx_id), result, perf_counter() - begin))
        return result


class TracedEvents:
    """Wraps a queue of events and traces each event that is taken (see :class:`~xsffi.backends.base.Events`)."""

    def __init__(self, events: Events, tell: Tell) -> None:
        self._events = events
        self._tell = tell
        self.new_token = events.new_token
        self.put_back = events.put_back
        self.drop = events.drop
        self.wake = events.wake
        self.fileno = events.fileno
        self.close = events.close

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        event = self._events.next_event(timeout)
        if event is not None:
            self._tell(event_text(event))
        return event
