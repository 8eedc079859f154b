"""Interruptions of a wire connection, in C and in Python, by handlers that raise or that use the same connection."""

from __future__ import annotations

import errno
import gc
import itertools
import random
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest
from harness.alarms import (
    Interrupt,
    alarm_after,
    at_moment,
    handled_elsewhere,
    interrupt,
    interrupted_after,
    of_finalizers,
    silence,
)
from harness.descriptors import is_readable
from harness.peer import Link, MessageType, Packet, Peer, answer, peer_process, value_of
from harness.threads import Call

from xsffi.backends.base import Events
from xsffi.backends.wire.native import Connection
from xsffi.errors import ClientClosedError, ConnectionLostError, XenStoreError
from xsffi.records import WatchEvent

from .asking import paths, read, values
from .conftest import Connect
from .test_events import rest, tell

M = MessageType


def check_interrupted(error: ConnectionLostError) -> None:
    """The error must name what has ended the connection."""
    assert "Interrupt interrupted it in the middle of a step" in str(error)


def is_refused(call: Callable[[], object], expected: object) -> bool:
    """Whether a call in the middle of another was refused; if not, it must have returned the expected result."""
    try:
        assert call() == expected
    except XenStoreError as error:
        if error.errno != errno.EDEADLK:
            raise
        return True
    return False


WAITS: dict[str, Callable[[Connection, Events], object]] = {
    "carry": lambda connection, queue: read(connection, "/a"),
    "replies": lambda connection, queue: connection.replies(connection.send_many(paths(30))),
    "next_event": lambda connection, queue: queue.next_event(None),
    "a bounded next_event": lambda connection, queue: queue.next_event(3600),
    "a full socket": lambda connection, queue: connection.replies(
        connection.send_many([(M.WRITE, b"/a\0" + b"v" * 4000)] * 500)
    ),
    "a watch": lambda connection, queue: connection.carry(M.WATCH, b"/a\0" + queue.new_token() + b"\0"),
}


@pytest.mark.usefixtures("alarms")
@pytest.mark.parametrize("wait", WAITS)
def test_an_interruption_ends_one_wait_and_nothing_else(connect: Connect, wait: str) -> None:
    """Even if another thread receives the signal, so that the sleep in the kernel is not interrupted."""
    resumed = threading.Event()

    def serve(link: Link) -> None:
        assert resumed.wait(60)
        answer(link)

    with Peer(serve) as peer:
        connection = connect(peer.path)
        queue = connection.events("a:")
        parked = Call(partial(connection.events("b:").next_event, None)).until_asleep()
        for _ in range(3):
            with pytest.raises(Interrupt), interrupted_after(0.03):
                WAITS[wait](connection, queue)
        with handled_elsewhere(), pytest.raises(Interrupt), interrupted_after(0.03):
            WAITS[wait](connection, queue)
        resumed.set()
        for number in range(3):
            assert connection.replies(connection.send_many(paths(20))) == values(20)
            assert read(connection, f"/{number}") == value_of(b"/%d" % number)
        assert not parked.is_over
        token = queue.new_token()
        tell(connection, "/told", token)
        assert rest(queue)[-1] == "/told"


@of_finalizers
@pytest.mark.usefixtures("alarms")
def test_a_storm_of_interruptions(connect: Connect, implementation: str) -> None:
    """Each request gets its own reply, in this thread and others, or the error names what has ended the connection."""
    with Peer(answer) as peer:
        chance = random.Random(11)
        for _ in range(6):
            connection = connect(peer.path)
            over = threading.Event()

            def work(number: int, connection: Connection = connection, over: threading.Event = over) -> int:
                for round in itertools.count():
                    if over.is_set():
                        return round
                    path = b"/%d/%d" % (number, round)
                    try:
                        assert connection.carry(M.READ, path + b"\0") == value_of(path)
                    except ConnectionLostError:
                        return round
                raise AssertionError

            others = [Call(partial(work, number)) for number in range(2)]
            signal.signal(signal.SIGALRM, interrupt)
            interruptions = number = 0
            try:
                while interruptions < 40:
                    try:
                        alarm_after(chance.uniform(0.0001, 0.002))
                        while True:
                            number += 1
                            assert read(connection, f"/own/{number}") == value_of(b"/own/%d" % number)
                    except Interrupt:
                        interruptions += 1
            except ConnectionLostError as error:
                assert implementation == "Python"
                check_interrupted(error)
            finally:
                silence()
                over.set()
            for call in others:
                call.result()


def wake_and_wait(connection: Connection, queue: Events) -> WatchEvent | None:
    queue.wake()
    return queue.next_event(None)


