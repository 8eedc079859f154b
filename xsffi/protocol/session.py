"""The client's end of a connection, without the connection: who waits for which reply, and the events in between.

Requests go in and bytes come out; bytes come in, and replies find the request they belong to by its id, in whatever
order they come. A reply that nobody waits for is dropped.

A client may be interrupted by a signal handler between any two steps of Python: Ctrl-C raises KeyboardInterrupt
wherever the main thread is. So nothing here is kept twice that must agree, and each change of state is one step that
may be done again. What was sent is counted and what was received is kept by lists, :attr:`Session.sent` and
:attr:`Session.incoming`, to which a transport appends within the very C call that sends or receives. At worst some
events are seen twice, which XenStore allows.
"""

from __future__ import annotations

import errno
import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, starmap
from typing import Any, Generic, TypeVar

from ..errors import ProtocolError, XenStoreError, error_from_wire
from ..records import WatchEvent
from .requests import Request
from .wire import (
    IN_PYTHON,
    PAYLOAD_MAX,
    MessageType,
    Packet,
    PacketReader,
    Splitters,
    check_payload_size,
    encode_packet,
    pack_header,
    parse_event,
    too_big_error,
)

__all__ = ["Batch", "Pending", "Session", "error_reply"]

T = TypeVar("T")

# What makes a batch: so few that, where they are of the usual size, its replies fit into the buffer of a socket, about
# 130 of them. Where the daemon finds that full, while a longer batch is decoded, it stops working and waits.
BATCH_REQUESTS = 64
BATCH_BYTES = 65536

_BYTE_ORDER = sys.byteorder
_ERROR = int(MessageType.ERROR)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)
_WATCH_REPLIES = (int(MessageType.WATCH), int(MessageType.UNWATCH))


class Pending(Generic[T]):
    """A request on its way. `done` says that its reply, or an error, is there; `wake`, if set, is called then."""

    __slots__ = ("_error", "_payload", "_type", "abandoned", "done", "req_id", "request", "wake")

    missing = 1  # how many replies it waits for

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
        if self._error is not None:
            raise self._error
        if self._type == self.request.type:
            return self.request.decode(self._payload)
        raise error_reply(self.request, self._type, self._payload)

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


class Batch:
    """Many requests on their way, with ids in a row. It is :meth:`done <is_done>` when every reply is there."""

    __slots__ = ("__weakref__", "_error", "end", "first", "missing", "replies", "requests", "wake")

    def __init__(self, requests: Sequence[Request[Any]], first: int) -> None:
        self.first = first
        self.end = first + len(requests)
        self.missing = len(requests)
        self.wake: Callable[[], object] | None = None
        self.requests = requests
        self.replies: list[tuple[int, bytes] | XenStoreError | None] = [None] * len(requests)  # type and payload
        self._error: XenStoreError | None = None

    def is_done(self) -> bool:
        """Whether nothing is missing any more."""
        return self.missing == 0

    def outcomes(self) -> list[Any]:
        """The decoded replies in the order of the requests, an error in its place; only once it is done."""
        if self._error is not None:
            raise self._error
        outcomes: list[Any] = []
        for request, reply in zip(self.requests, self.replies):
            if not isinstance(reply, tuple):
                outcomes.append(reply)
            elif reply[0] == request.type:
                try:
                    outcomes.append(request.decode(reply[1]))
                except ProtocolError as error:
                    outcomes.append(error)
            else:
                outcomes.append(error_reply(request, *reply))
        return outcomes

    def refuse(self, req_id: int, error: XenStoreError) -> None:
        """Take an error instead of sending the request."""
        self.replies[req_id - self.first] = error

    def count(self) -> None:
        """Count what is missing in :attr:`replies`: anew, since a count kept by steps could miss one that Ctrl-C
        interrupted."""
        self.missing = self.replies.count(None)
        if self.missing == 0 and self.wake is not None:
            self.wake()

    def fail(self, error: XenStoreError) -> None:
        """Take an error that came instead of the replies."""
        self._error = error
        self.missing = 0
        if self.wake is not None:
            self.wake()


