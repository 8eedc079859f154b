"""The client's end of a connection: replies find their requests, and events are kept."""

from __future__ import annotations

import errno
import itertools
import struct
from functools import partial
from typing import Any

import pytest

from xsffi.errors import (
    ConnectionLostError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    ProtocolError,
    QuotaExceededError,
    TooBigError,
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
from xsffi.protocol.session import Pending, Session
from xsffi.protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, Packet
from xsffi.records import WatchEvent

from .messages import END, ERROR, EVENT, READ, START, UNWATCH, WATCH, encode, event, split


def flush(session: Session, size: int | None = None) -> bytes:
    """Send all there is, at most `size` bytes at a time; what was sent."""
    stream = b""
    while (data := session.data_to_send()) is not None:
        stream += bytes(data[:size])
        session.sent.append(len(data[:size]))
    return stream


def sent_requests(session: Session) -> list[tuple[Request[Any] | None, int]]:
    """Send all there is; what a server reads, each with its tx_id."""
    return [(parse_request(packet.type, packet.payload), packet.tx_id) for packet in split(flush(session))]


class TestReplies:
    def test_one(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"), 7)
        assert split(flush(session)) == [Packet(READ, pending.req_id, 7, b"/a\0")]
        assert not pending.done
        assert not pending.is_done()
        session.receive_data(encode(READ, pending.req_id, b"value"))
        assert pending.done
        assert pending.is_done()
        assert pending.result() == b"value"
        assert pending.result() == b"value"

    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    def test_in_any_order(self, order: tuple[int, ...]) -> None:
        session = Session()
        pending = [session.send(Read(b"/%d" % number)) for number in range(4)]
        for place, number in enumerate(order):
            session.receive_data(encode(READ, pending[number].req_id, b"%d" % number))
            assert [p.done for p in pending] == [n in order[: place + 1] for n in range(4)]
        assert [p.result() for p in pending] == [b"0", b"1", b"2", b"3"]

    def test_all_in_one_piece_with_events_in_between(self) -> None:
        session = Session()
        first, second = session.send(Read(b"/a")), session.send(Read(b"/b"))
        session.receive_data(
            event("/1")
            + encode(READ, second.req_id, b"second")
            + event("/2")
            + event("/3")
            + encode(READ, first.req_id, b"first")
            + event("/4")
        )
        assert (first.result(), second.result()) == (b"first", b"second")
        assert list(session.events) == [WatchEvent(f"/{number}", "token") for number in range(1, 5)]

    def test_byte_by_byte(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        data = event("/1") + encode(READ, pending.req_id, b"value")
        for byte in data[:-1]:
            session.receive_data(bytes([byte]))
            assert not pending.done
        session.receive_data(data[-1:])
        assert pending.result() == b"value"
        assert list(session.events) == [WatchEvent("/1", "token")]

    def test_a_transport_may_append_by_itself(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.incoming += [encode(READ, pending.req_id, b"value")[:9], encode(READ, pending.req_id, b"value")[9:]]
        assert not pending.done
        session.process()
        assert pending.result() == b"value"

    @pytest.mark.parametrize("type", [READ, WATCH, UNWATCH, START, ERROR, 99])
    @pytest.mark.parametrize("req_id", [2, 77, 0xFFFFFFFF])
    def test_one_that_nobody_waits_for_is_dropped(self, type: int, req_id: int) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(type, req_id, b"ENOENT\0"))
        assert not pending.done
        session.receive_data(encode(READ, pending.req_id, b"value"))
        assert pending.result() == b"value"
        assert not session.events

    def test_the_second_to_the_same_request_is_dropped(self) -> None:
        session = Session()
        first, second = session.send(Read(b"/a")), session.send(Read(b"/b"))
        session.receive_data(encode(READ, first.req_id, b"one") + encode(READ, first.req_id, b"two"))
        assert first.result() == b"one"
        assert not second.done

    def test_one_of_id_0_belongs_to_no_request(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(READ, 0, b"value") + encode(ERROR, 0, b"ENOENT\0"))
        assert not pending.done

    def test_longer_than_a_request_may_be(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(READ, pending.req_id, b"v" * 100_000))
        assert pending.result() == b"v" * 100_000

    def test_whoever_waits_is_woken_once_it_is_there(self) -> None:
        session = Session()
        woken: list[bool] = []
        pending = session.send(Read(b"/a"))
        pending.wake = lambda: woken.append(pending.done)
        session.receive_data(event("/1"))
        assert woken == []
        session.receive_data(encode(READ, pending.req_id, b"value"))
        assert woken == [True]

    @pytest.mark.parametrize(
        ("data", "rule"),
        [(struct.pack("=IIII", READ, 1, 0, 1 << 25), "claims 33554432 bytes"), (b"\xff" * 16, "claims 4294967295")],
    )
    def test_a_stream_that_is_none(self, data: bytes, rule: str) -> None:
        session = Session()
        session.send(Read(b"/a"))
        with pytest.raises(ProtocolError, match=rule):
            session.receive_data(event("/1") + data)
        with pytest.raises(ProtocolError, match=rule):
            session.process()
        assert list(session.events) == [WatchEvent("/1", "token")]


class TestEvents:
    @pytest.mark.parametrize(
        ("payload", "path", "token"),
        [
            (b"/a\0token\0", "/a", "token"),
            (b"/a\0\0", "/a", ""),
            (b"@releaseDomain\0token\0", "@releaseDomain", "token"),
            (b"/a\0token", "/a", "token"),
            (b"/a\0token\0more\0", "/a", "token"),
            (b"/a\0", "/a", ""),  # libxenstore aborts the process here
            (b"/a", "/a", ""),
            (b"", "", ""),
            (b"/\xff\0\xff\0", "/\udcff", "\udcff"),
            (b"/a\0" + b"t" * 5000 + b"\0", "/a", "t" * 5000),
        ],
    )
    def test_payloads(self, payload: bytes, path: str, token: str) -> None:
        session = Session()
        session.receive_data(encode(EVENT, 0, payload))
        assert list(session.events) == [WatchEvent(path, token)]

    @pytest.mark.parametrize(("req_id", "tx_id"), [(1, 0), (1, 1), (0xFFFFFFFF, 0xFFFFFFFF), (0, 99)])
    def test_a_header_of_garbage(self, req_id: int, tx_id: int) -> None:
        """Older kernels leave all of an event's header unset but its type and length."""
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(EVENT, req_id, b"/a\0token\0", tx_id))
        assert list(session.events) == [WatchEvent("/a", "token")]
        assert not pending.done
        session.receive_data(encode(READ, pending.req_id, b"value"))
        assert pending.result() == b"value"


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
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(ERROR, pending.req_id, name.encode() + end))
        for _ in range(2):
            with pytest.raises(XenStoreError) as caught:
                pending.result()
            assert type(caught.value) is error
            assert (caught.value.errno, caught.value.filename, caught.value.wire_name) == (number, "/a", name)

    def test_a_request_without_a_path(self) -> None:
        session = Session()
        pending = session.send(Control([b"help"]))
        session.receive_data(encode(ERROR, pending.req_id, b"EACCES\0"))
        with pytest.raises(PermissionError) as caught:
            pending.result()
        assert caught.value.filename is None

    def test_an_operation_that_the_daemon_does_not_know(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(ERROR, pending.req_id, b"ENOSYS\0"))
        with pytest.raises(NotSupportedError, match="the daemon knows no READ"):
            pending.result()

    def test_a_name_that_is_no_utf8(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(ERROR, pending.req_id, b"\xff\0"))
        with pytest.raises(XenStoreError) as caught:
            pending.result()
        assert caught.value.wire_name == "\udcff"

    @pytest.mark.parametrize("type", [0, 3, 11, 20, 99, 0xFFFFFFFF])
    def test_a_reply_of_the_wrong_type(self, type: int) -> None:
        session = Session()
        pending, other = session.send(Read(b"/a")), session.send(Read(b"/b"))
        session.receive_data(encode(type, pending.req_id, b"value") + encode(READ, other.req_id, b"value"))
        with pytest.raises(ProtocolError, match=f"a reply of type {type} came to a request of type 2") as caught:
            pending.result()
        assert (caught.value.errno, caught.value.filename) == (errno.EPROTO, "/a")
        assert other.result() == b"value"

    def test_a_malformed_reply_harms_only_its_request(self) -> None:
        session = Session()
        pending, other = session.send(GetPermissions(b"/a")), session.send(Read(b"/b"))
        session.receive_data(encode(3, pending.req_id, b"x0\0") + encode(READ, other.req_id, b"value"))
        with pytest.raises(ProtocolError):
            pending.result()
        assert other.result() == b"value"


class TestSending:
    def test_nothing(self) -> None:
        assert Session().data_to_send() is None

    @pytest.mark.parametrize("size", [1, 3, 15, 16, 17, 20, 1000, None])
    def test_in_parts(self, size: int | None) -> None:
        session = Session()
        requests: list[Request[Any]] = [Read(b"/a"), Write(b"/b", b"v" * 100), TransactionStart(), Read(b"/c")]
        for request in requests[:2]:
            session.send(request)
        stream = flush(session, size)
        for request in requests[2:]:
            session.send(request)
        stream += flush(session, size)
        assert [parse_request(packet.type, packet.payload) for packet in split(stream)] == requests

    @pytest.mark.parametrize("place", range(40))
    def test_a_request_that_comes_while_another_is_half_sent(self, place: int) -> None:
        session = Session()
        session.send(Read(b"/a"))
        session.send(Read(b"/b"))
        stream = b""
        while len(stream) < place and (data := session.data_to_send()) is not None:
            data = data[: place - len(stream)]
            stream += bytes(data)
            session.sent.append(len(data))
        session.send(Read(b"/c"))
        stream += flush(session)
        assert [packet.payload for packet in split(stream)] == [b"/a\0", b"/b\0", b"/c\0"]

    def test_what_was_sent_may_be_told_in_pieces(self) -> None:
        session = Session()
        session.send(Read(b"/a"))
        data = session.data_to_send()
        assert data is not None
        session.sent.append(3)
        session.sent.append(0)
        session.sent += [4, 5]
        rest = session.data_to_send()
        assert rest is not None
        assert bytes(rest) == bytes(data)[12:]

    def test_what_was_not_sent_is_given_again(self) -> None:
        session = Session()
        session.send(Read(b"/a"))
        assert session.data_to_send() == session.data_to_send()

    def test_never_two_messages_at_once(self) -> None:
        """The kernel's device takes one message a write."""
        session = Session()
        for number in range(3):
            session.send(Read(b"/%d" % number))
        for number in range(3):
            data = session.data_to_send()
            assert data is not None
            assert [packet.payload for packet in split(bytes(data))] == [b"/%d\0" % number]
            session.sent.append(len(data))
        assert session.data_to_send() is None

    @pytest.mark.parametrize("limit", [PAYLOAD_MAX, DEVICE_PAYLOAD_MAX])
    def test_a_request_that_is_too_long(self, limit: int) -> None:
        session = Session(limit)
        before = session.send(Read(b"/a"))
        with pytest.raises(TooBigError, match=f"at most {limit} bytes.*this one has {limit + 1}") as caught:
            session.send(Write(b"/a", b"v" * (limit - 2)))
        assert caught.value.errno == errno.E2BIG
        after = session.send(Write(b"/a", b"v" * (limit - 3)))
        assert [(packet.req_id, len(packet.payload)) for packet in split(flush(session))] == [
            (before.req_id, 3),
            (after.req_id, limit),
        ]
        session.receive_data(encode(11, after.req_id, b"OK\0") + encode(READ, before.req_id, b"value"))
        assert before.result() == b"value"
        after.result()


class TestIds:
    def test_none_is_used_twice(self) -> None:
        session = Session()
        ids = [session.send(Read(b"/a")).req_id for _ in range(1000)]
        assert len(set(ids)) == 1000
        assert 0 not in ids

    def test_the_end_of_32_bits(self) -> None:
        session = Session()
        session._last_id = 0xFFFFFFFD
        ids = [session.send(Read(b"/a")).req_id for _ in range(4)]
        assert ids == [0xFFFFFFFE, 0xFFFFFFFF, 1, 2]
        assert [packet.req_id for packet in split(flush(session))] == ids

    def test_one_that_is_waited_for_is_not_given_again(self) -> None:
        session = Session()
        kept = [session.send(Read(b"/%d" % number)) for number in (1, 2, 3)]
        session.receive_data(encode(READ, kept[1].req_id, b"two"))
        session._last_id = 0xFFFFFFFF
        new = [session.send(Read(b"/new")) for _ in range(2)]
        assert [pending.req_id for pending in new] == [2, 4]
        session.receive_data(encode(READ, 1, b"one") + encode(READ, 2, b"new"))
        assert (kept[0].result(), new[0].result()) == (b"one", b"new")
        assert not kept[2].done

    def test_one_of_an_abandoned_request_is_not_given_again(self) -> None:
        session = Session()
        session.abandon(session.send(Read(b"/late")))
        session._last_id = 0xFFFFFFFF
        new = session.send(Read(b"/new"))
        session.receive_data(encode(READ, 1, b"late"))
        assert not new.done
        session.receive_data(encode(READ, new.req_id, b"new"))
        assert new.result() == b"new"


ABANDONED: list[tuple[Request[Any], bytes, list[tuple[Request[Any], int]]]] = [
    (Read(b"/a"), b"value", []),
    (Write(b"/a", b"value"), b"OK\0", []),
    (TransactionEnd(commit=True), b"OK\0", []),
    (Unwatch(b"/a", b"token"), b"OK\0", []),
    (TransactionStart(), b"9\0", [(TransactionEnd(commit=False), 9)]),
    (Watch(b"/a", b"token", None), b"OK\0", [(Unwatch(b"/a", b"token"), 0)]),
    (Watch(b"/a", b"token", 3), b"OK\0", [(Unwatch(b"/a", b"token"), 0)]),
]


class TestAbandoned:
    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    def test_what_it_set_up_is_undone_when_the_reply_comes(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]]
    ) -> None:
        session = Session()
        pending = session.send(request_)
        flush(session)
        session.abandon(pending)
        assert sent_requests(session) == []
        session.receive_data(encode(request_.type, pending.req_id, reply))
        assert sent_requests(session) == undone

    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    def test_also_where_it_was_not_sent_yet(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]]
    ) -> None:
        session = Session()
        pending = session.send(request_)
        session.abandon(pending)
        assert sent_requests(session) == [(request_, 0)]
        session.receive_data(encode(request_.type, pending.req_id, reply))
        assert sent_requests(session) == undone

    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    def test_also_where_the_reply_was_faster(
        self, request_: Request[Any], reply: bytes, undone: list[tuple[Request[Any], int]]
    ) -> None:
        """Ctrl-C may come after the reply and before the caller has seen it."""
        session = Session()
        pending = session.send(request_)
        flush(session)
        session.receive_data(encode(request_.type, pending.req_id, reply))
        session.abandon(pending)
        session.process()
        assert sent_requests(session) == undone

    @pytest.mark.parametrize(("request_", "reply", "undone"), ABANDONED)
    @pytest.mark.parametrize("type", [ERROR, 99])
    def test_what_was_refused_is_not_undone(self, request_: Request[Any], reply: bytes, undone: Any, type: int) -> None:
        session = Session()
        pending = session.send(request_)
        flush(session)
        session.abandon(pending)
        session.receive_data(encode(type, pending.req_id, b"EBUSY\0"))
        assert sent_requests(session) == []

    @pytest.mark.parametrize("answer", [(END, b"OK\0"), (ERROR, b"ENOENT\0"), (99, b"")])
    def test_nobody_waits_for_the_undoing_either(self, answer: tuple[int, bytes]) -> None:
        session = Session()
        session.abandon(session.send(TransactionStart()))
        session.receive_data(encode(START, 1, b"9\0"))
        undoing = split(flush(session))[-1]
        session.receive_data(encode(answer[0], undoing.req_id, answer[1]))
        assert flush(session) == b""
        after = session.send(Read(b"/a"))
        session.receive_data(encode(READ, after.req_id, b"value"))
        assert after.result() == b"value"

    @pytest.mark.parametrize(
        ("request_", "reply"), [(TransactionStart(), b"x\0"), (TransactionStart(), b""), (GetPermissions(b"/"), b"x")]
    )
    def test_a_malformed_reply_harms_nobody(self, request_: Request[Any], reply: bytes) -> None:
        session = Session()
        pending, other = session.send(request_), session.send(Read(b"/a"))
        session.abandon(pending)
        session.receive_data(encode(request_.type, pending.req_id, reply) + encode(READ, other.req_id, b"value"))
        assert other.result() == b"value"
        assert sent_requests(session)[2:] == []

    def test_others_are_not(self) -> None:
        session = Session()
        kept, abandoned = session.send(TransactionStart()), session.send(TransactionStart())
        flush(session)
        session.abandon(abandoned)
        session.receive_data(encode(START, abandoned.req_id, b"9\0") + encode(START, kept.req_id, b"10\0"))
        assert kept.result() == 10
        assert sent_requests(session) == [(TransactionEnd(commit=False), 9)]


