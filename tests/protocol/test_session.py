"""The client's end of a connection: matching replies to requests, and events to queues."""

from __future__ import annotations

import errno
import itertools
import struct
from typing import Any

import pytest

from xsffi.errors import (
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    ProtocolError,
    QuotaExceededError,
    XenStoreError,
)
from xsffi.protocol.requests import (
    Control,
    GetPermissions,
    Read,
    Request,
    TransactionEnd,
    TransactionStart,
    Unwatch,
    Watch,
    Write,
    parse_request,
)
from xsffi.protocol.session import STRANGE_EVENTS_MAX, EventQueue, EventQueues, Exchange, Session, reply_of
from xsffi.protocol.wire import Packet
from xsffi.records import WatchEvent

from .messages import END, ERROR, EVENT, READ, START, UNWATCH, WATCH, encode, event, split

READ_A, READ_B = Read(b"/a"), Read(b"/b")


def send(session: Session, *requests: Request[Any], tx_id: int = 0) -> Exchange:
    """Add requests to the data to send."""
    return session.send([(request.type, request.payload()) for request in requests], tx_id)


def flush(session: Session, size: int | None = None) -> bytes:
    """Send everything, at most `size` bytes at a time; returns what was sent."""
    stream = b""
    while (data := session.data_to_send()) is not None:
        stream += bytes(data[:size])
        session.data_sent(len(data[:size]))
    return stream


def sent_requests(session: Session) -> list[tuple[Request[Any] | None, int]]:
    """Send everything; returns the requests as parsed by a server, each with its tx_id."""
    return [(parse_request(packet.type, packet.payload), packet.tx_id) for packet in split(flush(session))]


