"""Requests and replies over a wire connection, in C and in Python: whatever arrives, and whenever."""

from __future__ import annotations

import itertools
import random
import threading
from functools import partial

import pytest
from harness.peer import REPLY_MAX, Link, MessageType, Packet, Peer, answer, header, reply_to, value_of
from harness.threads import Call, all_outcomes, until

from xsffi.errors import ConnectionLostError, ProtocolError, WaitTimeoutError

from .asking import SHORT, paths, patiently, read, values
from .conftest import Connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass


M = MessageType


LENGTHS = [0, 1, 4095, 4096, 65535, 131072 - 16, 131072 - 15, 131072, 300_000, REPLY_MAX]


def test_each_length(connect: Connect) -> None:
    def serve(link: Link) -> None:
        for length in LENGTHS:
            link.reply(link.request(), bytes(range(256)) * (length // 256) + b"x" * (length % 256))
            link.reply(link.request(), b"next")

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for length in LENGTHS:
            assert read(connection, "/a") == bytes(range(256)) * (length // 256) + b"x" * (length % 256)
            assert read(connection, "/b") == b"next"


@pytest.mark.parametrize("length", [REPLY_MAX + 1, 1 << 31, (1 << 32) - 1])
def test_a_length_beyond_any_bound(connect: Connect, length: int) -> None:
    def serve(link: Link) -> None:
        link.send(header(M.READ, link.request().request_id, length))

    with Peer(serve) as peer:
        connection = connect(peer.path)
        with pytest.raises(ProtocolError, match=str(length)):
            read(connection, "/a")
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="it was closed"):
                read(connection, "/a")


@pytest.mark.parametrize("piece", [1, 3, 15, 16, 17])
def test_in_pieces(connect: Connect, piece: int) -> None:
    def serve(link: Link) -> None:
        for _ in range(10):
            link.reply(link.request(), piece=piece)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for number in range(10):
            assert read(connection, f"/{number}") == value_of(b"/%d" % number)


def test_half_a_packet_and_the_rest_much_later(connect: Connect) -> None:
    resumed = threading.Semaphore(0)

    def serve(link: Link) -> None:
        for split in (1, 8, 16, 20):
            reply = reply_to(link.request())
            link.send(reply[:split])
            assert resumed.acquire(timeout=60)
            link.send(reply[split:])

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for number in range(4):
            call = Call(partial(read, connection, f"/{number}")).until_asleep()
            assert not call.is_over
            resumed.release()
            assert call.result() == value_of(b"/%d" % number)


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_replies_in_another_order(connect: Connect, order: str) -> None:
    def serve(link: Link) -> None:
        for _ in range(3):
            requests = link.requests(50)
            if order == "reverse":
                requests.reverse()
            else:
                random.Random(7).shuffle(requests)
            for request in requests:
                link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for _ in range(3):
            assert connection.replies(connection.send_many(paths(50))) == values(50)


def test_several_batches_on_their_way(connect: Connect) -> None:
    def serve(link: Link) -> None:
        requests = link.requests(101)
        for request in reversed(requests):
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        batches = [connection.send_many(paths(count)) for count in (0, 20, 1, 79)]
        single = Call(lambda: read(connection, "/single"))
        assert [connection.replies(batch) for batch in batches] == [values(count) for count in (0, 20, 1, 79)]
        assert single.result() == value_of(b"/single")


def test_errors_and_other_types_are_told(connect: Connect) -> None:
    def serve(link: Link) -> None:
        for type in (M.ERROR, M.WRITE, 99, (1 << 32) - 1):
            request = link.request()
            link.send(Packet(type, request.request_id, 0, b"ENOENT\0").encode())
        request, other = link.requests(2)
        link.send(Packet(M.ERROR, other.request_id, 0, b"").encode())
        link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for type in (M.ERROR, M.WRITE, 99, (1 << 32) - 1):
            assert read(connection, "/a") == (type, b"ENOENT\0")
        assert connection.replies(connection.send_many(paths(2))) == [value_of(b"/0"), (M.ERROR, b"")]


def test_replies_that_come_twice(connect: Connect) -> None:
    def serve(link: Link) -> None:
        for _ in range(20):
            request = link.request()
            link.send(reply_to(request) + reply_to(request, b"again"))
        link.reply(link.request())

    with Peer(serve) as peer:
        connection = connect(peer.path)
        assert connection.replies(connection.send_many(paths(20))) == values(20)
        assert read(connection, "/a") == value_of(b"/a")


def test_replies_that_nobody_asked_for(connect: Connect) -> None:
    """With ids that were never used, some of them before the first that was."""

    def serve(link: Link) -> None:
        for _ in range(20):
            request = link.request()
            for id in (0, 1, 7, request.request_id + 1, request.request_id + 1000, (1 << 32) - 1):
                link.send(Packet(M.READ, id, 0, b"nobody's").encode())
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for number in range(20):
            assert read(connection, f"/{number}") == value_of(b"/%d" % number)


def test_a_flood_of_replies_that_nobody_asked_for(connect: Connect) -> None:
    """It delays neither a reply nor a close."""
    other = Packet(M.READ, 5, 0, b"nobody's").encode() * 5000

    def serve(link: Link) -> None:
        link.reply(link.request())
        request = link.request()
        link.send(other * 20)
        link.reply(request)
        while True:
            link.send(other)

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        assert patiently(lambda: read(connection, "/a")) == value_of(b"/a")
        try:
            assert read(connection, "/b") == value_of(b"/b")
        except WaitTimeoutError:
            pass  # on a slow machine
        with pytest.raises(WaitTimeoutError):
            read(connection, "/c")
        connection.close()


@pytest.mark.parametrize("first", [1, 1000, 0x80000000])
def test_a_kernel_that_numbers_replies_anew(connect: Connect, first: int) -> None:
    """As /dev/xen/xenbus does on Linux 4.11 to 4.15."""

    def serve(link: Link) -> None:
        for id in itertools.count(first):
            request = link.request()
            link.send(reply_to(request._replace(request_id=id)))

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        for number in range(5):
            assert read(connection, f"/{number}") == value_of(b"/%d" % number)
        assert connection.carry(M.WATCH, b"/a\0token\0") == b"OK\0"
        assert connection.replies(connection.send_many(paths(20))) == values(20)


def test_a_kernel_that_answers_watches_itself(connect: Connect) -> None:
    """With the id 0, and out of order."""

    def serve(link: Link) -> None:
        for _ in range(3):
            for request in reversed(link.requests(4)):
                id = 0 if request.type in (M.WATCH, M.UNWATCH) else request.request_id
                link.reply(request._replace(request_id=id))

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        node = b"/a\0token\0"
        for _ in range(3):
            batch = [(M.READ, b"/a\0"), (M.WATCH, node), (M.UNWATCH, node), (M.READ, b"/b\0")]
            found = connection.replies(connection.send_many(batch))
            assert found == [value_of(b"/a"), b"OK\0", b"OK\0", value_of(b"/b")]


def test_a_timeout_is_of_each_request(connect: Connect) -> None:
    answered = threading.Semaphore(0)

    def serve(link: Link) -> None:
        while True:
            request = link.request()
            if request.payload == b"/silence\0":
                assert answered.acquire(timeout=60)
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        for number in range(3):
            with pytest.raises(WaitTimeoutError):
                read(connection, "/silence")
            answered.release()
            assert patiently(partial(read, connection, f"/{number}")) == value_of(b"/%d" % number)
            batch = connection.send_many([*paths(3), (M.READ, b"/silence\0")])
            with pytest.raises(WaitTimeoutError):
                connection.replies(batch)
            answered.release()


def test_a_timeout_counts_from_the_request(connect: Connect) -> None:
    """Not from the last part of the reply."""

    def serve(link: Link) -> None:
        request = link.request()
        link.send(header(M.READ, request.request_id, REPLY_MAX))
        while True:
            link.send(b"v")
            over.wait(0.01)

    over = threading.Event()
    with Peer(serve) as peer:
        connection = connect(peer.path, 2 * SHORT)
        with pytest.raises(WaitTimeoutError):
            read(connection, "/a")
        over.set()


def test_what_was_not_sent_when_its_wait_ended_never_is(connect: Connect) -> None:
    """The peer reads nothing, so the socket is full."""
    resumed = threading.Event()
    came: list[Packet] = []

    def serve(link: Link) -> None:
        assert resumed.wait(60)
        while True:
            request = link.request()
            came.append(request)
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        filler = [(M.WRITE, b"/filler\0" + b"v" * 4000)] * 500
        batch = connection.send_many(filler)
        with pytest.raises(WaitTimeoutError):
            read(connection, "/unsent")
        with pytest.raises(WaitTimeoutError):
            connection.carry(M.WATCH, b"/unsent\0token\0")
        resumed.set()
        patiently(lambda: read(connection, "/last"))
        connection.forget(batch)
    assert [request.type for request in came[:500]] == [M.WRITE] * 500
    assert {request.payload for request in came[500:]} == {b"/last\0"}


def test_what_was_sent_in_part_is_sent_whole(connect: Connect) -> None:
    """Even if nobody waits for it any longer: otherwise the stream would lose sync."""
    resumed = threading.Event()
    came: list[Packet] = []

    def serve(link: Link) -> None:
        assert resumed.wait(60)
        while True:
            came.append(link.request())
            link.reply(came[-1])

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        batch = connection.send_many([(M.WRITE, b"/%d\0" % number + b"v" * 4000) for number in range(500)])
        connection.forget(batch)
        resumed.set()
        assert patiently(lambda: read(connection, "/a")) == value_of(b"/a")
    assert [request.payload.partition(b"\0")[0] for request in came[:500]] == [b"/%d" % n for n in range(500)]
    assert all(len(request.payload) > 4000 for request in came[:500])


def test_both_ways_are_full(connect: Connect) -> None:
    """The peer reads a request only after its previous reply has been read."""

    def serve(link: Link) -> None:
        while True:
            request = link.request()
            link.reply(request, request.payload * 2)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        values = [b"%d" % number * 1000 for number in range(2000)]
        batches = [connection.send_many([(M.WRITE, value) for value in values]) for _ in range(2)]
        for batch in batches:
            assert connection.replies(batch) == [value * 2 for value in values]


def test_a_batch_that_is_forgotten(connect: Connect) -> None:
    def serve(link: Link) -> None:
        while True:
            link.reply(link.request())

    with Peer(serve) as peer:
        connection = connect(peer.path)
        for _ in range(50):
            connection.forget(connection.send_many(paths(10)))
            assert read(connection, "/a") == value_of(b"/a")
        batch = connection.send_many(paths(3))
        assert connection.replies(batch) == values(3)
        connection.forget(batch)  # does nothing by now
        assert read(connection, "/a") == value_of(b"/a")


@pytest.mark.parametrize("reply_comes", [False, True])
def test_a_watch_that_nobody_waits_for_is_taken_back(connect: Connect, reply_comes: bool) -> None:
    went_on = threading.Event()
    came: list[Packet] = []

    def serve(link: Link) -> None:
        watch = link.request()
        assert went_on.wait(60)
        if reply_comes:
            link.reply(watch)
        while True:
            came.append(link.request())
            link.reply(came[-1])

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        with pytest.raises(WaitTimeoutError):
            connection.carry(M.WATCH, b"/a\0token\0001\0")
        went_on.set()
        assert patiently(lambda: read(connection, "/b")) == value_of(b"/b")
    assert [(request.type, request.payload) for request in came[:2]] == [
        (M.UNWATCH, b"/a\0token\0"),
        (M.READ, b"/b\0"),
    ]


@pytest.mark.parametrize("way", ["timeout", "forget"])
def test_a_transaction_that_nobody_waits_for_is_ended(connect: Connect, way: str) -> None:
    went_on = threading.Event()
    came: list[Packet] = []

    def serve(link: Link) -> None:
        start = link.request()
        assert went_on.wait(60)
        link.reply(start, b"4711\0")
        while True:
            came.append(link.request())
            link.reply(came[-1])

    with Peer(serve) as peer:
        connection = connect(peer.path, SHORT)
        if way == "timeout":
            with pytest.raises(WaitTimeoutError):
                connection.carry(M.TRANSACTION_START, b"\0")
        else:
            connection.forget(connection.send_many([(M.TRANSACTION_START, b"\0")]))
        went_on.set()
        until(lambda: patiently(lambda: read(connection, "/a")) and any(r.type == M.TRANSACTION_END for r in came))
    assert [(r.tx_id, r.payload) for r in came if r.type == M.TRANSACTION_END] == [(4711, b"F\0")]


@pytest.mark.parametrize("id", [b"", b"\0", b"x\0", b"99999999999999999999\0", b"-1\0", b"12"])
def test_a_late_transaction_without_a_proper_id(connect: Connect, id: bytes) -> None:
    def serve(link: Link) -> None:
        start, after = link.requests(2)
        link.reply(start, id)
        link.reply(after)
        for _ in range(2):
            request = link.request()
            assert request.type in (M.READ, M.TRANSACTION_END)
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        connection.forget(connection.send_many([(M.TRANSACTION_START, b"\0")]))
        for _ in range(2):
            assert read(connection, "/a") == value_of(b"/a")


def test_many_threads_get_each_its_own(connect: Connect) -> None:
    with Peer(answer) as peer:
        connection = connect(peer.path)

        def work(number: int) -> None:
            for round in range(60):
                path = b"/%d/%d" % (number, round)
                assert connection.carry(M.READ, path + b"\0") == value_of(path)
                if round % 20 == 0:
                    batch = connection.send_many([(M.READ, b"%s/%d\0" % (path, i)) for i in range(40)])
                    assert connection.replies(batch) == [value_of(b"%s/%d" % (path, i)) for i in range(40)]

        assert all_outcomes([partial(work, number) for number in range(16)]) == [None] * 16


@pytest.mark.usefixtures("long_waits")
def test_threads_whose_replies_come_in_any_order(connect: Connect) -> None:
    """A thread that has its reply leaves, and another one reads for those still waiting."""
    count = 12

    def serve(link: Link) -> None:
        order = random.Random(3)
        waiting: list[Packet] = []
        while True:
            waiting.append(link.request())
            if not link.has_more() or len(waiting) == count:
                order.shuffle(waiting)
                while waiting:
                    link.reply(waiting.pop(), piece=order.choice([7, None]))

    with Peer(serve) as peer:
        connection = connect(peer.path)

        def work(number: int) -> None:
            for round in range(40):
                path = b"/%d/%d" % (number, round)
                assert connection.carry(M.READ, path + b"\0") == value_of(path)

        assert all_outcomes([partial(work, number) for number in range(count)]) == [None] * count


@pytest.mark.parametrize(
    "nonsense", [b"\xff" * 16, b"HTTP/1.1 400 Bad Request\r\n\r\n", random.Random(1).randbytes(99)]
)
def test_nonsense_in_place_of_a_reply(connect: Connect, nonsense: bytes) -> None:
    def serve(link: Link) -> None:
        link.request()
        link.send(nonsense)

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        with pytest.raises(ProtocolError):
            read(connection, "/a")
        with pytest.raises(ConnectionLostError):
            read(connection, "/a")
