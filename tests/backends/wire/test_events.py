"""Queues of events over a wire connection, in C and in Python, and their descriptors."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from harness import descriptors
from harness.descriptors import WAYS
from harness.peer import Link, MessageType, Peer, answer, event, value_of
from harness.threads import Call, all_outcomes, until

from xsffi.backends.base import Events
from xsffi.backends.wire.native import Connection
from xsffi.errors import ClientClosedError, ConnectionLostError, ProtocolError
from xsffi.records import WatchEvent

from .asking import read
from .conftest import Connect

M = MessageType


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def is_readable(request: pytest.FixtureRequest) -> Callable[[int, float], bool]:
    """Each way to check whether a descriptor becomes readable within a number of seconds."""
    way: Callable[[int, float], bool] = request.param
    return way


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A daemon that answers at once, and sends an event for each WRITE, with the value as its token."""
    with Peer(answer) as peer:
        yield peer


def tell(connection: Connection, path: str, token: bytes) -> None:
    """Make the daemon send an event; it has arrived when this returns."""
    connection.carry(M.WRITE, path.encode("utf-8", "surrogateescape") + b"\0" + token)
    read(connection, "/after")  # the reply arrives after the event


def rest(queue: Events) -> list[str]:
    """The paths of the pending events."""
    return [found.path for found in iter(lambda: queue.next_event(0), None)]