class TestReplies:
    def test_one(self) -> None:
        session = Session()
        exchange = send(session, READ_A, tx_id=7)
        assert split(flush(session)) == [Packet(READ, exchange.first, 7, b"/a\0")]
        assert exchange.missing == 1
        session.receive_data(encode(READ, exchange.first, b"value"))
        assert (exchange.missing, exchange.replies) == (0, [b"value"])
        assert reply_of(READ_A, exchange.replies[0]) == b"value"

    def test_those_of_an_exchange_are_in_a_row(self) -> None:
        session = Session()
        first, second = send(session, READ_A, READ_B, tx_id=7), send(session, READ_A)
        assert split(flush(session)) == [
            Packet(READ, first.first, 7, b"/a\0"),
            Packet(READ, first.first + 1, 7, b"/b\0"),
            Packet(READ, second.first, 0, b"/a\0"),
        ]
        assert second.first == first.first + 2

    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    @pytest.mark.parametrize("together", [False, True])
    def test_in_any_order(self, order: tuple[int, ...], together: bool) -> None:
        session = Session()
        requests = [Read(b"/%d" % number) for number in range(4)]
        exchanges = [send(session, *requests)] if together else [send(session, request) for request in requests]
        first = exchanges[0].first
        for place, number in enumerate(order):
            session.receive_data(encode(READ, first + number, b"%d" % number))
            assert sum(exchange.missing for exchange in exchanges) == 3 - place
        assert [reply for exchange in exchanges for reply in exchange.replies] == [b"0", b"1", b"2", b"3"]

    def test_all_in_one_piece_with_events_in_between(self) -> None:
        session = Session()
        queue = session.queues.open("")
        token = queue.new_token().decode()
        first, second = send(session, READ_A), send(session, READ_B)
        session.receive_data(
            event("/1", token)
            + encode(READ, second.first, b"second")
            + event("/2", token)
            + event("/3", token)
            + encode(READ, first.first, b"first")
            + event("/4", token)
        )
        assert (first.replies, second.replies) == ([b"first"], [b"second"])
        assert list(queue.events) == [WatchEvent(f"/{number}", token) for number in range(1, 5)]

    def test_byte_by_byte(self) -> None:
        session = Session()
        queue = session.queues.open("")
        exchange = send(session, READ_A)
        data = event("/1", queue.new_token().decode()) + encode(READ, exchange.first, b"value")
        for byte in data[:-1]:
            session.receive_data(bytes([byte]))
            assert exchange.missing
        session.receive_data(data[-1:])
        assert exchange.replies == [b"value"]
        assert len(queue.events) == 1

    @pytest.mark.parametrize("type", [READ, WATCH, UNWATCH, START, ERROR, 99])
    def test_one_that_came_twice_is_dropped(self, type: int) -> None:
        session = Session()
        first, second = send(session, READ_A), send(session, READ_B)
        session.receive_data(encode(READ, first.first, b"one") + encode(type, first.first, b"two"))
        assert first.replies == [b"one"]
        assert second.missing
        session.receive_data(encode(READ, second.first, b"value"))
        assert second.replies == [b"value"]

    def test_one_that_came_twice_within_an_exchange_is_dropped(self) -> None:
        session = Session()
        exchange = send(session, READ_A, READ_B)
        session.receive_data(encode(READ, exchange.first, b"one") + encode(READ, exchange.first, b"two"))
        assert (exchange.missing, exchange.replies) == (1, [b"one", None])

    @pytest.mark.parametrize("type", [READ, WATCH, UNWATCH, START, ERROR, 99])
    @pytest.mark.parametrize("req_id", [1, 77, 0xFFFFFFFF])
    def test_one_that_nobody_waits_for_is_dropped(self, type: int, req_id: int) -> None:
        """Once it is known that replies have the ids of their requests."""
        session = Session()
        before = send(session, READ_A)
        session.receive_data(encode(READ, before.first, b"value"))
        exchange = send(session, READ_A)
        session.receive_data(encode(type, req_id, b"ENOENT\0"))
        assert exchange.missing
        assert session.suspects == []
        session.receive_data(encode(READ, exchange.first, b"value"))
        assert exchange.replies == [b"value"]

    def test_one_of_id_0_belongs_to_no_request(self) -> None:
        session = Session()
        exchange = send(session, READ_A)
        session.receive_data(encode(READ, 0, b"value") + encode(ERROR, 0, b"ENOENT\0"))
        assert exchange.missing

    def test_longer_than_a_request_may_be(self) -> None:
        session = Session()
        exchange = send(session, READ_A)
        session.receive_data(encode(READ, exchange.first, b"v" * 100_000))
        assert exchange.replies == [b"v" * 100_000]

    @pytest.mark.parametrize(
        ("data", "rule"),
        [
            (struct.pack("=IIII", READ, 1, 0, 1 << 25), "claims to have 33554432 bytes"),
            (b"\xff" * 16, "claims to have 4294967295"),
        ],
    )
    def test_a_stream_that_is_none(self, data: bytes, rule: str) -> None:
        session = Session()
        exchange = send(session, READ_A)
        with pytest.raises(ProtocolError, match=rule):
            session.receive_data(encode(READ, exchange.first, b"value") + data)
        with pytest.raises(ProtocolError, match=rule):
            session.receive_data(b"")
        assert exchange.replies == [b"value"]  # what arrived before is kept


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "error", "number"),
        [
            ("ENOENT", NodeNotFoundError, errno.ENOENT),
            ("EINVAL", InvalidArgumentError, errno.EINVAL),
            ("EQUOTA", QuotaExceededError, errno.EDQUOT),
            ("EIO", XenStoreError, errno.EIO),
            ("EWHATEVER", XenStoreError, errno.EIO),
            ("", XenStoreError, errno.EIO),
        ],
    )
    @pytest.mark.parametrize("end", [b"\0", b"", b"\0\0"], ids=["NUL", "no NUL", "two NULs"])
    def test_names(self, name: str, error: type[XenStoreError], number: int, end: bytes) -> None:
        session = Session()
        exchange = send(session, READ_A)
        session.receive_data(encode(ERROR, exchange.first, name.encode() + end))
        with pytest.raises(XenStoreError) as caught:
            reply_of(READ_A, exchange.replies[0])
        assert type(caught.value) is error
        assert (caught.value.errno, caught.value.filename, caught.value.wire_name) == (number, "/a", name)

    def test_a_request_without_a_path(self) -> None:
        with pytest.raises(PermissionError) as caught:
            reply_of(Control([b"help"]), (ERROR, b"EACCES\0"))
        assert caught.value.filename is None

    def test_an_operation_that_the_daemon_does_not_know(self) -> None:
        with pytest.raises(NotSupportedError, match="the daemon does not support READ"):
            reply_of(READ_A, (ERROR, b"ENOSYS\0"))

    def test_a_name_that_is_no_utf8(self) -> None:
        with pytest.raises(XenStoreError) as caught:
            reply_of(READ_A, (ERROR, b"\xff\0"))
        assert caught.value.wire_name == "\udcff"

    @pytest.mark.parametrize("type", [0, 3, 11, 20, 99, 0xFFFFFFFF])
    def test_a_reply_of_the_wrong_type(self, type: int) -> None:
        session = Session()
        exchange = send(session, READ_A, READ_B)
        session.receive_data(encode(type, exchange.first, b"value") + encode(READ, exchange.first + 1, b"value"))
        with pytest.raises(ProtocolError, match=f"received a reply of type {type} to a request of type 2") as caught:
            reply_of(READ_A, exchange.replies[0])
        assert (caught.value.errno, caught.value.filename) == (errno.EPROTO, "/a")
        assert reply_of(READ_B, exchange.replies[1]) == b"value"

    def test_a_malformed_reply_harms_only_its_request(self) -> None:
        session = Session()
        question = GetPermissions(b"/a")
        exchange = send(session, question, READ_B)
        session.receive_data(encode(3, exchange.first, b"x0\0") + encode(READ, exchange.first + 1, b"value"))
        with pytest.raises(ProtocolError):
            reply_of(question, exchange.replies[0])
        assert reply_of(READ_B, exchange.replies[1]) == b"value"


