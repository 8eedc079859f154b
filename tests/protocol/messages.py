"""Messages as a daemon sends and reads them, encoded by hand."""

from __future__ import annotations

import struct

from xsffi.protocol.wire import Packet

READ, WATCH, UNWATCH, START, END, EVENT, ERROR = 2, 4, 5, 6, 7, 15, 16


def encode(type: int, req_id: int, payload: bytes, tx_id: int = 0) -> bytes:
    """One message."""
    return struct.pack("=IIII", type, req_id, tx_id, len(payload)) + payload


def event(path: str, token: str = "token") -> bytes:
    """A watch event."""
    return encode(EVENT, 0, f"{path}\0{token}\0".encode())


def split(stream: bytes) -> list[Packet]:
    """The messages of a stream, all of them whole."""
    packets = []
    while stream:
        type, req_id, tx_id, length = struct.unpack_from("=IIII", stream)
        assert len(stream) >= 16 + length, "the last message is not whole"
        packets.append(Packet(type, req_id, tx_id, stream[16 : 16 + length]))
        stream = stream[16 + length :]
    return packets
