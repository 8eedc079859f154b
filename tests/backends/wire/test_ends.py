"""How a wire connection ends, in C and in Python: closed, dropped or forked; and failures to open one."""

from __future__ import annotations

import errno
import itertools
import os
import select
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial

import pytest
from harness.alarms import end_this_process_after, handled_elsewhere, interrupted_after
from harness.children import in_child
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.peer import Link, MessageType, Peer, answer, peer_process, value_of
from harness.threads import Call

from xsffi.backends.base import Events
from xsffi.backends.wire.backend import open_wire
from xsffi.backends.wire.native import Connection
from xsffi.errors import ClientClosedError, ForkedError, XenStoreError

from .asking import read
from .conftest import Connect

M = MessageType


def silence(link: Link) -> None:
    """Read and answer nothing until the client hangs up."""
    poll = select.poll()
    poll.register(link.socket, 0)
    assert poll.poll(60_000)


Use = Callable[[Connection, Events], object]


def send_until_full(connection: Connection, queue: Events) -> object:
    return connection.replies(connection.send_many([(M.WRITE, b"/a\0" + b"v" * 4000)] * 500))


USES: dict[str, Use] = {
    "carry": lambda connection, queue: read(connection, "/a"),
    "replies": lambda connection, queue: connection.replies(connection.send_many([(M.READ, b"/a\0")] * 30)),
    "next_event": lambda connection, queue: queue.next_event(None),
    "a bounded next_event": lambda connection, queue: queue.next_event(3600),
    "a full socket": send_until_full,
}


@pytest.mark.usefixtures("long_waits")
@pytest.mark.parametrize("use", USES)
def test_close_ends_what_other_threads_wait_for(connect: Connect, use: str) -> None:
    with Peer(silence) as peer:
        for _ in range(5):
            connection = connect(peer.path)
            queue = connection.events("")
            before = open_descriptors()
            calls = [Call(partial(USES[use], connection, queue)).until_asleep() for _ in range(3)]
            connection.close()
            assert [type(call.outcome()) for call in calls] == [ClientClosedError] * 3
            assert len(open_descriptors()) < len(before)


@pytest.mark.usefixtures("alarms")
@pytest.mark.parametrize("use", USES)
def test_close_in_a_signal_handler_ends_what_it_interrupted(connect: Connect, use: str) -> None:
    with Peer(silence) as peer:
        connection = connect(peer.path)
        queue = connection.events("")
        with pytest.raises(ClientClosedError), interrupted_after(0.05, connection.close):
            USES[use](connection, queue)
        connection = connect(peer.path)
        queue = connection.events("")
        with handled_elsewhere(), pytest.raises(ClientClosedError), interrupted_after(0.05, connection.close):
            USES[use](connection, queue)


@pytest.mark.usefixtures("long_waits")
@pytest.mark.parametrize("way", ["select", "poll"])
def test_close_is_told_to_who_polls(connect: Connect, way: str) -> None:
    """Not with epoll: the kernel silently removes a closed descriptor from it."""
    with Peer(answer) as peer:
        for _ in range(5):
            connection = connect(peer.path)
            queue = connection.events("")
            descriptor = queue.fileno()
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            polling: Call[object] = Call(
                partial(select.select, [descriptor], [], [], 60) if way == "select" else partial(poll.poll, 60_000)
            )
            polling.until_asleep()
            connection.close()
            assert polling.result() not in ([], ([], [], []))


def test_a_connection_that_is_closed(connect: Connect) -> None:
    with peer_process() as path:
        before = open_descriptors()
        connection = connect(path)
        queue, other = connection.events("a:"), connection.events("b:")
        connection.carry(M.WRITE, b"/a\0" + queue.new_token())
        read(connection, "/a")
        event = queue.next_event(0)
        assert event is not None
        queue.fileno()
        exchange = connection.send_many([(M.READ, b"/a\0")])
        left = connection.send_many([(M.READ, b"/a\0")])
        for _ in range(2):
            connection.close()
            assert open_descriptors() == before
            uses: list[Callable[[], object]] = [
                lambda: read(connection, "/a"),
                lambda: connection.read("/a"),
                lambda: connection.send_many([(M.READ, b"/a\0")]),
                lambda: connection.events("c:"),
                queue.fileno,
                other.fileno,
                lambda: queue.next_event(0),
                lambda: other.next_event(None),
            ]
            for use in uses:
                with pytest.raises(ClientClosedError):
                    use()
            # These calls are always allowed.
            connection.forget(left)
            queue.put_back(event)
            queue.drop(b"a:1")
            queue.wake()
            queue.new_token()
            queue.close()
        with pytest.raises(ClientClosedError):
            connection.replies(exchange)
        with pytest.raises(ClientClosedError):
            queue.next_event(0)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_what_is_dropped_is_closed(order: tuple[int, ...]) -> None:
    """Without close(), in any order, with requests in flight."""
    with peer_process() as path:
        before = open_descriptors()
        backend = open_wire(path)
        gone = weakref.ref(backend)
        connection = backend._connection
        things: list[object] = [
            connection,
            connection.events("a:"),
            connection.send_many([(M.WATCH, b"/a\0a:1\0"), (M.READ, b"/a\0")]),
        ]
        del backend, connection
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # emitted by Python's own sockets
            for place in order:
                things[place] = None
            assert open_descriptors() == before
        assert gone() is None