class TestSending:
    def test_nothing(self) -> None:
        assert Session().data_to_send() is None

    @pytest.mark.parametrize("joined", [True, False])
    @pytest.mark.parametrize("size", [1, 3, 15, 16, 17, 20, 1000, None])
    def test_in_parts(self, size: int | None, joined: bool) -> None:
        session = Session(joined)
        requests: list[Request[Any]] = [READ_A, Write(b"/b", b"v" * 100), TransactionStart(), Read(b"/c")]
        send(session, *requests[:2])
        stream = flush(session, size)
        send(session, *requests[2:])
        stream += flush(session, size)
        assert [parse_request(packet.type, packet.payload) for packet in split(stream)] == requests

    @pytest.mark.parametrize("place", range(40))
    def test_a_request_that_comes_while_another_is_half_sent(self, place: int) -> None:
        session = Session()
        send(session, READ_A)
        send(session, READ_B)
        stream = b""
        while len(stream) < place and (data := session.data_to_send()) is not None:
            data = data[: place - len(stream)]
            stream += bytes(data)
            session.data_sent(len(data))
        send(session, Read(b"/c"))
        stream += flush(session)
        assert [packet.payload for packet in split(stream)] == [b"/a\0", b"/b\0", b"/c\0"]

    def test_what_was_not_sent_is_given_again(self) -> None:
        session = Session()
        send(session, READ_A)
        assert session.data_to_send() == session.data_to_send()
        session.data_sent(0)
        assert session.data_to_send() == session.data_to_send()

    def test_an_exchange_is_one_piece(self) -> None:
        """So it takes only one system call."""
        session = Session()
        send(session, READ_A, READ_B)
        data = session.data_to_send()
        assert data is not None
        assert [packet.payload for packet in split(bytes(data))] == [b"/a\0", b"/b\0"]

    def test_the_device_never_gets_two_messages_at_once(self) -> None:
        session = Session(joined=False)
        send(session, READ_A, READ_B)
        send(session, Read(b"/c"))
        for payload in (b"/a\0", b"/b\0", b"/c\0"):
            data = session.data_to_send()
            assert data is not None
            assert [packet.payload for packet in split(bytes(data))] == [payload]
            session.data_sent(len(data))
        assert session.data_to_send() is None


class TestIds:
    def test_none_is_used_twice(self) -> None:
        session = Session()
        ids = [send(session, READ_A).first for _ in range(1000)]
        assert len(set(ids)) == 1000

    def test_none_is_one_that_a_kernel_gives(self) -> None:
        """The kernel counts from 1, and takes long to get this far."""
        assert send(Session(), READ_A).first > 1 << 24

    def test_the_end_of_32_bits(self) -> None:
        session = Session()
        first = send(session, READ_A).first
        flush(session)
        session._last_id = 0xFFFFFFFC
        exchanges = [send(session, READ_A), send(session, READ_A, READ_B), send(session, READ_B)]
        ids = [packet.req_id for packet in split(flush(session))]
        assert ids == [0xFFFFFFFD, first, first + 1, first + 2]
        assert [exchange.first for exchange in exchanges] == [0xFFFFFFFD, first, first + 2]


