"""Messages as bytes: types, header, limits, and the reader that finds packets in a stream.

The source is xen/include/public/io/xs_wire.h: a header of four native-endian uint32 (type, req_id, tx_id, length) and
`length` bytes of payload.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

from ..errors import ProtocolError, TooBigError

__all__ = [
    "DEVICE_PAYLOAD_MAX",
    "HEADER_SIZE",
    "IN_PYTHON",
    "PAYLOAD_MAX",
    "REPLY_MAX",
    "Feature",
    "MessageType",
    "Packet",
    "PacketReader",
    "Splitters",
    "check_payload_size",
    "encode_packet",
    "pack_header",
    "parse_event",
    "take_events",
    "take_replies",
    "too_big_error",
    "unpack_header",
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


class Feature(IntFlag):
    """What a daemon can do that others cannot, as bits (XENSTORE_SERVER_FEATURE_*). It can be asked for since Xen
    4.21."""

    RECONNECTION = 1  # a guest may connect anew by its ring
    ERROR = 2  # a guest is told, in its ring, why its connection ended
    WATCH_DEPTH = 4  # a watch may have a depth, and special watches tell the domain
    DOMID_ANY = 8  # permissions may be for every domain, as DOMID_ANY

    __str__ = int.__repr__  # as it is since Python 3.11


HEADER_SIZE = 16
PAYLOAD_MAX = 4096  # XENSTORE_PAYLOAD_MAX: what a request may carry, every NUL counted
DEVICE_PAYLOAD_MAX = PAYLOAD_MAX - HEADER_SIZE  # the kernel's buffer holds the header too
REPLY_MAX = 16 << 20  # oxenstored exceeds PAYLOAD_MAX in replies on a socket; beyond this it can only be nonsense

_WATCH_EVENT = int(MessageType.WATCH_EVENT)
_HEADER = struct.Struct("=IIII")
pack_header = _HEADER.pack  #: the header of a message, from type, req_id, tx_id and length
_unpack_from = _HEADER.unpack_from


class Packet(NamedTuple):
    """One message. `type` is a plain int, since a peer may send one that has no name here."""

    type: int
    req_id: int
    tx_id: int
    payload: bytes


def check_payload_size(size: int, path: bytes | None, limit: int = PAYLOAD_MAX) -> None:
    """Raise :class:`~xsffi.errors.TooBigError`, which names the node, where `size` bytes are too many for one request.

    No daemon is asked: xenstored resets a connection that sends more, and oxenstored loses its place in the stream.
    """
    if size > limit:
        raise too_big_error(size, path, limit)


def too_big_error(size: int, path: bytes | None, limit: int) -> TooBigError:
    """What :func:`check_payload_size` raises. `path`: the node that the request is about, if it is about one."""
    text = f"a request carries at most {limit} bytes, path and NULs counted; this one has {size}"
    if path is None:
        return TooBigError(errno.E2BIG, text)
    return TooBigError(errno.E2BIG, text, path.decode("utf-8", "surrogateescape"))


def encode_packet(type: int, req_id: int, tx_id: int, payload: bytes) -> bytes:
    """The bytes of one message."""
    return pack_header(type, req_id, tx_id, len(payload)) + payload


def unpack_header(data: bytes) -> tuple[int, int, int, int]:
    """Type, req_id, tx_id and length, from the first bytes of a message."""
    header: tuple[int, int, int, int] = _unpack_from(data)
    return header


def take_replies(data: bytes, offset: int, first: int, replies: list[Any]) -> int:
    """Put the replies that lie whole in `data`, from `offset` on, into their places, as type and payload.

    `replies` has a place for each req_id from `first` on. It ends at whatever is none of theirs: gives the offset of
    that.
    """
    count = len(replies)
    size = len(data)
    start = offset + HEADER_SIZE
    while start <= size:
        type, req_id, _, length = _unpack_from(data, offset)
        end = start + length
        if end > size or not 0 <= req_id - first < count or type == _WATCH_EVENT:
            break
        replies[req_id - first] = (type, data[start:end])
        offset = end
        start = end + HEADER_SIZE
    return offset


def parse_event(payload: bytes) -> tuple[str, str]:
    """Path and token of an event, from its payload."""
    path, _, rest = payload.decode("utf-8", "surrogateescape").partition("\0")
    return path, rest.partition("\0")[0]


def take_events(data: bytes, offset: int) -> tuple[list[tuple[str, str]], int]:
    """The events that lie whole in `data`, from `offset` on: path and token of each; and the offset of what is none."""
    events = []
    size = len(data)
    start = offset + HEADER_SIZE
    while start <= size:
        type, _, _, length = _unpack_from(data, offset)
        end = start + length
        if end > size or type != _WATCH_EVENT:
            break
        events.append(parse_event(data[start:end]))
        offset = end
        start = end + HEADER_SIZE
    return events, offset


class Splitters(NamedTuple):
    """How the common case, many messages of a kind in one piece, is taken apart: functions as :func:`take_replies` and
    :func:`take_events`."""

    replies: Callable[[bytes, int, int, list[Any]], int]
    events: Callable[[bytes, int], tuple[list[tuple[str, str]], int]]


IN_PYTHON = Splitters(take_replies, take_events)


class PacketReader:
    """Finds packets in a stream of bytes that arrives in pieces of any size.

    A caller that may be interrupted by a signal between any two steps takes a packet by :meth:`peek`, hands it on, and
    only then calls :meth:`consume`: a packet may so be seen twice, and is never lost.
    """

    def __init__(self, payload_max: int = REPLY_MAX) -> None:
        """`payload_max`: the longest payload accepted, in bytes."""
        self.incoming: list[bytes] = []  # what came in and is not yet consumed; a transport may append to it itself
        # How much is consumed, of which piece: as one, for the reader's promise. It says nothing of any other piece.
        self._consumed: tuple[bytes, int] = (b"", 0)
        self._measured: tuple[bytes, int, int] = (b"", 0, 0)  # from which piece on, how many pieces, their length
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
        while incoming and not incoming[0]:
            del incoming[0]
        if not incoming:
            return None
        data = incoming[0]
        offset = self._offset()
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
            if len(incoming) == 1 or self._total() < end:
                return None
            data = b"".join([data[offset:], *incoming[1:]])
            offset = 0
            incoming[:] = [data]

    def consume(self, packet: Packet) -> None:
        """Be done with the packet that :meth:`peek` gave."""
        piece, offset = self.first_piece()
        self.consume_to(piece, offset + HEADER_SIZE + len(packet.payload))

    def first_piece(self) -> tuple[bytes, int]:
        """What comes next, as far as it lies in one piece: that piece, and from where on it is not consumed."""
        incoming = self.incoming
        return (incoming[0], self._offset()) if incoming else (b"", 0)

    def consume_to(self, piece: bytes, offset: int) -> None:
        """Be done with the piece that :meth:`first_piece` gave, as far as `offset`, where a packet ends."""
        if offset < len(piece):
            self._consumed = (piece, offset)
        elif self.incoming and self.incoming[0] is piece:
            del self.incoming[0]

    @property
    def pending(self) -> int:
        """How many bytes have come that make no whole packet yet, if every whole one was taken."""
        return sum(map(len, self.incoming)) - self._offset()

    def _total(self) -> int:
        """The length of all pieces; those that were measured before are not looked at again."""
        incoming = self.incoming
        first, count, total = self._measured
        if first is not incoming[0]:
            count = total = 0
        total += sum(map(len, incoming[count:]))
        self._measured = (incoming[0], len(incoming), total)
        return total

    def _offset(self) -> int:
        """How much of the first piece is consumed."""
        piece, offset = self._consumed
        return offset if self.incoming and piece is self.incoming[0] else 0
