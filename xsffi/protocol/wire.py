"""Messages as bytes: types, header, limits, and the reader that finds packets in a stream.

The source is xen/include/public/io/xs_wire.h: a header of four native-endian uint32 (type, req_id, tx_id, length) and
`length` bytes of payload.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from ..errors import ProtocolError, TooBigError

__all__ = [
    "DEVICE_PAYLOAD_MAX",
    "HEADER_SIZE",
    "PAYLOAD_MAX",
    "REPLY_MAX",
    "MessageType",
    "Packet",
    "PacketReader",
    "check_payload_size",
    "encode_packet",
    "too_big_error",
]


class MessageType(IntEnum):
    """The types of message (enum xsd_sockmsg_type). 20 was RESTRICT, which no daemon serves any more."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22
    GET_FEATURE = 23
    SET_FEATURE = 24
    GET_QUOTA = 25
    SET_QUOTA = 26


HEADER_SIZE = 16
PAYLOAD_MAX = 4096  # XENSTORE_PAYLOAD_MAX: what a request may carry, every NUL counted
DEVICE_PAYLOAD_MAX = PAYLOAD_MAX - HEADER_SIZE  # the kernel's buffer holds the header too
REPLY_MAX = 16 << 20  # oxenstored exceeds PAYLOAD_MAX in replies on a socket; beyond this it can only be nonsense

_HEADER = struct.Struct("=IIII")
_pack = _HEADER.pack
_unpack_from = _HEADER.unpack_from


class Packet(NamedTuple):
    """One message. `type` is a plain int, since a peer may send one that has no name here."""

    type: int
    req_id: int
    tx_id: int
    payload: bytes


def check_payload_size(size: int, limit: int = PAYLOAD_MAX) -> None:
    """Raise :class:`~xsffi.errors.TooBigError` where `size` bytes are too many for one request.

    No daemon is asked: xenstored resets a connection that sends more, and oxenstored loses its place in the stream.
    """
    if size > limit:
        raise too_big_error(size, limit)


def too_big_error(size: int, limit: int) -> TooBigError:
    """What :func:`check_payload_size` raises."""
    return TooBigError(
        errno.E2BIG, f"a request carries at most {limit} bytes, path and NULs counted; this one has {size}"
    )


def encode_packet(type: int, req_id: int, tx_id: int, payload: bytes) -> bytes:
    """The bytes of one message."""
    return _pack(type, req_id, tx_id, len(payload)) + payload


class PacketReader:
    """Finds packets in a stream of bytes that arrives in pieces of any size.

    A caller that may be interrupted by a signal between any two steps takes a packet by :meth:`peek`, hands it on, and
    only then calls :meth:`consume`: a packet may so be seen twice, and is never lost.
    """

    def __init__(self, payload_max: int = REPLY_MAX) -> None:
        """`payload_max`: the longest payload accepted, in bytes."""
        self.incoming: list[bytes] = []  # what came in and is not yet consumed; a transport may append to it itself
        self._offset = 0  # how much of incoming[0] is consumed
        self._payload_max = payload_max

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.incoming.append(data)

    def next_packet(self) -> Packet | None:
        """The next whole packet, or None until more bytes come; raises ProtocolError as :meth:`peek` does."""
        packet = self.peek()
        if packet is not None:
            self.consume(packet)
        return packet

    def peek(self) -> Packet | None:
        """The next whole packet, which stays where it is.

        Raises :class:`~xsffi.errors.ProtocolError` where its length is beyond any bound: the stream is lost then.
        """
        incoming = self.incoming
        if not incoming:
            return None
        offset = self._offset
        data = incoming[0]
        while True:
            end = offset + HEADER_SIZE
            if end <= len(data):
                type, req_id, tx_id, length = _unpack_from(data, offset)
                if length > self._payload_max:
                    raise ProtocolError(
                        errno.EPROTO, f"a message of type {type} claims {length} bytes, more than {self._payload_max}"
                    )
                start, end = end, end + length
                if end <= len(data):
                    return Packet(type, req_id, tx_id, data[start:end])
            # Pieces are joined only once they make a header, or a packet, whole: joining at every piece would make a
            # long message cost the square of its length.
            if len(incoming) == 1 or sum(map(len, incoming)) < end:
                return None
            data = b"".join(incoming)
            incoming[:] = [data]

    def consume(self, packet: Packet) -> None:
        """Be done with the packet that :meth:`peek` gave."""
        end = self._offset + HEADER_SIZE + len(packet.payload)
        if end < len(self.incoming[0]):
            self._offset = end
        else:
            self._discard_first()

    def packets(self) -> Iterator[Packet]:
        """Every whole packet; one counts as consumed when the next is asked for. Raises as :meth:`peek` does."""
        incoming = self.incoming
        while True:
            packet = self.peek()
            if packet is None:
                return
            yield packet
            self.consume(packet)
            if not incoming:
                return
            # The common case at speed: packets that lie whole in one piece.
            data = incoming[0]
            size = len(data)
            offset = self._offset
            while offset + HEADER_SIZE <= size:
                type, req_id, tx_id, length = _unpack_from(data, offset)
                end = offset + HEADER_SIZE + length
                if end >= size:
                    break
                yield Packet(type, req_id, tx_id, data[offset + HEADER_SIZE : end])
                self._offset = offset = end

    def _discard_first(self) -> None:
        # Both at once, for the reader's promise: the offset belongs to the piece.
        self._offset = 0
        del self.incoming[0]

    @property
    def pending(self) -> int:
        """How many bytes have come that make no whole packet yet, if every whole one was taken."""
        return sum(map(len, self.incoming)) - self._offset