# A request, the reply to it, and the requests that undo its effect.
ABANDONED: list[tuple[Request[Any], bytes, list[tuple[Request[Any], int]]]] = [
    (READ_A, b"value", []),
    (Write(b"/a", b"value"), b"OK\0", []),
    (TransactionEnd(commit=True), b"OK\0", []),
    (Unwatch(b"/a", b"1"), b"OK\0", []),
    (TransactionStart(), b"9\0", [(TransactionEnd(commit=False), 9)]),
    (Watch(b"/a", b"1", None), b"OK\0", [(Unwatch(b"/a", b"1"), 0)]),
    (Watch(b"/a", b"1", 3), b"OK\0", [(Unwatch(b"/a", b"1"), 0)]),
]


class TestAbandoned:
    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    def test_what_it_set_up_is_taken_back(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]]
    ) -> None:
        """A watch at once, since the daemon handles the two in order; a transaction when its id arrives."""
        session = Session()
        exchange = send(session, request_)
        flush(session)
        session.abandon(exchange)
        at_once = sent_requests(session)
        assert at_once == (undone if isinstance(request_, Watch) else [])
        session.receive_data(encode(request_.type, exchange.first, reply))
        assert at_once + sent_requests(session) == undone

    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    @pytest.mark.parametrize("joined", [True, False])
    def test_what_was_not_sent_is_not_sent(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]], joined: bool
    ) -> None:
        session = Session(joined)
        before, exchange, after = send(session, READ_A), send(session, request_, request_), send(session, READ_B)
        session.abandon(exchange)
        assert sent_requests(session) == [(READ_A, 0), (READ_B, 0)]
        session.receive_data(encode(READ, after.first, b"b") + encode(READ, before.first, b"a"))
        assert (before.replies, after.replies) == ([b"a"], [b"b"])
        assert flush(session) == b""

    @pytest.mark.parametrize("request_", [Watch(b"/a", b"1", None), READ_A])
    def test_half_a_message_is_sent_to_its_end(self, request_: Request[Any]) -> None:
        session = Session()
        exchange = send(session, request_)
        data = session.data_to_send()
        assert data is not None
        session.data_sent(5)
        session.abandon(exchange)
        sent = [parse_request(packet.type, packet.payload) for packet in split(bytes(data[:5]) + flush(session))]
        assert sent[0] == request_
        assert sent[1:] == ([Unwatch(b"/a", b"1")] if isinstance(request_, Watch) else [])

    def test_what_the_device_has_in_part_goes_on(self) -> None:
        """Part of it has been sent, so the rest is too, and the replies are dropped."""
        session = Session(joined=False)
        exchange = send(session, READ_A, TransactionStart())
        data = session.data_to_send()
        assert data is not None
        session.data_sent(len(data))
        session.abandon(exchange)
        assert sent_requests(session) == [(TransactionStart(), 0)]
        session.receive_data(encode(READ, exchange.first, b"value") + encode(START, exchange.first + 1, b"9\0"))
        assert sent_requests(session) == [(TransactionEnd(commit=False), 9)]

    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    def test_where_the_reply_was_faster(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]]
    ) -> None:
        """The exchange is complete, so undoing it is up to the caller."""
        session = Session()
        exchange = send(session, request_)
        flush(session)
        session.receive_data(encode(request_.type, exchange.first, reply))
        session.abandon(exchange)
        assert sent_requests(session) == []

    @pytest.mark.parametrize("type", [ERROR, 99])
    def test_a_transaction_that_was_refused_is_not_taken_back(self, type: int) -> None:
        session = Session()
        exchange = send(session, TransactionStart())
        flush(session)
        session.abandon(exchange)
        session.receive_data(encode(type, exchange.first, b"EBUSY\0"))
        assert sent_requests(session) == []

    @pytest.mark.parametrize("answer", [(END, b"OK\0"), (ERROR, b"ENOENT\0"), (99, b"")])
    def test_nobody_waits_for_that_either(self, answer: tuple[int, bytes]) -> None:
        session = Session()
        exchange = send(session, TransactionStart())
        flush(session)
        session.abandon(exchange)
        session.receive_data(encode(START, exchange.first, b"9\0"))
        (ending,) = split(flush(session))
        session.receive_data(encode(answer[0], ending.req_id, answer[1]))
        assert flush(session) == b""
        after = send(session, READ_A)
        session.receive_data(encode(READ, after.first, b"value"))
        assert after.replies == [b"value"]

    @pytest.mark.parametrize(
        ("request_", "reply"), [(TransactionStart(), b"x\0"), (TransactionStart(), b""), (GetPermissions(b"/"), b"x")]
    )
    def test_a_malformed_reply_harms_nobody(self, request_: Request[Any], reply: bytes) -> None:
        session = Session()
        exchange, other = send(session, request_), send(session, READ_A)
        flush(session)
        session.abandon(exchange)
        session.receive_data(encode(request_.type, exchange.first, reply) + encode(READ, other.first, b"value"))
        assert other.replies == [b"value"]
        assert sent_requests(session) == []

    def test_others_are_not(self) -> None:
        session = Session()
        kept, abandoned = send(session, TransactionStart()), send(session, TransactionStart())
        flush(session)
        session.abandon(abandoned)
        session.receive_data(encode(START, abandoned.first, b"9\0") + encode(START, kept.first, b"10\0"))
        assert kept.replies == [b"10\0"]
        assert sent_requests(session) == [(TransactionEnd(commit=False), 9)]

    def test_twice_is_once(self) -> None:
        session = Session()
        exchange = send(session, Watch(b"/a", b"1", None))
        flush(session)
        session.abandon(exchange)
        session.abandon(exchange)
        assert sent_requests(session) == [(Unwatch(b"/a", b"1"), 0)]


