"""One client's connection without I/O: bytes come in, and bytes to send go out."""

from __future__ import annotations

import errno
import logging
import sys
from collections import deque

from ..errors import ProtocolError, XenStoreError, wire_name
from ..protocol.wire import HEADER_SIZE, PAYLOAD_MAX, MessageType, Packet, PacketReader, encode_packet
from .dispatch import Dispatcher
from .store import Store

__all__ = ["Connection"]

_log = logging.getLogger("xsffi.server")

_ERROR = int(MessageType.ERROR)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)

_ANSWERS_MAX = 1 << 20  # bytes unread by the client beyond which its requests are not processed
_UNREAD_MAX = 32 << 20  # beyond which, because of events, the connection is closed
_CHUNK = 256 << 10  # roughly how many bytes to send at a time


class Connection:
    """A connection of one domain to the store, from construction until :meth:`close`."""

    def __init__(self, store: Store, domid: int = 0) -> None:
        """Raises NodeNotFoundError if the domain is not introduced."""
        self.domain = store.domains.introduced(domid)
        self.ended: str | None = None  # why requests are no longer processed; pending output is still sent
        self._store = store
        self._trace = store.trace
        self._dispatcher = Dispatcher(store, self.domain, self)
        self._reader = PacketReader(PAYLOAD_MAX)
        self._outgoing: deque[bytes] = deque()  # messages
        self._outgoing_size = 0
        self._sent_of_first = 0
        self._unread_events: set[bytes] = set()  # those in _outgoing
        self._held_events: list[bytes] = []
        store.peers.add(self)

    # For the owner of the socket.

    def receive_data(self, data: bytes) -> None:
        """Process received bytes. A protocol violation ends this connection, and is logged."""
        if self.ended is None:
            self._reader.receive_data(data)
            self.process()

    def process(self) -> None:
        """Answer the received requests, as long as the client reads the answers."""
        reader = self._reader
        try:
            while self.ended is None and self._outgoing_size < _ANSWERS_MAX:
                packet = reader.next_packet()
                if packet is None:
                    return
                self._answer(packet)
        except ProtocolError as error:
            self._end_for_violation(error.strerror or "a protocol violation")

    @property
    def wants_data(self) -> bool:
        """Whether to receive more now: not while the client leaves too many answers unread."""
        return self.ended is None and self._outgoing_size < _ANSWERS_MAX

    def data_to_send(self) -> bytes:
        """The next bytes to send; empty if there are none. Report with :meth:`data_sent` how many were sent."""
        outgoing = self._outgoing
        if not outgoing:
            return b""
        if self._outgoing_size <= _CHUNK:
            data = b"".join(outgoing)
        else:
            chosen = []
            size = 0
            for message in outgoing:
                chosen.append(message)
                size += len(message)
                if size >= _CHUNK:
                    break
            data = b"".join(chosen)
        return data[self._sent_of_first :] if self._sent_of_first else data

    def data_sent(self, count: int) -> None:
        """Record that this many of the bytes to send were sent."""
        outgoing = self._outgoing
        count += self._sent_of_first
        if count == self._outgoing_size:
            self._drop_outgoing()
            return
        while outgoing and count >= len(outgoing[0]):
            message = outgoing.popleft()
            self._unread_events.discard(message)
            self._outgoing_size -= len(message)
            count -= len(message)
        self._sent_of_first = count

    def close(self) -> None:
        """The socket is closed: undo everything that this connection had set up. Idempotent."""
        if self.ended is None:
            self.ended = "closed"
        self.reset()
        self._drop_outgoing()
        self._store.peers.discard(self)
        self._store.talkative.discard(self)

    # For the store.

    def send_event(self, path: bytes, token: bytes) -> None:
        """Send an event, unless the same one is still unread."""
        if len(path) + len(token) + 2 > PAYLOAD_MAX or self.ended is not None:
            return
        message = encode_packet(_WATCH_EVENT, 0, 0, b"%s\0%s\0" % (path, token))
        if self._store.faults.holding_events:
            self._held_events.append(message)
            return
        if message in self._unread_events and not path.startswith(b"@"):
            return
        self._unread_events.add(message)
        self._put(message)
        if self._outgoing_size > _UNREAD_MAX:
            self._end_for_violation("it does not read its events")
            self._drop_outgoing()

    def release_events(self) -> None:
        """Send the held events."""
        held, self._held_events = self._held_events, []
        for message in held:
            self._put(message)

    def reset(self) -> None:
        """Remove watches and abort transactions."""
        self._dispatcher.reset()

    def end(self, reason: str) -> None:
        """Stop processing requests. The owner of the socket sends pending output, then closes."""
        if self.ended is None:
            _log.info("closing a connection of domain %d: %s", self.domain.domid, reason)
            self.ended = reason
            self.reset()

    # Inside.

    def _end_for_violation(self, reason: str) -> None:
        _log.warning("dropping a connection of domain %d: %s", self.domain.domid, reason)
        self.end(reason)

    def _answer(self, packet: Packet) -> None:
        type, req_id, tx_id, payload = packet
        if self._trace.is_on:
            self._tell("IN", type, payload)
        faults = self._store.faults
        cut = faults.take_cut(self.domain.domid) if faults.cuts else None
        try:
            reply = encode_packet(type, req_id, tx_id, self._dispatcher.answer(type, tx_id, payload))
        except XenStoreError as error:
            name = error.wire_name or wire_name(error.errno or errno.EINVAL)
            reply = encode_packet(_ERROR, req_id, tx_id, name.encode("latin-1", "replace") + b"\0")
        if cut is not None:
            if cut.middle:
                self._put(reply[: len(reply) // 2])
            self.end("cut on request")
            return
        self._put(reply)
        watch = self._dispatcher.new_watch
        if watch is not None:
            self._dispatcher.new_watch = None
            watch.send(watch.path)

    def _tell(self, way: str, type: int, payload: bytes) -> None:
        name = MessageType(type).name if type in set(MessageType) else str(type)
        text = payload.decode("ascii", "backslashreplace").replace("\0", " ")
        self._trace.tell("io", f"{way} (d{self.domain.domid}) {name} ({text})")

    def _put(self, message: bytes) -> None:
        if self._trace.is_on:
            self._tell("OUT", int.from_bytes(message[:4], sys.byteorder), message[HEADER_SIZE:])
        self._outgoing.append(message)
        self._outgoing_size += len(message)
        self._store.talkative.add(self)

    def _drop_outgoing(self) -> None:
        self._outgoing.clear()
        self._unread_events.clear()
        self._outgoing_size = self._sent_of_first = 0
