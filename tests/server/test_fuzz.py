"""Random bytes, and almost valid packets: only the declared errors occur, and the connection always ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from xsffi.errors import ProtocolError, XenStoreError
from xsffi.protocol.requests import (
    REQUESTS,
    Directory,
    DirectoryPart,
    GetPermissions,
    Read,
    Request,
    TransactionStart,
    Watch,
)
from xsffi.protocol.session import Session, reply_of
from xsffi.protocol.wire import PacketReader, encode_packet
from xsffi.server.connection import Connection
from xsffi.server.store import Store

_text = st.one_of(
    st.sampled_from(
        [b"/", b"/a", b"/a/b", b"a", b"", b"n0", b"r5", b"@releaseDomain", b"@\xff", b"5", b"T", b"-1", b"quota"]
    ),
    st.binary(max_size=6),
)
_payloads = st.one_of(
    st.binary(max_size=40),
    st.lists(_text, max_size=4).map(lambda parts: b"".join(part + b"\0" for part in parts)),
    st.lists(_text, max_size=4).map(b"\0".join),
)
_types = st.one_of(st.sampled_from(sorted(REQUESTS)), st.integers(0, 40), st.integers(0, 2**32 - 1))
_packets = st.builds(encode_packet, _types, st.integers(0, 2**32 - 1), st.sampled_from([0, 0, 0, 1, 2, 99]), _payloads)
_pieces = st.lists(st.one_of(_packets, _packets, _packets, st.binary(max_size=30)), max_size=30).map(b"".join)


@given(data=_pieces, sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), domid=st.sampled_from([0, 5]))
def test_the_server(data: bytes, sizes: list[int], domid: int) -> None:
    store = Store()
    store.introduce(5)
    connection, bystander = Connection(store, domid), Connection(store)
    replies = PacketReader(4096)
    place = number = 0
    while place < len(data):
        size = sizes[number % len(sizes)]
        connection.receive_data(data[place : place + size])
        place, number = place + size, number + 1
        replies.receive_data(connection.data_to_send())
        connection.data_sent(len(connection.data_to_send()))
        while replies.next_packet() is not None:
            pass
    assert replies.pending == 0
    bystander.receive_data(encode_packet(2, 7, 0, b"/tool\0"))
    assert bystander.data_to_send() == encode_packet(2, 7, 0, b"")
    connection.close()
    bystander.close()
    assert not store.peers


@given(data=_pieces, sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_the_client(data: bytes, sizes: list[int]) -> None:
    session = Session()
    requests: list[Request[Any]] = [Read(b"/a"), Directory(b"/"), DirectoryPart(b"/", 0), GetPermissions(b"/")]
    requests += [TransactionStart(), Watch(b"/", session.queues.open("").new_token(), None)]
    exchange = session.send([(request.type, request.payload()) for request in requests])
    place = number = 0
    with suppress(ProtocolError):
        while place < len(data):
            size = sizes[number % len(sizes)]
            session.receive_data(data[place : place + size])
            place, number = place + size, number + 1
    for request, reply in zip(requests, exchange.replies):
        if reply is not None:
            with suppress(XenStoreError):
                reply_of(request, reply)
    for queue in session.queues:
        for event in queue.events:
            assert isinstance(event.path, str)
            assert isinstance(event.token, str)