class TestOlderKernels:
    """They serve WATCH and UNWATCH themselves, and answer with a req_id of 0."""

    @pytest.mark.parametrize("request_", [Watch(b"/a", b"1", None), Unwatch(b"/a", b"1")])
    def test_a_reply_of_id_0(self, request_: Request[None]) -> None:
        session = Session()
        before, exchange, after = send(session, READ_A), send(session, request_), send(session, READ_B)
        session.receive_data(encode(request_.type, 0, b"OK\0"))
        assert [e.missing for e in (before, exchange, after)] == [1, 0, 1]
        assert exchange.replies == [b"OK\0"]

    def test_each_finds_the_oldest_of_its_type(self) -> None:
        session = Session()
        exchange = send(session, Watch(b"/a", b"1", None), Unwatch(b"/a", b"0"), Watch(b"/a", b"2", None))
        session.receive_data(encode(WATCH, 0, b"1"))
        assert exchange.replies == [b"1", None, None]
        session.receive_data(encode(WATCH, 0, b"2"))
        assert exchange.replies == [b"1", None, b"2"]
        session.receive_data(encode(UNWATCH, 0, b"3"))
        assert exchange.replies == [b"1", b"3", b"2"]

    @pytest.mark.parametrize("type", [WATCH, UNWATCH])
    def test_a_reply_of_another_id_belongs_to_none_of_them(self, type: int) -> None:
        session = Session()
        exchange = send(session, Watch(b"/a", b"1", None), Unwatch(b"/a", b"0"))
        session.receive_data(encode(type, 77, b"OK\0"))
        assert exchange.missing == 2

    def test_a_reply_of_id_0_to_nothing(self) -> None:
        session = Session()
        exchange = send(session, READ_A)
        session.receive_data(encode(WATCH, 0, b"OK\0") + encode(UNWATCH, 0, b"OK\0"))
        assert exchange.missing


