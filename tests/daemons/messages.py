"""XenStore's packets, encoded independently: the harness must not depend on the client that it tests."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("=IIII")
"""type, request id, transaction id, length of the payload"""


class MessageType(IntEnum):
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


class Packet(NamedTuple):
    type: int
    request_id: int
    tx_id: int
    payload: bytes

    def encode(self) -> bytes:
        return HEADER.pack(self.type, self.request_id, self.tx_id, len(self.payload)) + self.payload


def strings(*parts: str) -> bytes:
    """A payload of strings, each terminated by NUL."""
    return b"".join(part.encode() + b"\0" for part in parts)


def write_payload(path: str, value: bytes) -> bytes:
    """The payload of WRITE, whose value is not NUL-terminated."""
    return strings(path) + value


class PacketSplitter:
    """Splits a stream of bytes into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_packet(self) -> Packet | None:
        if len(self._buffer) < HEADER.size:
            return None
        kind, request_id, tx_id, length = HEADER.unpack_from(self._buffer)
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return Packet(kind, request_id, tx_id, payload)

    @property
    def between_packets(self) -> bool:
        """Whether the input so far ends at a packet boundary, if all complete packets have been taken out."""
        return not self._buffer