USES: dict[str, tuple[Callable[[Connection, Events], object], object]] = {
    "read": (lambda connection, queue: connection.read("/a"), value_of(b"/a")),
    "carry": (lambda connection, queue: read(connection, "/a"), value_of(b"/a")),
    "replies": (lambda connection, queue: connection.replies(connection.send_many(paths(3))), values(3)),
    "forget": (lambda connection, queue: connection.forget(connection.send_many(paths(3))), None),
    "look": (lambda connection, queue: queue.next_event(0), None),
    "wait": (lambda connection, queue: queue.next_event(0.001), None),
    "wake": (wake_and_wait, None),
    "a queue": (lambda connection, queue: connection.events("new:").close(), None),
}


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("use", USES)
def test_interrupted_at_any_moment(connect: Connect, use: str) -> None:
    """Afterwards the connection answers correctly, in this thread and others; or it is lost, the error names the cause,
    and waits for events end."""
    call, expected = USES[use]
    with Peer(answer) as peer:
        connection = connect(peer.path)
        for moment in itertools.count():
            queue = connection.events("a:")
            try:
                with at_moment(moment, interrupt) as was_there:
                    call(connection, queue)
            except Interrupt:
                pass
            try:
                assert read(connection, f"/{moment}") == value_of(b"/%d" % moment), f"at moment {moment}"
                other = Call(partial(read, connection, "/b"))
                assert other.result() == value_of(b"/b"), f"at moment {moment}"
                assert call(connection, queue) == expected
                queue.close()
            except ConnectionLostError as error:
                check_interrupted(error)
                with pytest.raises(ConnectionLostError):
                    queue.next_event(None)
                connection = connect(peer.path)
            if not was_there():
                break
        assert moment > 1


@pytest.mark.usefixtures("no_collection")
def test_an_event_that_an_interruption_meets_is_not_lost(connect: Connect, implementation: str) -> None:
    """Only in Python: a C function has no such moment."""
    if implementation == "C":
        pytest.skip("there is no moment within")
    with Peer(answer) as peer:
        for timeout in (0, 60, None):
            connection = connect(peer.path)
            for moment in itertools.count():
                queue = connection.events("a:")
                for path in ("/1", "/2", "/3"):
                    connection.carry(M.WRITE, path.encode() + b"\0" + queue.new_token())
                found: list[WatchEvent | None] = []
                lost = False
                try:
                    with at_moment(moment, interrupt) as was_there:
                        found.append(queue.next_event(timeout))
                except Interrupt:
                    pass
                try:
                    read(connection, "/after")
                    while len(found) < 3:
                        found.append(queue.next_event(60))
                    assert queue.next_event(0) is None
                except ConnectionLostError as error:
                    check_interrupted(error)
                    lost = True
                    connection = connect(peer.path)
                told = [event.path for event in found if event is not None]
                assert told == ["/1", "/2", "/3"][: len(told)], f"at moment {moment}"
                assert lost or len(told) == 3, f"at moment {moment}"
                queue.close()
                if not was_there():
                    break
            assert moment > 3


@pytest.mark.usefixtures("no_collection")
def test_what_came_before_the_end_comes_once_though_interrupted(connect: Connect) -> None:
    """The daemon dies, and the interruption comes when that is noticed."""

    def serve(link: Link) -> None:
        link.reply(link.request())
        for number in range(3):
            link.event(b"/%d" % number, b"a:1")
        link.hang_up()

    with Peer(serve) as peer:
        for moment in itertools.count():
            connection = connect(peer.path)
            queue = connection.events("a:")
            queue.new_token()
            descriptor = queue.fileno()
            read(connection, "/a")
            with pytest.raises((Interrupt, ConnectionLostError)), at_moment(moment, interrupt) as was_there:
                while True:
                    read(connection, "/a")
            told = []
            with pytest.raises(ConnectionLostError) as ended:
                while True:
                    event = queue.next_event(60)
                    assert event is not None
                    told.append(event.path)
            assert told == ["/0", "/1", "/2"][: len(told)], f"at moment {moment}"
            if len(told) < 3:
                check_interrupted(ended.value)
            assert is_readable(descriptor, 60)
            connection.close()
            if not was_there():
                break
        assert moment > 1


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_uses_the_connection_at_any_moment(connect: Connect, use: str) -> None:
    """The handler's call either completes, or is refused before anything is sent; the interrupted one always
    completes."""
    call, expected = USES[use]
    with Peer(answer) as peer:
        connection = connect(peer.path)
        queue, own = connection.events("a:"), connection.events("b:")
        refused = 0

        def handle() -> None:
            nonlocal refused
            refused += is_refused(lambda: read(connection, "/b"), value_of(b"/b"))
            refused += is_refused(lambda: connection.replies(connection.send_many(paths(2))), values(2))
            refused += is_refused(lambda: own.next_event(0), None)
            own.wake()  # takes no lock, so it is never refused
            own.fileno()

        for moment in itertools.count():
            with at_moment(moment, handle) as was_there:
                assert call(connection, queue) == expected, f"at moment {moment}"
            if not was_there():
                break
            assert own.next_event(None) is None
        assert moment > 1


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_closes_at_any_moment(connect: Connect, use: str) -> None:
    call, expected = USES[use]
    with Peer(answer) as peer:
        for moment in itertools.count():
            connection = connect(peer.path)
            queue = connection.events("a:")
            queue.fileno()
            try:
                with at_moment(moment, connection.close) as was_there:
                    assert call(connection, queue) == expected
            except ClientClosedError:
                pass
            if not was_there():
                break
            with pytest.raises(ClientClosedError):
                read(connection, "/a")
            with pytest.raises(ClientClosedError):
                queue.fileno()
        assert moment > 1