class TestRenumbered:
    """Linux 4.11 to 4.15 gives replies on /dev/xen/xenbus its own ids, counted from 1."""

    def test_they_are_suspects_until_they_are_accepted(self) -> None:
        session = Session(joined=False)
        exchange = send(session, READ_A)
        session.receive_data(encode(READ, 1, b"value"))
        assert exchange.missing
        assert session.suspects
        session.accept_suspects()
        assert exchange.replies == [b"value"]
        assert session.suspects == []

    def test_from_then_on_each_is_taken_at_once(self) -> None:
        session = Session(joined=False)
        send(session, READ_A)
        session.receive_data(encode(READ, 1, b"value"))
        session.accept_suspects()
        for number in range(2, 10):
            exchange = send(session, READ_A)
            session.receive_data(encode(READ, number, b"%d" % number))
            assert exchange.replies == [b"%d" % number]

    def test_in_the_order_of_the_requests(self) -> None:
        session = Session(joined=False)
        first, second = send(session, READ_A, READ_B), send(session, Read(b"/c"))
        session.receive_data(encode(READ, 1, b"a") + encode(ERROR, 2, b"ENOENT\0"))
        session.accept_suspects()
        assert (first.replies, second.missing) == ([b"a", (ERROR, b"ENOENT\0")], 1)
        session.receive_data(encode(READ, 3, b"c"))
        assert second.replies == [b"c"]

    def test_nonsense_of_a_daemon_is_not_taken_for_that(self) -> None:
        """The reply with the request's id arrives too."""
        session = Session()
        exchange = send(session, READ_A)
        session.receive_data(encode(READ, 7, b"nonsense"))
        session.receive_data(encode(READ, exchange.first, b"value"))
        assert exchange.replies == [b"value"]
        assert session.suspects == []
        later = send(session, READ_A)
        session.receive_data(encode(READ, 8, b"nonsense"))
        assert session.suspects == []
        assert later.missing

    def test_an_abandoned_transaction_is_taken_back(self) -> None:
        session = Session(joined=False)
        exchange = send(session, TransactionStart())
        flush(session)
        session.abandon(exchange)
        session.receive_data(encode(START, 1, b"9\0"))
        session.accept_suspects()
        assert sent_requests(session) == [(TransactionEnd(commit=False), 9)]

    def test_nonsense_without_end_is_bounded(self) -> None:
        session = Session()
        send(session, READ_A)
        for number in range(3000):
            session.receive_data(encode(READ, number % 100 + 1, b"nonsense"))
        assert len(session.suspects) < 2000


class TestRefused:
    """A request that the kernel rejects: its write fails, while the next one's may succeed."""

    def test_it_gets_the_error_and_the_next_one_goes(self) -> None:
        session = Session(joined=False)
        refusal = InvalidArgumentError(errno.EINVAL, "no")
        exchange = send(session, READ_A, READ_B, Read(b"/c"))
        data = session.data_to_send()
        assert data is not None
        session.data_sent(len(data))
        session.refuse(refusal)
        assert exchange.replies == [None, refusal, None]
        with pytest.raises(InvalidArgumentError, match="no"):
            reply_of(READ_B, exchange.replies[1])
        assert [packet.req_id for packet in split(flush(session))] == [exchange.first + 2]
        session.receive_data(encode(READ, exchange.first + 2, b"3") + encode(READ, exchange.first, b"1"))
        assert exchange.replies == [b"1", refusal, b"3"]

    def test_several_in_a_row(self) -> None:
        session = Session(joined=False)
        exchanges = [send(session, READ_A) for _ in range(3)]
        for number in range(3):
            session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
            assert [exchange.missing for exchange in exchanges] == [int(n > number) for n in range(3)]
        assert session.data_to_send() is None
        after = send(session, READ_B)
        assert [packet.req_id for packet in split(flush(session))] == [after.first]

    def test_one_that_nobody_waits_for(self) -> None:
        session = Session(joined=False)
        refused, last = send(session, READ_A, TransactionStart()), send(session, READ_B)
        data = session.data_to_send()
        assert data is not None
        session.data_sent(len(data))
        session.abandon(refused)
        session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
        assert [packet.req_id for packet in split(flush(session))] == [last.first]