class TestOlderKernels:
    """They serve WATCH and UNWATCH themselves, and answer with a req_id of 0."""

    @pytest.mark.parametrize("request_", [Watch(b"/a", b"token", None), Unwatch(b"/a", b"token")])
    def test_a_reply_of_id_0(self, request_: Request[None]) -> None:
        session = Session()
        before, pending, after = session.send(Read(b"/a")), session.send(request_), session.send(Read(b"/b"))
        session.receive_data(encode(request_.type, 0, b"OK\0"))
        assert [p.done for p in (before, pending, after)] == [False, True, False]
        pending.result()

    def test_each_finds_the_oldest_of_its_type(self) -> None:
        session = Session()
        first = session.send(Watch(b"/a", b"1", None))
        unwatch = session.send(Unwatch(b"/a", b"0"))
        second = session.send(Watch(b"/a", b"2", None))
        session.receive_data(encode(WATCH, 0, b"OK\0"))
        assert [first.done, unwatch.done, second.done] == [True, False, False]
        session.receive_data(encode(WATCH, 0, b"OK\0"))
        assert [first.done, unwatch.done, second.done] == [True, False, True]
        session.receive_data(encode(UNWATCH, 0, b"OK\0"))
        assert unwatch.done

    def test_an_abandoned_watch_is_undone_too(self) -> None:
        session = Session()
        session.abandon(session.send(Watch(b"/a", b"token", None)))
        flush(session)
        session.receive_data(encode(WATCH, 0, b"OK\0"))
        assert sent_requests(session) == [(Unwatch(b"/a", b"token"), 0)]

    @pytest.mark.parametrize("type", [WATCH, UNWATCH])
    def test_a_reply_of_another_id_belongs_to_none_of_them(self, type: int) -> None:
        session = Session()
        watch, unwatch = session.send(Watch(b"/a", b"1", None)), session.send(Unwatch(b"/a", b"0"))
        session.receive_data(encode(type, 77, b"OK\0"))
        assert [watch.done, unwatch.done] == [False, False]

    def test_a_reply_of_id_0_to_nothing(self) -> None:
        session = Session()
        pending = session.send(Read(b"/a"))
        session.receive_data(encode(WATCH, 0, b"OK\0") + encode(UNWATCH, 0, b"OK\0"))
        assert not pending.done