@pytest.mark.usefixtures("implementation")
def test_a_child_gets_a_clear_error_and_disturbs_nobody() -> None:
    with peer_process() as path:
        others = set(open_descriptors())
        backend = open_wire(path, 60)
        connection = backend._connection
        queue = backend.events("a:")
        queue.fileno()
        token = queue.new_token()
        exchange = connection.send_many([(M.READ, b"/a\0")])

        def use() -> None:
            assert set(open_descriptors()) <= others
            with pytest.raises(ForkedError):
                connection.replies(exchange)
            uses: list[Callable[[], object]] = [
                lambda: backend.read("/a"),
                lambda: read(connection, "/a"),
                lambda: connection.send_many([(M.READ, b"/a\0")]),
                lambda: backend.events("b:"),
                lambda: queue.next_event(None),
                queue.fileno,
            ]
            for _ in range(2):
                for each in uses:
                    with pytest.raises(ForkedError, match="parent"):
                        each()
                queue.wake()
                queue.drop(token)
                queue.close()
                backend.close()

        assert in_child(use) == 0
        assert connection.replies(exchange) == [value_of(b"/a")]
        connection.carry(M.WRITE, b"/a\0" + token)
        assert queue.next_event(60) == ("/a", token.decode())
        backend.close()


@pytest.mark.usefixtures("alarms", "implementation")
@pytest.mark.parametrize("use", ["carry", "replies", "next_event"])
def test_a_fork_in_a_signal_handler(use: str) -> None:
    """The child continues in the interrupted call, which raises ForkedError."""
    statuses: list[int] = []
    resumed = threading.Event()

    def serve(link: Link) -> None:
        assert resumed.wait(60)
        link.event(b"/a", b"1")
        answer(link)

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            end_this_process_after(60)
            return
        statuses.append(os.waitpid(pid, 0)[1])
        resumed.set()

    parent = os.getpid()
    with Peer(serve) as peer:
        backend = open_wire(peer.path)
        queue = backend.events("")
        queue.new_token()
        try:
            with interrupted_after(0.05, fork):
                result = USES[use](backend._connection, queue)
        except BaseException as error:
            if os.getpid() != parent:
                os._exit(0 if isinstance(error, ForkedError) else 2)
            raise
        if os.getpid() != parent:
            os._exit(3)
        assert result
        assert statuses == [0]
        backend.close()


@pytest.mark.usefixtures("implementation")
def test_forks_while_other_threads_are_in_the_middle() -> None:
    with peer_process() as path:
        backend = open_wire(path)
        connection = backend._connection
        queue = backend.events("")
        token = queue.new_token()
        over = threading.Event()

        def work(number: int) -> None:
            while not over.is_set():
                assert read(connection, f"/{number}") == value_of(b"/%d" % number)
                connection.carry(M.WRITE, b"/a\0" + token)

        def take() -> None:
            while not over.is_set():
                queue.next_event(0.001)

        def use() -> None:
            for call in (lambda: read(connection, "/a"), lambda: queue.next_event(None)):
                with pytest.raises(ForkedError):
                    call()
            own = open_wire(path, 60)
            assert own.read("/own") == value_of(b"/own")
            own.close()

        calls = [*(Call(partial(work, number)) for number in range(3)), Call(take)]
        statuses = [in_child(use) for _ in range(40)]
        over.set()
        assert [call.outcome() for call in calls] == [None] * 4
        assert statuses == [0] * 40
        backend.close()


EARLY = """
import os, signal, sys, threading
connections = []

def use():  # as a finalizer may that the collector runs here, before anybody is told of the fork
    if connections:
        signal.alarm(60)
        try:
            connections[0].carry(2, b"/a\\0")
        except OSError as error:
            os._exit(0 if type(error).__name__ == "ForkedError" else 2)
        os._exit(3)

os.register_at_fork(after_in_child=use)
from xsffi.backends.wire.backend import open_wire
connection = open_wire(sys.argv[1])._connection

def work():
    while True:
        connection.carry(2, b"/a\\0")

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
connections.append(connection)
for _ in range(300):
    pid = os.fork()
    if pid == 0:
        os._exit(4)
    status = os.waitpid(pid, 0)[1]
    if status:
        print("a child ended with", status)
        os._exit(1)
os._exit(0)
"""


def test_a_child_that_uses_the_connection_before_it_is_told(implementation: str) -> None:
    """While another thread of the parent held the lock."""
    environment = {**os.environ, "XSFFI_CONNECTION": "c" if implementation == "C" else "python"}
    with peer_process() as path:
        command = [sys.executable, "-c", EARLY, path]
        assert subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout == ""


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("step", ["open", "events", "fileno"])
def test_no_descriptors_left(step: str) -> None:
    """The error says so, nothing is leaked, and it works later."""
    with peer_process() as path:
        open_wire(path).close()
        for free in itertools.count():
            backend = open_wire(path, 60) if step != "open" else None
            queue = backend.events("") if backend is not None and step == "fileno" else None
            before = open_descriptors()
            error: OSError | None = None
            with descriptors_left(free):
                try:
                    if backend is None:
                        backend = open_wire(path, 60)
                    elif queue is None:
                        queue = backend.events("")
                    else:
                        queue.fileno()
                except OSError as caught:
                    error = caught
            if error is not None:
                assert error.errno == errno.EMFILE
                assert isinstance(error, XenStoreError) or step == "open"
                assert open_descriptors() == before, "something is left"
            backend = backend or open_wire(path, 60)
            queue = queue or backend.events("")
            assert backend.read("/a") == value_of(b"/a")
            assert not is_readable(queue.fileno())
            backend.close()
            if error is None:
                break
        assert free > 0, "it needs none"