def test_an_event_goes_to_the_queue_of_its_token(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queues = {prefix: connection.events(prefix) for prefix in ("", "a:", "b:", "a:b:")}
    tokens = {prefix: queue.new_token() for prefix, queue in queues.items()}
    assert all(token.startswith(prefix.encode()) for prefix, token in tokens.items())
    assert len({token.rpartition(b":")[2] for token in tokens.values()}) == 4
    for prefix, token in tokens.items():
        for number in range(3):
            tell(connection, f"/{prefix}/{number}", token)
    for prefix, queue in queues.items():
        found = [queue.next_event(0) for _ in range(4)]
        assert found == [*(WatchEvent(f"/{prefix}/{n}", tokens[prefix].decode()) for n in range(3)), None]


@pytest.mark.parametrize("limit", [1, 5])
def test_a_queue_with_a_limit(connect: Connect, peer: Peer, limit: int) -> None:
    """If the limit is exceeded, only the last events are kept, preceded by one that stands for the others."""
    connection = connect(peer.path)
    queue, other = connection.events("a:", limit), connection.events("b:")
    token = queue.new_token()
    for number in range(5):
        tell(connection, f"/{number}", token)
    overflown = limit < 5
    assert rest(queue) == (["", "/4"] if overflown else ["/0", "/1", "/2", "/3", "/4"])
    for number in range(23):
        tell(connection, f"/{number}", token)
    found = list(iter(lambda: queue.next_event(0), None))
    assert found[0] == WatchEvent("", "")
    assert 1 < len(found) <= limit + 1
    paths = [event.path for event in found if event.path]
    assert paths == [f"/{number}" for number in range(23)][-len(paths) :]
    assert rest(other) == []
    tell(connection, "/again", token)
    assert rest(queue) == ["/again"]


def test_no_token_is_given_twice(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue = connection.events("")
    first = {queue.new_token() for _ in range(500)}
    queue.close()
    assert not first & {connection.events("").new_token() for _ in range(500)}


def test_any_bytes_in_an_event(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue = connection.events("")
    token = queue.new_token()
    for path in ("", "/", "/\udcff\udcc3", "/ä", "@releaseDomain/5", "/" + "x" * 60_000):
        tell(connection, path, token)
        assert queue.next_event(0) == (path, token.decode())


def test_events_without_a_token_or_a_nul(connect: Connect) -> None:
    """Such events are dropped."""

    def serve(link: Link) -> None:
        request = link.request()
        for payload in (b"", b"\0", b"/a", b"/a\0", b"/a\0\0", b"/a\0" + b"1", b"/a\x001\0more\0"):
            link.send(request._replace(type=M.WATCH_EVENT, payload=payload).encode())
        link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        queue = connection.events("")
        assert queue.new_token() == b"1"
        assert read(connection, "/a") == value_of(b"/a")
        assert rest(queue) == ["/a", "/a"]  # only the last two have our token


STRANGE = [
    b"",
    b"0",
    b"x",
    b"01",
    b"2",
    b"a:2",
    b"1 ",
    b"-1",
    b"1" * 40,
    b"A",
    b"\xff\xfe",
    b"\xc3\xa4" * 60,
    b"a:",
    b"%s%n",
]


@pytest.mark.parametrize("token", STRANGE)
def test_events_of_watches_that_nobody_set(connect: Connect, token: bytes) -> None:
    """999 of them are dropped; one more is a protocol error."""

    def serve(link: Link) -> None:
        for count in (999, 1):
            request = link.request()
            for _ in range(count):
                link.event(b"/a", token)
            link.reply(request)

    with Peer(serve) as peer:
        connection = connect(peer.path, 60)
        queue = connection.events("")
        assert queue.new_token() == b"1"
        assert read(connection, "/a") == value_of(b"/a")
        assert rest(queue) == []
        with pytest.raises(ProtocolError, match="unknown watch"):
            read(connection, "/a")
        for call in (lambda: read(connection, "/a"), lambda: queue.next_event(None)):
            with pytest.raises(ConnectionLostError, match="unknown watch"):
                call()


def test_events_of_watches_that_were_taken_away_are_no_strangers(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue, closed = connection.events("here:"), connection.events("gone:")
    old, token = closed.new_token(), queue.new_token()
    closed.close()
    for _ in range(1500):
        connection.carry(M.WRITE, b"/gone\0" + old)
    tell(connection, "/here", token)
    assert rest(queue) == ["/here"]
    assert rest(closed) == []


def test_of_two_queues_with_a_prefix_the_later_has_what_comes(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    first = connection.events("a:")
    token = first.new_token()
    tell(connection, "/1", token)
    second = connection.events("a:")
    tell(connection, "/2", token)
    assert (rest(first), rest(second)) == (["/1"], ["/2"])
    first.close()
    tell(connection, "/3", token)
    assert rest(second) == ["/3"]


def test_prefixes_that_are_none(connect: Connect, peer: Peer) -> None:
    for prefix in ("a", "a:b", ":a"):
        with pytest.raises(ValueError, match="colon"):
            connect(peer.path).events(prefix)


def test_put_back_and_drop(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue = connection.events("")
    one, two = queue.new_token(), queue.new_token()
    for number in range(6):
        tell(connection, f"/{number}", one if number % 2 else two)
    first, second = queue.next_event(0), queue.next_event(0)
    assert first is not None
    assert second is not None
    assert (first.path, second.path) == ("/0", "/1")
    queue.put_back(second)
    queue.put_back(first)
    queue.drop(one)
    assert rest(queue) == ["/0", "/2", "/4"]
    queue.drop(one)
    queue.put_back(WatchEvent("/\udcff", "ä"))
    assert queue.next_event(None) == ("/\udcff", "ä")
    tell(connection, "/6", one)
    queue.drop(one)
    tell(connection, "/7", two)
    assert rest(queue) == ["/7"]


def test_a_queue_that_is_closed_has_nothing(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue = connection.events("a:")
    token = queue.new_token()
    tell(connection, "/1", token)
    queue.close()
    tell(connection, "/2", token)
    queue.close()
    assert rest(queue) == []
    assert rest(connection.events("a:")) == []


@pytest.mark.usefixtures("long_waits")
def test_wake(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue, other = connection.events("a:"), connection.events("b:")
    queue.wake()
    queue.wake()
    assert queue.next_event(None) is None  # queue.wake() was called before
    call = Call(lambda: queue.next_event(None)).until_asleep()
    other.wake()
    assert not call.is_over
    queue.wake()
    assert call.result() is None
    token = queue.new_token()
    tell(connection, "/a", token)
    queue.wake()
    assert queue.next_event(None) == ("/a", token.decode())
    assert queue.next_event(None) is None
    assert other.next_event(None) is None


@pytest.mark.usefixtures("long_waits")
def test_a_thread_that_waits_for_events_holds_up_no_request(connect: Connect, peer: Peer) -> None:
    """And it keeps waiting while requests are made, in each queue, with several threads."""
    connection = connect(peer.path)
    queues = [connection.events(prefix) for prefix in ("", "a:", "b:")]
    waiting = [Call(partial(queue.next_event, None)) for queue in queues for _ in range(2)]
    for call in waiting:
        call.until_asleep()
    for number in range(200):
        assert read(connection, f"/{number}") == value_of(b"/%d" % number)
    assert not any(call.is_over for call in waiting)
    for number, queue in enumerate(queues):
        for path in ("/first", "/second"):
            connection.carry(M.WRITE, path.encode() + b"\0" + queue.new_token())
        found = [call.result() for call in waiting[2 * number : 2 * number + 2]]
        assert {each.path for each in found if each is not None} == {"/first", "/second"}


@pytest.mark.usefixtures("long_waits")
def test_who_waits_for_events_reads_on_once_the_requests_are_over(connect: Connect) -> None:
    """The event arrives when nobody makes requests any more."""
    may_tell = threading.Semaphore(0)

    def serve(link: Link) -> None:
        for number in range(30):
            link.reply(link.request())
            assert may_tell.acquire(timeout=60)
            link.event(b"/%d" % number, b"1")

    with Peer(serve) as peer:
        connection = connect(peer.path)
        queue = connection.events("")
        assert queue.new_token() == b"1"
        for number in range(30):
            waiting = [Call(lambda: queue.next_event(None)) for _ in range(3)]
            waiting[-1].until_asleep()
            read(connection, "/a")
            may_tell.release()
            while sum(call.is_over for call in waiting) < 3:
                if any(call.is_over for call in waiting):
                    queue.wake()
                threading.Event().wait(0.001)
            assert [call.result() for call in waiting if call.result()] == [(f"/{number}", "1")]
            assert rest(queue) == []


def test_events_that_many_threads_take_are_taken_once(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)
    queue = connection.events("")
    token = queue.new_token()
    threads, each = 4, 300
    taken: collections.Counter[str] = collections.Counter()
    done = threading.Event()

    def take(timeout: float | None) -> None:
        while not done.is_set():
            found = queue.next_event(timeout)
            if found is not None:
                taken[found.path] += 1

    def make(number: int) -> None:
        for round in range(each):
            connection.carry(M.WRITE, b"/%d/%d\0" % (number, round) + token)

    takers = [Call(partial(take, timeout)) for timeout in (None, None, 0.001, 0)]
    assert all_outcomes([partial(make, n) for n in range(threads)]) == [None] * threads
    until(lambda: sum(taken.values()) >= threads * each)
    done.set()
    while not all(taker.is_over for taker in takers):
        queue.wake()
    assert [taker.outcome() for taker in takers] == [None] * 4
    assert set(taken.values()) == {1}
    assert len(taken) == threads * each


def test_a_flood_of_events_holds_up_nobody(connect: Connect) -> None:
    """Neither threads that take events, nor requests, nor close()."""

    def serve(link: Link) -> None:
        piece = event(b"/a", b"1") * 2000
        while True:
            link.send(piece)
            if link.has_more():
                link.reply(link.request())

    with Peer(serve) as peer:
        connection = connect(peer.path)
        queue = connection.events("")
        assert queue.new_token() == b"1"
        descriptor = queue.fileno()
        for _ in range(10):
            assert descriptors.is_readable(descriptor, 60)
            assert queue.next_event(60) == ("/a", "1")
            assert queue.next_event(None) == ("/a", "1")
        assert read(connection, "/b") == value_of(b"/b")
        other = connection.events("b:")
        assert other.next_event(0) is None
        assert other.next_event(0.01) is None
        waiting = Call(lambda: other.next_event(None))
        connection.close()
        assert isinstance(waiting.outcome(), ClientClosedError)


def test_the_descriptor_tells_of_events(
    connect: Connect, peer: Peer, is_readable: Callable[[int, float], bool]
) -> None:
    """Whichever thread received them, for each queue; and not if there are none."""
    connection = connect(peer.path)
    queues = [connection.events(prefix) for prefix in ("", "a:", "b:")]
    tokens = [queue.new_token() for queue in queues]
    descriptors = [queue.fileno() for queue in queues]
    assert [queue.fileno() for queue in queues] == descriptors
    assert not any(is_readable(descriptor, 0) for descriptor in descriptors)
    for round in range(3):
        for queue, token, descriptor in zip(queues, tokens, descriptors):
            if round == 0:
                tell(connection, "/a", token)
            elif round == 1:
                Call(partial(tell, connection, "/a", token)).result()
            else:
                connection.carry(M.WRITE, b"/a\0" + token)  # the event may not have been received yet
            assert is_readable(descriptor, 60)
            taken = queue.next_event(60)
            assert taken is not None
            assert taken == WatchEvent("/a", token.decode())
            assert not any(is_readable(each, 0) for each in descriptors)
            queue.put_back(taken)
            assert is_readable(descriptor, 0)
            queue.drop(token)
            assert not is_readable(descriptor, 0)
            queue.wake()
            assert is_readable(descriptor, 0)
            assert queue.next_event(0) is None
            assert not is_readable(descriptor, 0)


def test_who_polls_is_told_of_what_another_thread_took_in(
    connect: Connect, peer: Peer, is_readable: Callable[[int, float], bool]
) -> None:
    connection = connect(peer.path)
    queue = connection.events("")
    token, descriptor = queue.new_token(), queue.fileno()
    for _ in range(20):
        polling = Call(lambda: is_readable(descriptor, 60)).until_asleep()
        tell(connection, "/a", token)
        assert polling.result()
        assert queue.next_event(0) == ("/a", token.decode())


def test_a_queue_after_another_begins_with_nothing(connect: Connect, peer: Peer) -> None:
    """Whatever state the old one was in: the new descriptor is not readable, and a wait does not end at once."""
    connection = connect(peer.path)
    for _ in range(3):
        queue = connection.events("a:")
        tell(connection, "/a", queue.new_token())
        queue.wake()
        assert descriptors.is_readable(queue.fileno(), 0)
        queue.close()
        later = connection.events("a:")
        assert not descriptors.is_readable(later.fileno(), 0)
        assert later.next_event(0) is None
        later.close()


def test_queues_leave_no_descriptors(connect: Connect, peer: Peer) -> None:
    connection = connect(peer.path)

    def use() -> None:
        queue = connection.events("a:")
        queue.fileno()
        queue.close()

    read(connection, "/a")  # the peer's descriptor is in this process too
    use()
    before = descriptors.open_descriptors()
    for _ in range(30):
        use()
    assert descriptors.open_descriptors() == before


def test_what_came_before_the_daemon_died_is_given_first(
    connect: Connect, is_readable: Callable[[int, float], bool]
) -> None:
    def serve(link: Link) -> None:
        link.reply(link.request())
        for number in range(3000):
            link.event(b"/%d" % number, b"a:1" if number % 2 else b"b:2")
        link.hang_up()

    for use in ("next_event", "read"):
        with Peer(serve) as peer:
            connection = connect(peer.path)
            queues = [connection.events("a:"), connection.events("b:")]
            assert [queue.new_token() for queue in queues] == [b"a:1", b"b:2"]
            descriptors = [queue.fileno() for queue in queues]
            assert read(connection, "/a") == value_of(b"/a")
            if use == "read":
                with pytest.raises(ConnectionLostError):
                    while True:
                        read(connection, "/a")
            for first, queue in zip((1, 0), queues):
                for number in range(first, 3000, 2):
                    found = queue.next_event(60)
                    assert found is not None
                    assert found.path == f"/{number}"
            for queue, descriptor in zip(queues, descriptors):
                for timeout in (None, 0, 60):
                    assert is_readable(descriptor, 60)
                    with pytest.raises(ConnectionLostError):
                        queue.next_event(timeout)
                assert is_readable(queue.fileno(), 60)
            with pytest.raises(ConnectionLostError):
                connection.events("c:")
            connection.close()
            for queue in queues:
                with pytest.raises(ClientClosedError):
                    queue.next_event(None)


def test_who_waits_is_told_of_the_daemon_s_death(connect: Connect, is_readable: Callable[[int, float], bool]) -> None:
    dies = threading.Event()

    def serve(link: Link) -> None:
        link.request()
        assert dies.wait(60)
        link.hang_up()

    with Peer(serve) as peer:
        connection = connect(peer.path)
        queues = [connection.events(prefix) for prefix in ("a:", "b:")]
        descriptors = [queue.fileno() for queue in queues]
        waits = [Call(partial(queue.next_event, None)) for queue in queues for _ in range(2)]
        requests = [Call(lambda: read(connection, "/a")) for _ in range(3)]
        calls: list[Call[object]] = [*waits, *requests]
        for call in calls:
            call.until_asleep()
        polls = [Call(partial(is_readable, each, 60)).until_asleep() for each in descriptors]
        dies.set()
        for outcome in [call.outcome() for call in calls]:
            assert isinstance(outcome, ConnectionLostError)
        assert [call.result() for call in polls] == [True, True]