class Session:
    """The state of one connection. Its methods are for one thread at a time."""

    def __init__(self, payload_max: int = PAYLOAD_MAX, joined: bool = True, splitters: Splitters = IN_PYTHON) -> None:
        """`payload_max`: the longest payload of a request that the connection carries, in bytes. `joined`: whether
        several messages may be sent as one piece; the kernel's device takes them one by one. `splitters`: for those
        that are as fast as C."""
        self._reader = PacketReader()
        self.incoming = self._reader.incoming  # what came in and is not processed; a transport may append to it itself
        self.events: deque[WatchEvent] = deque()
        self.sent: list[int] = [0]  # how many bytes were sent, ever, in pieces
        self.outgoing: deque[tuple[int, bytes]] = deque()  # what waits to be sent, each with its place in all that was
        self._pending: dict[int, Pending[Any]] = {}
        self._batch_refs: list[weakref.ref[Batch]] = []  # weak: Ctrl-C may end the wait before forget()
        self._joined = joined
        self._take_replies, self._take_events = splitters
        self._last_id = 0
        self._payload_max = payload_max

    def send(self, request: Request[T], tx_id: int = 0) -> Pending[T]:
        """Put a request among the :meth:`data_to_send`; raises TooBigError instead, if it is too long."""
        payload = request.payload()
        check_payload_size(len(payload), request.path, self._payload_max)
        req_id = self._next_id()
        pending = Pending(request, req_id)
        data = encode_packet(request.type, req_id, tx_id, payload)
        try:
            self._pending[req_id] = pending
            self._put(data)
            return pending
        except BaseException:
            pending.abandoned = True
            if not self.outgoing or self.outgoing[-1][1] is not data:
                self._pending.pop(req_id, None)  # it was not put there
            raise

    def _batches(self) -> list[Batch]:
        return [batch for ref in self._batch_refs if (batch := ref()) is not None]

    def expect(self, request: Request[T]) -> Pending[T]:
        """Wait for the reply to a request that somebody sends past this session, with the id of what this returns."""
        pending = Pending(request, self._next_id())
        self._pending[pending.req_id] = pending
        return pending

    def expect_no_more(self, pending: Pending[Any]) -> None:
        """Nobody waits for this reply, which sets up nothing; if it comes still, it is dropped."""
        self._pending.pop(pending.req_id, None)

    def send_many(self, requests: Sequence[Request[Any]], start: int = 0, tx_id: int = 0) -> Batch:
        """Put requests, from `start` on, among the :meth:`data_to_send`: as many as make a batch, and at least one.

        One that is too long is not sent: its error stands in the place of its reply.
        """
        first = self._next_ids(BATCH_REQUESTS)
        pieces: list[bytes] = []
        refused: list[tuple[int, XenStoreError]] = []
        size = 0
        req_id = first
        for request in islice(requests, start, start + BATCH_REQUESTS):
            payload = request.payload()
            length = len(payload)
            if length > self._payload_max:
                refused.append((req_id, too_big_error(length, request.path, self._payload_max)))
            else:
                # As encode_packet does, without calling it: this is done for each of many thousand.
                pieces.append(pack_header(request.type, req_id, tx_id, length) + payload)
            req_id += 1
            size += length
            if size > BATCH_BYTES:
                break
        batch = Batch(requests[start : start + req_id - first], first)
        for refused_id, error in refused:
            batch.refuse(refused_id, error)
        self._batch_refs = [ref for ref in self._batch_refs if ref() is not None]
        self._batch_refs.append(weakref.ref(batch))
        for piece in [b"".join(pieces)] if self._joined else pieces:
            self._put(piece)
        batch.count()
        return batch

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these replies any more, or they are all there."""
        self._batch_refs = [ref for ref in self._batch_refs if ref() not in (None, batch)]

    def abandon(self, pending: Pending[Any]) -> None:
        """Nobody waits for this reply any more. It is dropped when it comes, and what the request set up is undone."""
        pending.abandoned = True
        if pending.done:  # it was faster
            self._undo(pending)

    def data_to_send(self) -> bytes | memoryview | None:
        """The next bytes to send, or None. How many of them were sent is appended to :attr:`sent`."""
        sent = self.sent
        if len(sent) > 1:
            sent[:] = [sum(sent)]
        total = sent[0]
        outgoing = self.outgoing
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
        batches = self._batches()
        reader = self._reader
        while True:
            # At speed first: a piece holds many replies to batches, or events. A reply that is taken twice, after
            # Ctrl-C, is the same.
            for batch in batches:
                piece, offset = reader.first_piece()
                reader.consume_to(piece, self._take_replies(piece, offset, batch.first, batch.replies))
            piece, offset = reader.first_piece()
            events, offset = self._take_events(piece, offset)
            if events:
                self.events.extend(starmap(WatchEvent, events))
                reader.consume_to(piece, offset)
                continue
            packet = reader.peek()
            if packet is None:
                break
            self._accept(packet, batches)
            reader.consume(packet)
        for batch in batches:
            batch.count()

    def fail(self, error: Callable[[], XenStoreError]) -> None:
        """The connection is over: every request that waits gets an error of its own."""
        for batch in self._batches():
            batch.fail(error())
        for pending in list(self._pending.values()):
            if not pending.done:
                pending.fail(error())
            self._pending.pop(pending.req_id, None)

    def refuse(self, error: XenStoreError) -> None:
        """The next request to send was not taken, and will not be: it gets an error, and the one behind it is next."""
        place, data = self.outgoing[0]
        req_id = int.from_bytes(data[4:8], _BYTE_ORDER)
        pending = self._pending.get(req_id)
        if pending is not None:
            pending.fail(error)
            self._pending.pop(pending.req_id, None)
        else:
            for batch in self._batches():
                if batch.first <= req_id < batch.end:
                    batch.refuse(req_id, error)
                    batch.count()
        self.sent.append(place + len(data) - sum(self.sent))

    def _accept(self, packet: Packet, batches: list[Batch]) -> None:
        # By type first: older kernels leave the other fields of an event's header unset.
        if packet.type == _WATCH_EVENT:
            self.events.append(WatchEvent(*parse_event(packet.payload)))
            return
        pending = self._pending.get(packet.req_id)
        if pending is None:
            for batch in batches:
                if batch.first <= packet.req_id < batch.end:
                    batch.replies[packet.req_id - batch.first] = (packet.type, packet.payload)
                    return
            # Older kernels answer WATCH and UNWATCH, which they serve themselves, with a req_id of 0.
            if packet.req_id != 0 or packet.type not in _WATCH_REPLIES:
                return
            pending = next((p for p in self._pending.values() if p.request.type == packet.type), None)
            if pending is None:
                return
        pending.resolve(packet.type, packet.payload)
        if pending.abandoned:
            self._undo(pending)
        self._pending.pop(pending.req_id, None)

    def _undo(self, pending: Pending[Any]) -> None:
        """Take back what a request that nobody waits for has set up."""
        try:
            undo = pending.request.undo(pending.result())
        except XenStoreError:
            return  # it set up nothing
        if undo is not None:
            self.abandon(self.send(*undo))

    def _put(self, data: bytes) -> None:
        outgoing = self.outgoing
        if outgoing:
            place, last = outgoing[-1]
            outgoing.append((place + len(last), data))
        else:
            outgoing.append((sum(self.sent), data))

    def _next_ids(self, count: int) -> int:
        """The first of `count` ids in a row that are not in use."""
        while True:
            first = self._next_id()
            if first + count <= 0xFFFFFFFF and not any(first <= req_id < first + count for req_id in self._pending):
                self._last_id = first + count - 1
                return first

    def _next_id(self) -> int:
        req_id = self._last_id
        while True:
            req_id = (req_id + 1) & 0xFFFFFFFF
            if req_id == 0 or req_id in self._pending:  # 0 is what events have
                continue
            if self._batch_refs and any(batch.first <= req_id < batch.end for batch in self._batches()):
                continue
            self._last_id = req_id
            return req_id


def error_reply(request: Request[Any], type: int, payload: bytes) -> XenStoreError:
    """The error that a reply of another type than the request's is."""
    path = None if request.path is None else request.path.decode("utf-8", "surrogateescape")
    if type == _ERROR:
        name = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
        message = f"the daemon knows no {request.type.name}" if name == "ENOSYS" else None
        return error_from_wire(name, path, message)
    return ProtocolError(errno.EPROTO, f"a reply of type {type} came to a request of type {request.type}", path)
