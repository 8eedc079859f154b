"""The backend that speaks the protocol itself: what is asked of one connection, which threads share.

A request goes the short way where it meets nobody (:mod:`xsffi.backends.turns`), else among others
(:mod:`xsffi.backends.sharing`); many go together, some batches of them on their way at a time.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

from ..errors import ConnectionLostError, WaitTimeoutError, XenStoreError, error_from_errno
from ..paths import encode
from ..protocol.requests import Read, Request, Unwatch
from ..protocol.session import Batch, Pending, error_reply
from ..protocol.wire import check_payload_size
from ..records import WatchEvent
from .base import Outcome, tell_of_forks
from .sharing import SharedConnection
from .transports import Transport, open_transport
from .turns import Reply

__all__ = ["WireBackend", "open_further", "open_wire"]

T = TypeVar("T")

_BATCHES = 8  # how many batches are on their way at a time


class WireBackend:
    """One connection to the daemon's socket or the kernel's device (see :class:`~xsffi.backends.base.Backend`)."""

    name = "wire"

    def __init__(self, transport: Transport, timeout: float | None = None, path: str = "") -> None:
        """`transport`, which is connected to `path`, is the backend's from here on; `timeout`: how many seconds a reply
        may take (None: any time)."""
        self.kind = transport.kind
        self._path = path
        self._timeout = timeout
        self._payload_max = transport.payload_max
        self._shared = SharedConnection(transport)
        self._turns = self._shared.turns
        #: read() of the client starts with this (see :meth:`~xsffi.backends.base.Backend.finish_read`).
        self.try_read: Callable[[str], Any] = self._turns.read if timeout is None else _not_tried
        tell_of_forks(self)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        deadline = self._deadline()
        if request.leaves_something:
            return self._call_among_others(request, tx_id, deadline)
        payload = request.payload()
        check_payload_size(len(payload), request.path, self._payload_max)
        reply = self._turns.call(request.type, payload, tx_id, self._timeout)
        result = request.decode(reply) if type(reply) is bytes else self._finish(request, tx_id, reply, deadline)
        if isinstance(request, Unwatch):
            self._shared.drop_events(request.token.decode("utf-8", "surrogateescape"))
        return result

    def finish_read(self, path: str, tried: Any) -> bytes:
        request = Read(encode(path))
        if tried is None:
            return self.call(request)
        return self._finish(request, 0, tried, self._deadline())

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = []
        on_its_way: deque[Batch] = deque()
        start = 0
        try:
            while start < len(requests) or on_its_way:
                # While the daemon answers one batch, the next is encoded and sent, and the one before decoded.
                while start < len(requests) and len(on_its_way) < _BATCHES:
                    batch = self._shared.send_many(requests, start, tx_id)
                    on_its_way.append(batch)
                    start += len(batch.requests)
                outcomes += self._outcomes(on_its_way)
        finally:
            self._shared.forget(on_its_way)
        return outcomes

    def bulk(self) -> WireBackend:
        return self

    def sibling(self) -> WireBackend:
        self._shared.check()
        return open_further(self._path, self._timeout)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        return self._shared.next_event(timeout)

    def fileno(self) -> int:
        return self._shared.fileno()

    def close(self) -> None:
        self._shared.close()

    def after_fork_in_child(self) -> None:
        self._shared.after_fork_in_child()

    def _finish(self, request: Request[T], tx_id: int, reply: Reply, deadline: float | None) -> T:
        """Go on from what the short way came to, where that is not simply the reply."""
        if reply is None and not self._turns.spares:
            self._shared.add_spare()
            reply = self._turns.call(request.type, request.payload(), tx_id, self._timeout)
            if isinstance(reply, bytes):
                return request.decode(reply)
        if isinstance(reply, Pending):
            pending: Pending[T] = reply
            pending.request = request
            self._shared.add_spare()
            return self._await(pending, deadline)
        self._shared.hand_over()
        if not isinstance(reply, tuple):
            return self._call_among_others(request, tx_id, deadline)
        type, payload = reply
        if type == request.type:
            return request.decode(payload)
        raise error_reply(request, type, payload)

    def _call_among_others(self, request: Request[T], tx_id: int, deadline: float | None) -> T:
        """Send the request, and lead or follow until its reply is there."""
        return self._await(self._shared.send(request, tx_id), deadline)

    def _await(self, pending: Pending[T], deadline: float | None) -> T:
        try:
            if not self._shared.wait(pending.is_done, deadline, pending):
                raise self._timeout_error()
        except BaseException:
            self._shared.abandon(pending)
            raise
        return pending.result()

    def _outcomes(self, on_its_way: deque[Batch]) -> list[Outcome]:
        batch = on_its_way[0]
        if not self._shared.wait(batch.is_done, self._deadline(), batch):
            raise self._timeout_error()
        self._shared.forget([batch])
        on_its_way.popleft()
        return batch.outcomes()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else monotonic() + self._timeout

    def _timeout_error(self) -> WaitTimeoutError:
        return WaitTimeoutError(errno.ETIMEDOUT, f"no reply came for {self._timeout} seconds")


def _not_tried(path: str) -> None:
    """The short way to read, where a timeout is to be looked at."""


def open_wire(path: str, timeout: float | None = None) -> WireBackend:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where it
    fails."""
    return WireBackend(open_transport(path, timeout), timeout, path)


def open_further(path: str, timeout: float | None = None) -> WireBackend:
    """:func:`open_wire`, for one that is connected to the daemon there already: raises XenStoreError where it fails,
    ConnectionLostError where that daemon is gone."""
    try:
        return open_wire(path, timeout)
    except XenStoreError:
        raise
    except OSError as error:
        text = f"no further connection to the store can be opened: {error.strerror}"
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            raise ConnectionLostError(errno.ECONNRESET, text) from error
        if error.errno == errno.ETIMEDOUT:
            raise WaitTimeoutError(errno.ETIMEDOUT, text) from error
        raise error_from_errno(error.errno or errno.EIO, None, text) from error
