"""The backend that speaks the protocol itself: requests become messages, and replies what they say."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from ...addresses import Kind
from ...errors import ConnectionLostError, WaitTimeoutError, XenStoreError, error_from_errno
from ...paths import encode
from ...protocol.requests import Read, Request
from ...protocol.session import Message, reply_of
from ...protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, check_payload_size, too_big_error
from ..base import Events, Outcome, lost_error, tell_of_forks
from .native import Connection, open_connection
from .transports import peer_of

__all__ = ["WireBackend", "open_further", "open_wire"]

T = TypeVar("T")

# What makes a batch: so few that, where they are of the usual size, its replies fit into the buffer of a socket, about
# 130 of them. Where the daemon finds that full, while a longer batch is decoded, it stops working and waits.
_BATCH_REQUESTS = 64
_BATCH_BYTES = 65536
_BATCHES = 8  # how many are on their way at a time


class _Batch(NamedTuple):
    """Requests on their way."""

    requests: Sequence[Request[Any]]
    refused: dict[int, XenStoreError]  # by their place, those that were not sent
    exchange: Any  # of the others


class WireBackend:
    """One connection to the daemon's socket or the kernel's device (see :class:`~xsffi.backends.base.Backend`)."""

    name = "wire"

    def __init__(self, connection: Connection, kind: Kind) -> None:
        """`connection`, which is of this kind, is the backend's from here on."""
        self.kind = kind
        self._payload_max = PAYLOAD_MAX if kind is Kind.SOCKET else DEVICE_PAYLOAD_MAX
        self._connection = connection
        tell_of_forks(self)

    def read(self, path: str) -> bytes:
        reply = self._connection.read(path)
        if type(reply) is bytes:
            return reply
        request = Read(encode(path))
        return self.call(request) if reply is None else reply_of(request, reply)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        payload = request.payload()
        check_payload_size(len(payload), request.path, self._payload_max)
        return reply_of(request, self._connection.carry(request.type, payload, tx_id))

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = []
        on_their_way: deque[_Batch] = deque()
        start = 0
        try:
            while start < len(requests) or on_their_way:
                # While the daemon answers one batch, the next is encoded and sent, and the one before decoded.
                while start < len(requests) and len(on_their_way) < _BATCHES:
                    on_their_way.append(self._send_batch(requests, start, tx_id))
                    start += len(on_their_way[-1].requests)
                outcomes += self._outcomes(on_their_way[0])
                on_their_way.popleft()
        except BaseException:
            for batch in on_their_way:
                self._connection.forget(batch.exchange)
            raise
        return outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self._connection.post(request.type, request.payload(), tx_id)

    def events(self, prefix: str = "") -> Events:
        return self._connection.events(prefix)

    def bulk(self) -> WireBackend:
        return self

    def close(self) -> None:
        self._connection.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.backends.base.Forkable.after_fork_in_child`."""
        self._connection.after_fork_in_child()

    def _send_batch(self, requests: Sequence[Request[Any]], start: int, tx_id: int) -> _Batch:
        messages: list[Message] = []
        refused: dict[int, XenStoreError] = {}
        size = 0
        batch = requests[start : start + _BATCH_REQUESTS]
        for place, request in enumerate(batch):
            payload = request.payload()
            if len(payload) > self._payload_max:
                refused[place] = too_big_error(len(payload), request.path, self._payload_max)
            else:
                messages.append((request.type, payload))
                size += len(payload)
                if size > _BATCH_BYTES:
                    batch = batch[: place + 1]
                    break
        return _Batch(batch, refused, self._connection.send_many(messages, tx_id))

    def _outcomes(self, batch: _Batch) -> list[Outcome]:
        replies = iter(self._connection.replies(batch.exchange))
        outcomes: list[Outcome] = []
        for place, request in enumerate(batch.requests):
            if place in batch.refused:
                outcomes.append(batch.refused[place])
                continue
            try:
                outcomes.append(reply_of(request, next(replies)))
            except XenStoreError as error:
                outcomes.append(error)
        return outcomes


def open_wire(path: str, timeout: float | None = None) -> WireBackend:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where it
    fails. `timeout`: how many seconds a reply, and connecting, may take (None: any time)."""
    return WireBackend(*open_connection(path, timeout))


def open_further(path: str, timeout: float | None, peer: int, check: Callable[[], object]) -> WireBackend:
    """A further connection to the daemon at the socket `path`, whose process is `peer`.

    `check` raises what is to be raised once the first connection is over, or its daemon is gone. It is called before
    each try and once connected, so that another daemon, which has taken the place of the first, is never used. Raises
    XenStoreError where it fails: ConnectionLostError where that daemon is gone.
    """

    def accept(connection: socket.socket | None) -> None:
        check()
        if connection is not None and peer_of(connection) != peer:
            raise lost_error("another daemon has taken its place")

    try:
        return WireBackend(*open_connection(path, timeout, accept))
    except XenStoreError:
        raise
    except OSError as error:
        check()
        text = f"no further connection to the store can be opened: {error.strerror}"
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            raise ConnectionLostError(errno.ECONNRESET, text) from error
        if error.errno == errno.ETIMEDOUT:
            raise WaitTimeoutError(errno.ETIMEDOUT, text) from error
        raise error_from_errno(error.errno or errno.EIO, None, text) from error
