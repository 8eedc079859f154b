"""The client's end of a connection, without the connection: who waits for which reply, and the events in between.

Requests go in and bytes come out; bytes come in, and replies find the request they belong to by its id, in whatever
order they come. A reply that nobody waits for is dropped.

A client may be interrupted by a signal handler between any two steps of Python: Ctrl-C raises KeyboardInterrupt
wherever the main thread is. So nothing here is kept twice that must agree, and each change of state is one step that
may be done again. What was sent is counted and what was received is kept by lists, :attr:`Session.sent` and
:attr:`Session.incoming`, to which a transport appends within the very C call that sends or receives. At worst an event
is seen twice, which XenStore allows.
"""

from __future__ import annotations

import errno
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..errors import ProtocolError, XenStoreError, error_from_wire
from ..records import WatchEvent
from .requests import Request
from .wire import PAYLOAD_MAX, MessageType, Packet, PacketReader, check_payload_size, encode_packet

__all__ = ["Pending", "Session"]

T = TypeVar("T")

_BYTE_ORDER = sys.byteorder
_ERROR = int(MessageType.ERROR)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)
_WATCH_REPLIES = (int(MessageType.WATCH), int(MessageType.UNWATCH))


class Pending(Generic[T]):
    """A request on its way. `done` says that its reply, or an error, is there; `wake`, if set, is called then."""

    __slots__ = ("_error", "_payload", "_type", "abandoned", "done", "req_id", "request", "wake")

    def __init__(self, request: Request[T], req_id: int) -> None:
        self.request = request
        self.req_id = req_id
        self.done = False
        self.abandoned = False  # nobody waits any more
        self.wake: Callable[[], object] | None = None
        self._type = -1
        self._payload = b""
        self._error: XenStoreError | None = None

    def is_done(self) -> bool:
        """The attribute `done`, for one who wants a function."""
        return self.done

    def result(self) -> T:
        """What the reply says, decoded, or the error that it is; only once it is `done`."""
        request = self.request
        if self._error is not None:
            raise self._error
        if self._type == request.type:
            return request.decode(self._payload)
        path = None if request.path is None else request.path.decode("utf-8", "surrogateescape")
        if self._type == _ERROR:
            name = self._payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
            message = f"the daemon knows no {request.type.name}" if name == "ENOSYS" else None
            raise error_from_wire(name, path, message)
        raise ProtocolError(
            errno.EPROTO, f"a reply of type {self._type} came to a request of type {request.type}", path
        )

    def resolve(self, type: int, payload: bytes) -> None:
        """Take the reply."""
        self._type = type
        self._payload = payload
        self._finish()

    def fail(self, error: XenStoreError) -> None:
        """Take an error that came instead of a reply."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self.done = True
        wake = self.wake
        if wake is not None:
            wake()


class Session:
    """The state of one connection. Its methods are for one thread at a time."""

    def __init__(self, payload_max: int = PAYLOAD_MAX) -> None:
        """`payload_max`: the longest payload of a request that the connection carries, in bytes."""
        self._reader = PacketReader()
        self.incoming = self._reader.incoming  # what came in and is not processed; a transport may append to it itself
        self.events: deque[WatchEvent] = deque()
        self.sent: list[int] = [0]  # how many bytes were sent, ever, in pieces
        self._outgoing: deque[tuple[int, bytes]] = deque()  # each with its place in the stream of all bytes sent
        self._pending: dict[int, Pending[Any]] = {}
        self._last_id = 0
        self._payload_max = payload_max

    def send(self, request: Request[T], tx_id: int = 0) -> Pending[T]:
        """Put a request among the :meth:`data_to_send`; raises TooBigError instead, if it is too long."""
        payload = request.payload()
        check_payload_size(len(payload), self._payload_max)
        req_id = self._next_id()
        pending = Pending(request, req_id)
        self._pending[req_id] = pending
        self._put(encode_packet(request.type, req_id, tx_id, payload))
        return pending

    def abandon(self, pending: Pending[Any]) -> None:
        """Nobody waits for this reply any more. It is dropped when it comes, and what the request set up is undone."""
        pending.abandoned = True

    def data_to_send(self) -> bytes | memoryview | None:
        """The next bytes to send, or None. How many of them were sent is appended to :attr:`sent`."""
        sent = self.sent
        if len(sent) > 1:
            sent[:] = [sum(sent)]
        total = sent[0]
        outgoing = self._outgoing
        while outgoing:
            place, data = outgoing[0]
            if total < place + len(data):
                return data if total == place else memoryview(data)[total - place :]
            outgoing.popleft()
        return None

    def receive_data(self, data: bytes) -> None:
        """Take bytes that came in, and what they complete; raises ProtocolError as :meth:`process` does."""
        self._reader.receive_data(data)
        self.process()

    def process(self) -> None:
        """Hand on every packet that is whole: replies to their requests, events to :attr:`events`.

        Raises :class:`~xsffi.errors.ProtocolError` where the stream is no stream of packets; it cannot go on then.
        """
        reader = self._reader
        while True:
            packet = reader.peek()
            if packet is None:
                return
            self._accept(packet)
            reader.consume(packet)

    def fail(self, error: Callable[[], XenStoreError]) -> None:
        """The connection is over: every request that waits gets an error of its own."""
        while self._pending:
            req_id = next(iter(self._pending))
            self._pending[req_id].fail(error())
            self._pending.pop(req_id, None)

    def refuse(self, error: XenStoreError) -> None:
        """The next request to send was not taken, and will not be: it gets an error, and the one behind it is next."""
        place, data = self._outgoing[0]
        pending = self._pending.get(int.from_bytes(data[4:8], _BYTE_ORDER))
        self.sent.append(place + len(data) - sum(self.sent))
        if pending is not None:
            pending.fail(error)
            self._pending.pop(pending.req_id, None)

    def _accept(self, packet: Packet) -> None:
        # By type first: older kernels leave the other fields of an event's header unset.
        if packet.type == _WATCH_EVENT:
            self.events.append(_event(packet.payload))
            return
        pending = self._pending.get(packet.req_id)
        if pending is None:
            # Older kernels answer WATCH and UNWATCH, which they serve themselves, with a req_id of 0.
            if packet.req_id != 0 or packet.type not in _WATCH_REPLIES:
                return
            pending = next((p for p in self._pending.values() if p.request.type == packet.type), None)
            if pending is None:
                return
        if pending.abandoned:
            self._undo(pending, packet)
        pending.resolve(packet.type, packet.payload)
        self._pending.pop(pending.req_id, None)

    def _undo(self, pending: Pending[Any], packet: Packet) -> None:
        if packet.type == pending.request.type:
            undo = pending.request.undo(pending.request.decode(packet.payload))
            if undo is not None:
                self.abandon(self.send(*undo))

    def _put(self, data: bytes) -> None:
        outgoing = self._outgoing
        if outgoing:
            place, last = outgoing[-1]
            outgoing.append((place + len(last), data))
        else:
            outgoing.append((sum(self.sent), data))

    def _next_id(self) -> int:
        req_id = self._last_id
        while True:
            req_id = (req_id + 1) & 0xFFFFFFFF
            if req_id and req_id not in self._pending:  # 0 is what events have
                self._last_id = req_id
                return req_id


def _event(payload: bytes) -> WatchEvent:
    path, _, rest = payload.decode("utf-8", "surrogateescape").partition("\0")
    return WatchEvent(path, rest.partition("\0")[0])