class TestTheEnd:
    def test_every_request_that_waits_gets_an_error_of_its_own(self) -> None:
        session = Session()
        done = session.send(Read(b"/done"))
        pending = [session.send(Read(b"/a")) for _ in range(3)]
        session.abandon(session.send(TransactionStart()))
        woken: list[Pending[bytes]] = []
        for p in pending:
            p.wake = partial(woken.append, p)
        session.receive_data(encode(READ, done.req_id, b"value"))
        session.fail(lambda: ConnectionLostError(errno.ECONNRESET, "lost"))
        errors = []
        for p in pending:
            assert p.done
            with pytest.raises(ConnectionLostError, match="lost") as caught:
                p.result()
            errors.append(caught.value)
        assert len(set(map(id, errors))) == 3
        assert woken == pending
        assert done.result() == b"value"

    def test_with_nothing_on_its_way(self) -> None:
        Session().fail(lambda: pytest.fail("nobody waits"))


class TestRefused:
    """A request that the kernel does not take: its write fails, and the next one may not."""

    def test_it_gets_the_error_and_the_next_one_goes(self) -> None:
        session = Session()
        first, refused, last = (session.send(Read(path)) for path in (b"/1", b"/2", b"/3"))
        data = session.data_to_send()
        assert data is not None
        session.sent.append(len(data))
        assert session.data_to_send() is not None
        session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
        assert [p.done for p in (first, refused, last)] == [False, True, False]
        with pytest.raises(InvalidArgumentError, match="no"):
            refused.result()
        assert [packet.req_id for packet in split(flush(session))] == [last.req_id]
        session.receive_data(encode(READ, last.req_id, b"3") + encode(READ, first.req_id, b"1"))
        assert (first.result(), last.result()) == (b"1", b"3")

    def test_several_in_a_row(self) -> None:
        session = Session()
        pending = [session.send(Read(b"/a")) for _ in range(3)]
        for number in range(3):
            assert session.data_to_send() is not None
            session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
            assert [p.done for p in pending] == [n <= number for n in range(3)]
        assert session.data_to_send() is None
        after = session.send(Read(b"/b"))
        assert [packet.req_id for packet in split(flush(session))] == [after.req_id]

    def test_one_that_nobody_waits_for(self) -> None:
        session = Session()
        refused, last = session.send(TransactionStart()), session.send(Read(b"/a"))
        session.abandon(refused)
        assert session.data_to_send() is not None
        session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
        assert [packet.req_id for packet in split(flush(session))] == [last.req_id]

    def test_whoever_waits_is_woken(self) -> None:
        session = Session()
        woken: list[bool] = []
        pending = session.send(Read(b"/a"))
        pending.wake = lambda: woken.append(pending.done)
        assert session.data_to_send() is not None
        session.refuse(InvalidArgumentError(errno.EINVAL, "no"))
        assert woken == [True]
