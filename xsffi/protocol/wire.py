"""Messages as bytes: types, header, limits, and the parser that finds packets in a stream.

The source is xen/include/public/io/xs_wire.h: a header of four native-endian uint32 (type, req_id, tx_id, length)
followed by `length` bytes of payload.
"""

from __future__ import annotations

import errno
import struct
from collections import namedtuple
from enum import IntEnum, IntFlag

from ..errors import ProtocolError, TooBigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    class _Packet(NamedTuple):
        type: int
        req_id: int
        tx_id: int
        payload: bytes
else:
    _Packet = namedtuple("Packet", ["type", "req_id", "tx_id", "payload"])

__all__ = [
    "DEVICE_PAYLOAD_MAX",
    "HEADER_SIZE",
    "PAYLOAD_MAX",
    "REPLY_MAX",
    "Feature",
    "MessageType",
    "Packet",
    "PacketReader",
    "check_payload_size",
    "encode_packet",
    "parse_event",
    "too_big_error",
]


class MessageType(IntEnum):
    """The types of messages (enum xsd_sockmsg_type). 20 was RESTRICT, which no daemon supports any more."""

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
    """Optional features of a daemon, as bits (XENSTORE_SERVER_FEATURE_* in xs_wire.h). They can be queried since Xen
    4.21."""

    RECONNECTION = 1  # a guest may reconnect through its ring
    ERROR = 2  # the ring tells a guest why its connection was closed
    WATCH_DEPTH = 4  # a watch may have a depth, and events of special watches name the domain
    DOMID_ANY = 8  # permissions may be for every domain, as DOMID_ANY

    __str__ = int.__repr__  # as since Python 3.11


HEADER_SIZE = 16
PAYLOAD_MAX = 4096  # XENSTORE_PAYLOAD_MAX: the most bytes in a request, including NULs
DEVICE_PAYLOAD_MAX = PAYLOAD_MAX - HEADER_SIZE  # the kernel's buffer holds the header too
REPLY_MAX = 16 << 20  # oxenstored's replies on a socket may exceed PAYLOAD_MAX; beyond this it must be garbage

_WATCH_EVENT = int(MessageType.WATCH_EVENT)
_HEADER = struct.Struct("=IIII")
_pack = _HEADER.pack
_unpack_from = _HEADER.unpack_from


class Packet(_Packet):
    """One message. `type` is a plain int, since a peer may send an unknown one."""

    __slots__ = ()


def check_payload_size(size: int, path: bytes | None, limit: int = PAYLOAD_MAX) -> None:
    """Raise :class:`~xsffi.errors.TooBigError`, which names the node, if `size` bytes are too many for one request.

    The daemon is not asked: xenstored resets a connection that sends more, and oxenstored loses sync in the stream.
    """
    if size > limit:
        raise too_big_error(size, path, limit)


def too_big_error(size: int, path: bytes | None, limit: int) -> TooBigError:
    """What :func:`check_payload_size` raises. `path`: the node that the request is about, if any."""
    text = f"a request may have at most {limit} bytes, including path and NULs; this one has {size}"
    if path is None:
        return TooBigError(errno.E2BIG, text)
    return TooBigError(errno.E2BIG, text, path.decode("utf-8", "surrogateescape"))


def encode_packet(type: int, req_id: int, tx_id: int, payload: bytes) -> bytes:
    """The bytes of one message."""
    return _pack(type, req_id, tx_id, len(payload)) + payload


def parse_event(payload: bytes) -> tuple[str, str]:
    """Path and token of an event, from its payload."""
    path, _, rest = payload.decode("utf-8", "surrogateescape").partition("\0")
    return path, rest.partition("\0")[0]


class PacketReader:
    """Finds packets in a stream of bytes that arrives in pieces of any size."""

    def __init__(self, payload_max: int = REPLY_MAX) -> None:
        """`payload_max`: the longest payload accepted, in bytes."""
        self._payload_max = payload_max
        self._data = b""
        self._offset = 0  # how much of the data was parsed
        self._pieces: list[bytes] = []  # what arrived after the data
        self._behind = 0  # their length
        self._needed = HEADER_SIZE  # bytes until the next packet, as far as known, is complete

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._pieces.append(data)
        self._behind += len(data)

    def packets(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Every complete packet: the fields of :class:`Packet` as a tuple, which is faster to create.

        Raises :class:`~xsffi.errors.ProtocolError` if the length of one is beyond the limit; the stream is unusable
        then.
        """
        # Pieces are joined only once they complete a packet: joining at each of them would take time quadratic in the
        # length of a message.
        if self._pieces and self.pending >= self._needed:
            if self._offset < len(self._data) or len(self._pieces) > 1:
                self._data = b"".join([self._data[self._offset :], *self._pieces])
            else:
                self._data = self._pieces[0]
            self._pieces.clear()
            self._behind = self._offset = 0
        data, offset = self._data, self._offset
        size = len(data)
        while offset + HEADER_SIZE <= size:
            type, req_id, tx_id, length = _unpack_from(data, offset)
            if length > self._payload_max:
                raise ProtocolError(
                    errno.EPROTO,
                    f"a message of type {type} claims to have {length} bytes, more than {self._payload_max}",
                )
            start = offset + HEADER_SIZE
            if start + length > size:
                self._needed = HEADER_SIZE + length
                return
            self._offset = offset = start + length
            yield type, req_id, tx_id, data[start:offset]
        self._needed = HEADER_SIZE

    def next_packet(self) -> Packet | None:
        """The next complete packet, or None until more bytes arrive; raises ProtocolError as :meth:`packets` does."""
        for fields in self.packets():
            return Packet(*fields)
        return None

    @property
    def pending(self) -> int:
        """How many received bytes have not been parsed yet."""
        return len(self._data) - self._offset + self._behind
