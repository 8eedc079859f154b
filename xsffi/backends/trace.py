"""A backend that tells of each request and reply: in the log ``xsffi`` at DEBUG or, with ``XSFFI_TRACE=1`` in the
environment, on stderr.

Whether there is one is decided as a client is opened, so that it costs nothing where nobody looks. Values are never
shown, since they may be secrets; only how long they are.
"""

from __future__ import annotations

import errno
import sys
from time import perf_counter

from .. import log
from ..errors import XenStoreError
from ..paths import encode
from ..protocol.lookups import Nodes
from ..protocol.requests import Read, Write
from ..records import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..protocol.requests import Request
    from ..records import WatchEvent
    from ..static_types import T
    from .base import Backend, Events, Outcome

    Tell = Callable[[str], object]

__all__ = ["TracedBackend", "to_log", "to_stderr"]

_TEXT_MAX = 60  # characters of an answer that is text


def to_stderr(text: str) -> None:
    """Write a line there, in one piece; where stderr is closed, nowhere."""
    try:
        sys.stderr.write(f"xsffi: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        pass  # it is closed, or this is a signal handler that came in the middle of the same: the program goes on


def to_log(text: str) -> None:
    """Say it in the log."""
    log.debug("%s", text)


class TracedBackend:
    """Another backend, of whose requests and events each is told (see :class:`~xsffi.backends.base.Backend`)."""

    def __init__(self, backend: Backend, tell: Tell) -> None:
        """`tell` is called with a line of text for each; it must not raise."""
        self.name = backend.name
        self.kind = backend.kind
        self.description = backend.description
        self._backend = backend
        self._tell = tell

    def read(self, path: str) -> bytes:
        request = Read(encode(path))
        return self._told(request, 0, lambda: self._backend.read(path))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        return self._told(request, tx_id, lambda: self._backend.call(request, tx_id))

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        begin = perf_counter()
        try:
            outcomes = self._backend.call_many(requests, tx_id)
        except BaseException as error:
            self._tell(f"{len(requests)} requests at once: {_outcome_text(error)}, {_time_text(begin)}")
            raise
        took = f"{_time_text(begin)} with all {len(requests)} at once"
        if isinstance(requests, Nodes):
            for path, outcome in zip(requests.paths, outcomes):
                self._tell(f"READ, DIRECTORY and GET_PERMS {path}: {_node_text(outcome)}, {took}")
        else:
            for request, outcome in zip(requests, outcomes):
                self._tell(f"{_request_text(request, tx_id)}: {_outcome_text(outcome)}, {took}")
        return outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self._tell(f"{_request_text(request, tx_id)}: to be taken back")
        self._backend.post(request, tx_id)

    def events(self, prefix: str = "") -> Events:
        return TracedEvents(self._backend.events(prefix), self._tell)

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
            self._tell(f"{_request_text(request, tx_id)}: {_outcome_text(error)}, {_time_text(begin)}")
            raise
        self._tell(f"{_request_text(request, tx_id)}: {_outcome_text(result)}, {_time_text(begin)}")
        return result


class TracedEvents:
    """A queue of events, of which each is told that is taken (see :class:`~xsffi.backends.base.Events`)."""

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
            self._tell(f"event at {event.path} of the watch {event.token}")
        return event


def _request_text(request: Request[Any], tx_id: int) -> str:
    what = request.path
    if what is None:  # the numbers of domains, or what the daemon is to do
        what = request.payload().rstrip(b"\0").replace(b"\0", b" ")[:_TEXT_MAX]
    size = f" ({_size_text(request.value)})" if isinstance(request, Write) else ""
    within = f" in transaction {tx_id}" if tx_id else ""
    return f"{request.type.name} {what.decode('utf-8', 'backslashreplace')}".rstrip() + size + within


def _size_text(value: bytes) -> str:
    return "1 byte" if len(value) == 1 else f"{len(value)} bytes"


def _outcome_text(outcome: object) -> str:
    if isinstance(outcome, XenStoreError):
        return errno.errorcode.get(outcome.errno or 0, str(outcome.errno))
    if isinstance(outcome, BaseException):
        return f"ended by {type(outcome).__name__}"
    if outcome is None:
        return "done"
    if isinstance(outcome, bytes):
        return _size_text(outcome)
    if isinstance(outcome, (list, tuple)):
        return f"a list of {len(outcome)}"
    return repr(outcome)[:_TEXT_MAX]


def _node_text(outcome: Any) -> str:
    # A plain tuple has the errors that there were.
    return ", ".join([_outcome_text(each) for each in (outcome[1:] if isinstance(outcome, Node) else outcome)])


def _time_text(begin: float) -> str:
    return f"{(perf_counter() - begin) * 1e6:.0f} µs"