class TestQueues:
    def test_an_event_goes_where_its_token_says(self) -> None:
        session = Session()
        queues = {prefix: session.queues.open(prefix) for prefix in ("", "wait:", "dump:1:")}
        for queue in queues.values():
            session.receive_data(event(f"/{queue.prefix}", queue.new_token().decode()))
        for prefix, queue in queues.items():
            assert [event.path for event in queue.events] == [f"/{prefix}"]

    def test_no_token_is_given_twice(self) -> None:
        queues = EventQueues()
        tokens = []
        for prefix in ("", "a:", "b:", "a:"):
            queue = queues.open(prefix)
            tokens += [queue.new_token() for _ in range(20)]
            queues.close(queue)
        assert len(set(tokens)) == len(tokens)
        assert len({token.rpartition(b":")[2] for token in tokens}) == len(tokens)

    @pytest.mark.parametrize("prefix", ["a", "a:b", ":a"])
    def test_a_prefix_ends_with_a_colon(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="a prefix must end with a colon"):
            EventQueues().open(prefix)

    @pytest.mark.parametrize("prefix", ["", "a:"])
    def test_of_two_with_the_same_prefix_the_later_has_what_comes(self, prefix: str) -> None:
        session = Session()
        first, second = session.queues.open(prefix), session.queues.open(prefix)
        for queue in (first, second):
            session.receive_data(event("/a", queue.new_token().decode()))
        assert [len(queue.events) for queue in (first, second)] == [0, 2]

    def test_what_comes_for_a_closed_queue_is_dropped(self) -> None:
        session = Session()
        queue = session.queues.open("dump:1:")
        data = event("/a", queue.new_token().decode())
        session.receive_data(data)
        session.queues.close(queue)
        assert not queue.events
        for _ in range(2 * STRANGE_EVENTS_MAX):  # it does not count as one that nobody asked for
            session.receive_data(data)
        assert not queue.events
        anew = session.queues.open("dump:1:")
        session.receive_data(data)
        assert len(anew.events) == 1

    def test_closing_again_does_nothing(self) -> None:
        queues = EventQueues()
        old = queues.open("")
        queues.close(old)
        new = queues.open("")
        queues.close(old)
        assert list(queues) == [new]

    @pytest.mark.parametrize(
        ("payload", "path"),
        [
            (b"/a\0%s\0", "/a"),
            (b"@releaseDomain\0%s\0", "@releaseDomain"),
            (b"/a\0%s", "/a"),
            (b"/a\0%s\0more\0", "/a"),
            (b"/\xff\0%s\0", "/\udcff"),
            (b"\0%s\0", ""),
        ],
    )
    def test_payloads(self, payload: bytes, path: str) -> None:
        session = Session()
        queue = session.queues.open("")
        token = queue.new_token()
        session.receive_data(encode(EVENT, 0, payload % token))
        assert list(queue.events) == [WatchEvent(path, token.decode())]

    @pytest.mark.parametrize(("req_id", "tx_id"), [(1, 0), (1, 1), (0xFFFFFFFF, 0xFFFFFFFF), (0, 99)])
    def test_a_header_of_garbage(self, req_id: int, tx_id: int) -> None:
        """Older kernels only set the type and length in an event's header."""
        session = Session()
        queue = session.queues.open("")
        exchange = send(session, READ_A)
        for id in (req_id, exchange.first):
            session.receive_data(encode(EVENT, id, b"/a\0%s\0" % queue.new_token(), tx_id))
        assert len(queue.events) == 2
        assert exchange.missing


# Payloads with tokens that were never created, while the first two were.
STRANGE = [
    b"/a\0token\0", b"/a\0\0", b"/a\0", b"/a", b"", b"/a\x003\0", b"/a\x000\0", b"/a\x0001\0", b"/a\0-1\0",
    b"/a\0+1\0", b"/a\x00 1\0", b"/a\x000x1\0", b"/a\0wait:\0", b"/a\0wait:3\0", b"/a\0\xff\0",
    b"/a\0" + b"1" * 5000 + b"\0",
]  # fmt: skip


class TestStrangeEvents:
    """Events of watches that nobody has set. A real daemon sends none, so one that sends many is not a real daemon."""

    @pytest.fixture
    def session(self) -> Session:
        return Session()

    @pytest.fixture
    def queues(self, session: Session) -> list[EventQueue]:
        queues = [session.queues.open(prefix) for prefix in ("", "wait:")]
        for queue in queues:
            queue.new_token()
        return queues

    @pytest.mark.parametrize("payload", STRANGE, ids=lambda payload: repr(payload[:20]))
    def test_they_are_dropped(self, session: Session, queues: list[EventQueue], payload: bytes) -> None:
        exchange = send(session, READ_A)
        session.receive_data(encode(EVENT, 0, payload))
        assert [len(queue.events) for queue in queues] == [0, 0]
        session.receive_data(encode(READ, exchange.first, b"value"))
        assert exchange.replies == [b"value"]

    @pytest.mark.parametrize("payload", STRANGE, ids=lambda payload: repr(payload[:20]))
    def test_many_are_a_protocol_error(self, session: Session, queues: list[EventQueue], payload: bytes) -> None:
        data = encode(EVENT, 0, payload)
        session.receive_data(data * (STRANGE_EVENTS_MAX - 1))
        with pytest.raises(ProtocolError, match="of an unknown watch"):
            session.receive_data(data)

    def test_a_thousand_in_the_whole_life_of_a_connection(self, session: Session, queues: list[EventQueue]) -> None:
        for _ in range(STRANGE_EVENTS_MAX - 1):
            session.receive_data(event("/a", "strange") + event("/a", "1"))
        assert len(queues[0].events) == STRANGE_EVENTS_MAX - 1
        with pytest.raises(ProtocolError):
            session.receive_data(event("/a", "strange"))
