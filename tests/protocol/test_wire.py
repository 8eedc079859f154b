"""Packets as bytes, and the reader that finds them in a stream."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi.errors import ProtocolError, TooBigError
from xsffi.protocol.wire import (
    DEVICE_PAYLOAD_MAX,
    HEADER_SIZE,
    PAYLOAD_MAX,
    REPLY_MAX,
    Feature,
    MessageType,
    Packet,
    PacketReader,
    check_payload_size,
    encode_packet,
)

UINT_MAX = 0xFFFFFFFF

# enum xsd_sockmsg_type of xs_wire.h.
TYPES = {
    "CONTROL": 0, "DIRECTORY": 1, "READ": 2, "GET_PERMS": 3, "WATCH": 4, "UNWATCH": 5, "TRANSACTION_START": 6,
    "TRANSACTION_END": 7, "INTRODUCE": 8, "RELEASE": 9, "GET_DOMAIN_PATH": 10, "WRITE": 11, "MKDIR": 12, "RM": 13,
    "SET_PERMS": 14, "WATCH_EVENT": 15, "ERROR": 16, "IS_DOMAIN_INTRODUCED": 17, "RESUME": 18, "SET_TARGET": 19,
    "RESET_WATCHES": 21, "DIRECTORY_PART": 22, "GET_FEATURE": 23, "SET_FEATURE": 24, "GET_QUOTA": 25, "SET_QUOTA": 26,
}  # fmt: skip

# Streams, and the packets in them.
STREAMS: dict[str, list[Packet]] = {
    "nothing": [],
    "empty payload": [Packet(21, 1, 0, b"")],
    "one": [Packet(2, 1, 0, b"/a\0")],
    "all bits set": [Packet(UINT_MAX, UINT_MAX, UINT_MAX, bytes(range(256)))],
    "three": [Packet(2, 1, 0, b"value"), Packet(15, 0, 0, b"/a\0token\0"), Packet(16, 2, 7, b"ENOENT\0")],
    "empty ones in a row": [Packet(11, 1, 0, b""), Packet(11, 2, 0, b""), Packet(11, 3, 0, b"")],
    "a payload that looks like a header": [Packet(2, 1, 0, struct.pack("=IIII", 2, 9, 0, 5)), Packet(2, 2, 0, b"x")],
    "the longest request": [Packet(11, 1, 0, b"v" * PAYLOAD_MAX)],
    "longer than a request may be": [Packet(1, 1, 0, b"name\0" * 1000), Packet(1, 2, 0, b"")],
}


def encode(packets: Iterable[Packet]) -> bytes:
    return b"".join([encode_packet(*packet) for packet in packets])


def drain(reader: PacketReader) -> Iterator[Packet]:
    while (packet := reader.next_packet()) is not None:
        yield packet


def read_in_pieces(pieces: Iterable[bytes]) -> list[Packet]:
    reader = PacketReader()
    found: list[Packet] = []
    for piece in pieces:
        reader.receive_data(piece)
        found += drain(reader)
    assert reader.pending == 0
    return found


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [*sorted(places), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends)]


def test_the_types_are_those_of_the_header() -> None:
    assert {type.name: type.value for type in MessageType} == TYPES


def test_the_limits_are_those_of_the_header() -> None:
    assert (HEADER_SIZE, PAYLOAD_MAX, DEVICE_PAYLOAD_MAX) == (16, 4096, 4080)


@pytest.mark.parametrize(
    ("packet", "fields"),
    [
        (Packet(2, 1, 0, b"/a\0"), (2, 1, 0, 3)),
        (Packet(MessageType.WRITE, 2, 3, b""), (11, 2, 3, 0)),
        (Packet(16, UINT_MAX, UINT_MAX, b"E"), (16, UINT_MAX, UINT_MAX, 1)),
    ],
)
def test_encode(packet: Packet, fields: tuple[int, ...]) -> None:
    data = encode_packet(*packet)
    assert struct.unpack("@IIII", data[:16]) == fields  # native byte order, no padding
    assert data[16:] == packet.payload


def test_features_read_as_numbers_whatever_the_python() -> None:
    assert str(Feature.ERROR | Feature.WATCH_DEPTH) == f"{Feature(6)}" == "6"
    assert Feature(1 << 20) == 1 << 20


@pytest.mark.parametrize("size", [0, 1, PAYLOAD_MAX])
def test_a_request_that_fits(size: int) -> None:
    check_payload_size(size, b"/a")


@pytest.mark.parametrize(
    ("size", "limit"), [(PAYLOAD_MAX + 1, PAYLOAD_MAX), (DEVICE_PAYLOAD_MAX + 1, DEVICE_PAYLOAD_MAX)]
)
def test_a_request_that_does_not_fit(size: int, limit: int) -> None:
    with pytest.raises(TooBigError, match=f"at most {limit} bytes.*this one has {size}") as caught:
        check_payload_size(size, b"/a", limit)
    assert (caught.value.errno, caught.value.filename) == (errno.E2BIG, "/a")
    with pytest.raises(TooBigError) as caught:
        check_payload_size(size, None, limit)
    assert caught.value.filename is None


@pytest.mark.parametrize("packets", STREAMS.values(), ids=STREAMS)
class TestFragments:
    def test_whole(self, packets: list[Packet]) -> None:
        assert read_in_pieces([encode(packets)]) == packets

    def test_packet_by_packet(self, packets: list[Packet]) -> None:
        assert read_in_pieces(map(encode, [[packet] for packet in packets])) == packets

    def test_byte_by_byte(self, packets: list[Packet]) -> None:
        stream = encode(packets)
        assert read_in_pieces([stream[i : i + 1] for i in range(len(stream))]) == packets

    def test_header_and_payload_apart(self, packets: list[Packet]) -> None:
        pieces = []
        for packet in packets:
            data = encode([packet])
            pieces += [data[:HEADER_SIZE], data[HEADER_SIZE:]]
        assert read_in_pieces(pieces) == packets

    def test_in_random_pieces(self, packets: list[Packet]) -> None:
        stream = encode(packets)
        chance = random.Random(0)
        for _ in range(20):
            assert read_in_pieces(cut(stream, chance.choices(range(len(stream) + 1), k=5))) == packets

    def test_all_at_once_at_the_end(self, packets: list[Packet]) -> None:
        reader = PacketReader()
        for place in range(0, len(encode(packets)), 3):
            reader.receive_data(encode(packets)[place : place + 3])
        assert list(drain(reader)) == packets

    @pytest.mark.parametrize("tail", [b"\1", b"\2\0\0\0" * 3, struct.pack("=IIII", 2, 9, 0, 5) + b"four"])
    def test_with_a_tail(self, packets: list[Packet], tail: bytes) -> None:
        reader = PacketReader()
        reader.receive_data(encode(packets) + tail)
        assert list(drain(reader)) == packets
        assert reader.pending == len(tail)
        assert reader.next_packet() is None

    def test_every_tail_becomes_whole(self, packets: list[Packet]) -> None:
        last = Packet(2, 9, 0, b"last")
        data = encode([last])
        for place in range(len(data)):
            reader = PacketReader()
            reader.receive_data(encode(packets) + data[:place])
            assert list(drain(reader)) == packets
            reader.receive_data(data[place:])
            assert list(drain(reader)) == [last]
            assert reader.pending == 0


packets_of_any_kind = st.lists(
    st.builds(
        Packet, st.integers(0, UINT_MAX), st.integers(0, UINT_MAX), st.integers(0, UINT_MAX), st.binary(max_size=40)
    ),
    max_size=8,
)


@given(packets_of_any_kind, st.data())
def test_any_packets_in_any_fragments_come_out_the_same(packets: list[Packet], data: st.DataObject) -> None:
    stream = encode(packets)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert read_in_pieces(cut(stream, places)) == packets


@given(packets_of_any_kind, st.data())
def test_any_mixture_of_receiving_and_taking(packets: list[Packet], data: st.DataObject) -> None:
    """Packets need not be taken as soon as they are complete."""
    stream = encode(packets)
    reader = PacketReader()
    found: list[Packet] = []
    for piece in cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=20))):
        reader.receive_data(piece)
        for _ in range(data.draw(st.integers(0, 3))):
            packet = reader.next_packet()
            if packet is not None:
                found.append(packet)
    assert [*found, *drain(reader)] == packets


def test_empty_pieces_do_no_harm() -> None:
    data = encode(STREAMS["three"])
    assert read_in_pieces([b"", data[:5], b"", b"", data[5:], b""]) == STREAMS["three"]


class TestBound:
    def test_a_length_at_the_bound(self) -> None:
        reader = PacketReader(payload_max=8)
        reader.receive_data(encode([Packet(2, 1, 0, b"8 bytes.")]))
        assert reader.next_packet() == Packet(2, 1, 0, b"8 bytes.")

    @pytest.mark.parametrize("behind", [b"", b"9 bytes.."], ids=["header alone", "all of it"])
    def test_a_length_beyond_the_bound(self, behind: bytes) -> None:
        reader = PacketReader(payload_max=8)
        reader.receive_data(struct.pack("=IIII", 2, 1, 0, 9) + behind)
        for _ in range(2):  # the error is permanent
            with pytest.raises(ProtocolError, match="type 2 claims to have 9 bytes, more than 8") as caught:
                reader.next_packet()
            assert caught.value.errno == errno.EPROTO

    def test_what_came_before_it_is_read(self) -> None:
        reader = PacketReader(payload_max=8)
        reader.receive_data(encode([Packet(2, 1, 0, b"a"), Packet(2, 2, 0, b"too long.")]))
        assert reader.next_packet() == Packet(2, 1, 0, b"a")
        with pytest.raises(ProtocolError):
            reader.next_packet()

    def test_the_bound_of_itself_is_far_beyond_a_request(self) -> None:
        reader = PacketReader()
        reader.receive_data(struct.pack("=IIII", 1, 1, 0, REPLY_MAX))
        assert reader.next_packet() is None
        reader = PacketReader()
        reader.receive_data(struct.pack("=IIII", 1, 1, 0, REPLY_MAX + 1))
        with pytest.raises(ProtocolError):
            reader.next_packet()


class TestWork:
    """The reader's work is linear in the length of the stream, not quadratic; and packets are not kept after they are
    taken."""

    def test_a_long_message_in_many_pieces(self) -> None:
        packet = Packet(1, 1, 0, bytes(8_000_000))  # joining the pieces each time would copy 500 GB
        data = encode([packet])
        assert read_in_pieces([data[i : i + 64] for i in range(0, len(data), 64)]) == [packet]

    def test_many_messages_whose_ends_are_never_those_of_a_piece(self) -> None:
        packets = [Packet(2, number, 0, bytes(84)) for number in range(1, 2001)]  # of 100 bytes each
        stream = encode(packets)
        reader = PacketReader()
        found: list[Packet] = []
        for piece in [stream[:50], *[stream[i : i + 1000] for i in range(50, len(stream), 1000)]]:
            reader.receive_data(piece)
            found += drain(reader)
            assert reader.pending < 100
        assert found == packets

    def test_many_messages_in_one_piece(self) -> None:
        packets = [Packet(2, number, 0, b"") for number in range(1, 200_001)]
        assert read_in_pieces([encode(packets)]) == packets