@pytest.mark.usefixtures("no_collection")
def test_a_handler_in_the_middle_of_sending(connect: Connect) -> None:
    """Nothing is sent twice, or inside another message."""
    taken: list[list[Packet]] = []

    def serve(link: Link) -> None:
        packets: list[Packet] = []
        taken.append(packets)
        while True:
            packets.append(link.request())
            link.reply(packets[-1], b"v")

    batch = [(M.WRITE, b"/%d\0" % number + b"x" * 4000) for number in range(80)]
    with Peer(serve) as peer:
        for moment in itertools.count(0, 3):
            connection = connect(peer.path, 60)
            with at_moment(moment, lambda: is_refused(lambda: read(connection, "/b"), b"v")) as was_there:  # noqa: B023
                assert connection.replies(connection.send_many(batch)) == [b"v"] * 80
            assert read(connection, "/c") == b"v"
            connection.close()
            assert len({packet.request_id for packet in taken[-1]}) == len(taken[-1])
            assert [packet[0::3] for packet in taken[-1] if packet.type == M.WRITE] == batch
            if not was_there():
                break


@pytest.mark.usefixtures("alarms")
def test_a_handler_that_uses_what_threads_share(connect: Connect) -> None:
    """While others read and wait for events: no deadlock, and every reply is correct."""
    with Peer(answer) as peer:
        connection = connect(peer.path)
        queue = connection.events("")
        token = queue.new_token()
        over = threading.Event()
        chance = random.Random(5)
        handled = refused = 0

        def take() -> None:
            while not over.is_set():
                queue.next_event(None)

        def work() -> None:
            while not over.is_set():
                assert read(connection, "/work") == value_of(b"/work")

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal handled, refused
            handled += 1
            refused += is_refused(lambda: connection.carry(M.WRITE, b"/a\0" + token), b"OK\0")
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.002))

        calls = [Call(take), Call(take), Call(work)]
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        number = 0
        while handled < 300:
            number += 1
            assert read(connection, f"/{number}") == value_of(b"/%d" % number)
        silence()
        over.set()
        while not all(call.is_over for call in calls):
            queue.wake()
        assert [call.outcome() for call in calls] == [None] * 3
        assert refused < handled


def test_a_finalizer_that_uses_what_threads_share(connect: Connect) -> None:
    """The peer is another process: in this one, the collector could run the finalizer in its thread, which must
    answer."""
    with peer_process() as path:
        connection = connect(path)
        queue = connection.events("")
        token = queue.new_token()
        over = threading.Event()
        finalized = refused = 0
        wrong: list[BaseException] = []

        class Garbage:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                nonlocal finalized, refused
                try:
                    refused += is_refused(lambda: connection.carry(M.WRITE, b"/a\0" + token), b"OK\0")
                    finalized += 1
                except BaseException as error:
                    wrong.append(error)

        def take() -> None:
            while not over.is_set():
                queue.next_event(None)

        def work(number: int) -> None:
            for round in range(300):
                Garbage()
                node = b"/%d/%d" % (number, round)
                assert connection.carry(M.READ, node + b"\0") == value_of(node)
                assert connection.replies(connection.send_many(paths(3))) == values(3)
                queue.next_event(0)

        taking = Call(take)
        before = gc.get_threshold()
        gc.freeze()  # so that existing objects are not scanned each time
        gc.set_threshold(5, 5, 5)
        try:
            for call in [Call(partial(work, number)) for number in range(3)]:
                assert call.result() is None
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
        gc.collect()
        over.set()
        while not taking.is_over:
            queue.wake()
        assert taking.result() is None
        assert wrong == []
        assert finalized > refused
