"""Events over one handle, dispatched to queues: none is lost, and each queue's descriptor shows only its own events."""

from __future__ import annotations

import itertools
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, alarm_after, at_moment, interrupt, interrupted_after, of_finalizers, silence
from harness.descriptors import is_readable, open_descriptors
from harness.stores import client_of
from harness.threads import Call, until

import xsffi
from xsffi import Client, WatchEvent
from xsffi.backends.base import Events
from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.protocol import requests as r
from xsffi.protocol.session import STRANGE_EVENTS_MAX

from .conftest import OpenLibrary


@pytest.fixture(autouse=True)
def no_wait_ends_by_itself(request: pytest.FixtureRequest) -> None:
    """So a missing wakeup is noticed; except with signals, where the time limit is needed for one just before the
    sleep."""
    if "alarms" not in request.fixturenames:
        request.getfixturevalue("long_waits")


def watch(library: LibraryBackend, events: Events, path: str) -> bytes:
    """Watch a node, take the first event, and return the token."""
    token = events.new_token()
    library.call(r.Watch(path.encode(), token, None))
    event = events.next_event(10)
    assert event == WatchEvent(path, token.decode())
    return token


def all_of(events: Events) -> list[str]:
    """The paths of the pending events."""
    return [event.path for event in iter(lambda: events.next_event(0), None)]


def test_each_goes_to_its_queue(library: LibraryBackend, other: Client, top: str) -> None:
    queues = [library.events(prefix) for prefix in ("", "a:", "a:b:")]
    for number, events in enumerate(queues):
        token = watch(library, events, f"{top}/{number}")
        assert token.startswith((b"", b"a:", b"a:b:")[number])
    for name in ("2/a", "0/b", "1/c", "0/d"):
        other.write(f"{top}/{name}", "")
    # The first queue to look takes all that libxenstore has received, for every queue.
    assert queues[1].next_event(10) == WatchEvent(f"{top}/1/c", "a:2")
    library.read("/")
    assert [all_of(events) for events in queues] == [[f"{top}/0/b", f"{top}/0/d"], [], [f"{top}/2/a"]]


def test_an_event_that_another_takes(library: LibraryBackend, other: Client, top: str) -> None:
    """The descriptor shows it, and it ends a wait, although libxenstore no longer holds it."""
    mine, theirs = library.events("mine:"), library.events("theirs:")
    descriptor = mine.fileno()
    watch(library, mine, top)
    watch(library, theirs, "/theirs")
    assert all_of(mine) == []
    assert not is_readable(descriptor)
    for _ in range(3):
        other.write(top, "")
        library.read("/")  # the event arrives before the reply
        assert is_readable(descriptor)
        assert theirs.next_event(0) is None
        assert is_readable(descriptor)
        assert all_of(mine) == [top]
        assert not is_readable(descriptor)
        waiting = Call(lambda: mine.next_event(None)).until_asleep()
        other.write(top, "")
        until(lambda waiting=waiting: theirs.next_event(0) is None and waiting.is_over)  # type: ignore[misc]
        assert getattr(waiting.outcome(), "path", None) == top


def test_what_came_before_there_was_a_descriptor(library: LibraryBackend, other: Client, top: str) -> None:
    mine, theirs = library.events("mine:"), library.events("theirs:")
    watch(library, mine, top)
    other.write(top, "")
    library.read("/")
    until(lambda: theirs.next_event(0) is None and bool(mine.queue.events))  # type: ignore[attr-defined]
    assert is_readable(mine.fileno())


def test_many_waiters(daemon: Daemon, library: LibraryBackend, top: str) -> None:
    """Each gets its own events, whichever thread takes them."""
    queues = [library.events(f"{number}:") for number in range(6)]
    for number, events in enumerate(queues):
        watch(library, events, f"{top}/{number}")
    calls = [Call(lambda events=events: [events.next_event(10) for _ in range(50)]) for events in queues]  # type: ignore[misc]
    with client_of(daemon, "wire") as other:
        for change in range(50):  # each different, since xenstored may merge equal events
            for number in range(6):
                other.write(f"{top}/{number}/{change}", "")
    for number, call in enumerate(calls):
        assert [event and event.path for event in call.result()] == [f"{top}/{number}/{n}" for n in range(50)]


def test_put_back(library: LibraryBackend, other: Client, top: str) -> None:
    events = library.events()
    descriptor = events.fileno()
    watch(library, events, top)
    other.write(f"{top}/1", "")
    other.write(f"{top}/2", "")
    first = events.next_event(10)
    assert first is not None
    second = events.next_event(10)
    assert second is not None
    events.put_back(second)
    events.put_back(first)
    assert is_readable(descriptor)
    assert events.next_event(0) == first
    assert is_readable(descriptor)
    assert all_of(events) == [f"{top}/2"]
    assert not is_readable(descriptor)


def test_drop(library: LibraryBackend, other: Client, top: str) -> None:
    events = library.events()
    descriptor = events.fileno()
    tokens = [watch(library, events, f"{top}/{number}") for number in range(2)]
    for change in range(3):
        for number in range(2):
            other.write(f"{top}/{number}/{change}", "")
    library.call(r.Unwatch(f"{top}/0".encode(), tokens[0]))
    events.drop(tokens[0])
    assert is_readable(descriptor)
    assert all_of(events) == [f"{top}/1/{change}" for change in range(3)]
    assert not is_readable(descriptor)


def test_a_closed_queue(library: LibraryBackend, other: Client, top: str) -> None:
    events, further = library.events("a:"), library.events("b:")
    token = watch(library, events, top)
    watch(library, further, top)
    waiting = Call(lambda: events.next_event(None)).until_asleep()
    events.close()
    assert waiting.outcome() is None
    other.write(top, "")
    assert getattr(further.next_event(10), "path", None) == top
    assert all_of(further) == []
    library.call(r.Unwatch(top.encode(), token))
    # With a different prefix, since the new queue would get events of the closed one that libxenstore still holds.
    assert watch(library, library.events("c:"), top) not in (b"", token)


def test_a_queue_that_is_closed_leaves_nothing(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    library.events().fileno()
    before = open_descriptors()
    for number in range(20):
        events = library.events(f"{number}:")
        events.fileno()
        events.next_event(0.001)
        events.close()
        events.close()
        assert open_descriptors() == before


# The end of a wait.


def test_wake(library: LibraryBackend) -> None:
    events, further = library.events("a:"), library.events("b:")
    for timeout in (None, 3600.0):
        waiting = Call(lambda timeout=timeout: events.next_event(timeout)).until_asleep()  # type: ignore[misc]
        waiting_too = Call(lambda: further.next_event(None)).until_asleep()
        events.wake()
        assert waiting.outcome() is None
        assert not waiting_too.is_over
        further.wake()
        assert waiting_too.outcome() is None
    events.wake()
    events.wake()
    assert events.next_event(None) is None, "the next one"
    waiting = Call(lambda: events.next_event(None)).until_asleep()
    assert not waiting.is_over
    events.wake()
    assert waiting.outcome() is None


def test_a_time_that_is_up(library: LibraryBackend) -> None:
    events = library.events()
    begin = time.monotonic()
    assert events.next_event(0) is None
    assert events.next_event(0.05) is None
    assert time.monotonic() - begin >= 0.05


def test_close_ends_a_wait(library: LibraryBackend) -> None:
    events = [library.events(f"{number}:") for number in range(3)]
    descriptor = events[0].fileno()
    calls = [Call(lambda each=each: each.next_event(None)).until_asleep() for each in events]  # type: ignore[misc]
    polling = Call(lambda: is_readable(descriptor, 60)).until_asleep()
    library.close()
    assert [type(call.outcome()) for call in calls] == [xsffi.ClientClosedError] * 3
    polling.outcome()


@pytest.mark.parametrize("count", [0, 1, 300])
def test_what_came_before_the_daemons_death(own_daemon: Daemon, open_library: OpenLibrary, count: int) -> None:
    library = open_library(own_daemon.socket_path)
    events, further = library.events(), library.events("further:")
    descriptor = events.fileno()
    watch(library, events, "/a")
    waiting = Call(lambda: further.next_event(None)).until_asleep()
    with client_of(own_daemon, "wire") as other:
        for number in range(count):
            other.write(f"/a/{number}", "")
    library.read("/")  # the events arrive before the reply
    own_daemon.kill()
    assert is_readable(descriptor, 10)
    assert type(waiting.outcome()) is xsffi.ConnectionLostError
    paths = []
    with pytest.raises(xsffi.ConnectionLostError):
        while True:
            event = events.next_event(None)
            assert event is not None
            paths.append(event.path)
    assert paths == [f"/a/{number}" for number in range(count)]
    for _ in range(3):
        assert is_readable(descriptor)
        with pytest.raises(xsffi.ConnectionLostError):
            events.next_event(0)


# Interruptions.


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("timeout", [0, 0.001])
def test_an_interruption_loses_no_event(library: LibraryBackend, other: Client, top: str, timeout: float) -> None:
    """At any moment: an event that was not returned is still in its queue, once, and the descriptor shows it."""
    mine, theirs = library.events("mine:"), library.events("theirs:")
    descriptors = [mine.fileno(), theirs.fileno()]
    watch(library, mine, f"{top}/mine")
    watch(library, theirs, f"{top}/theirs")
    for moment in itertools.count():
        other.write(f"{top}/theirs", "")
        other.write(f"{top}/mine", "")
        until(lambda: is_readable(descriptors[0]))
        library.read("/")
        taken: list[WatchEvent | None] = []
        try:
            with at_moment(moment, interrupt) as was_there:
                taken.append(mine.next_event(timeout))
                taken.append(mine.next_event(timeout))
        except Interrupt:
            pass
        paths = [event.path for event in taken if event is not None]
        if not paths:
            assert is_readable(descriptors[0]), f"at moment {moment}"
        assert is_readable(descriptors[1]), f"at moment {moment}"
        assert paths + all_of(mine) == [f"{top}/mine"], f"at moment {moment}"
        assert all_of(theirs) == [f"{top}/theirs"], f"at moment {moment}"
        if not was_there():
            break
    assert moment > 20


@of_finalizers
def test_a_storm_of_interruptions(own_daemon: Daemon, open_library: OpenLibrary, alarms: None) -> None:
    library = open_library(own_daemon.socket_path)
    events = library.events()
    watch(library, events, "/a")
    over = threading.Event()
    sent: list[str] = []

    def write() -> None:
        with client_of(own_daemon, "wire") as other:
            while not over.is_set():
                sent.append(f"/a/{len(sent)}")
                other.write(sent[-1], "")
                time.sleep(0.0002)

    writer = Call(write)
    got: list[WatchEvent] = []
    signal.signal(signal.SIGALRM, interrupt)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        taken: list[WatchEvent | None] = []
        try:
            alarm_after(random.uniform(0.0001, 0.002))
            while True:
                # A single call, so that the test itself loses none.
                taken.extend(map(events.next_event, (None,)))
        except Interrupt:
            pass
        got += [event for event in taken if event is not None]
    silence()
    over.set()
    writer.result()
    while len(got) < len(sent):
        event = events.next_event(10)
        assert event is not None, "one was lost"
        got.append(event)
    assert [event.path for event in got] == sent
    assert all_of(events) == []


def test_a_handler_while_a_wait_sleeps(library: LibraryBackend, other: Client, top: str, alarms: None) -> None:
    """The handler may make any call, and may also wait."""
    events, further = library.events("a:"), library.events("b:")
    handled: list[object] = []

    def handle() -> None:
        handled.append(library.read("/"))
        watch(library, further, top)
        handled.append(further.next_event(0.01))
        other.write(top, "")
        handled.append(getattr(further.next_event(10), "path", None))
        events.wake()

    with interrupted_after(0.05, handle):
        assert events.next_event(None) is None
    assert handled == [b"", None, top]


# A daemon that sends unsolicited events.


@contextmanager
def store_that_floods(path: Path) -> Iterator[Callable[[bytes, int], None]]:
    """A socket where every request is answered; the result is a function that sends a number of events with a token."""
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        try:
            while header := connection.recv(16, socket.MSG_WAITALL):
                type, req_id, tx_id, length = struct.unpack("=4I", header)
                connection.recv(length, socket.MSG_WAITALL)
                connection.sendall(struct.pack("=4I", type, req_id, tx_id, 3) + b"OK\0")
        except OSError:
            pass

    def flood(token: bytes, count: int) -> None:
        payload = b"/flood\0" + token + b"\0"
        try:
            for _ in range(count):
                connections[0].sendall(struct.pack("=4I", 15, 0, 0, len(payload)) + payload)
        except OSError:
            pass  # the client has closed the connection

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield flood
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()


def test_events_that_nobody_asked_for(tmp_path: Path, open_library: OpenLibrary) -> None:
    """They are dropped; too many of them end the connection, and the error says why."""
    with store_that_floods(tmp_path / "socket") as flood:
        library = open_library(str(tmp_path / "socket"))
        events = library.events()
        token = events.new_token()
        library.call(r.Watch(b"/a", token, None))
        flood(b"other", STRANGE_EVENTS_MAX // 2)
        flood(token, 1)
        assert events.next_event(10) == WatchEvent("/flood", token.decode())
        assert library.read("/a") == b"OK\0"
        flood(b"other", STRANGE_EVENTS_MAX)
        with pytest.raises(xsffi.ConnectionLostError, match=r"unknown watch.*'other'"):
            events.next_event(10)
        for _ in range(2):
            with pytest.raises(xsffi.ConnectionLostError, match="unknown watch"):
                library.call(r.Rm(b"/a"))


def test_events_of_a_watch_that_is_gone(tmp_path: Path, open_library: OpenLibrary) -> None:
    """They may arrive late, and are dropped, however many there are."""
    with store_that_floods(tmp_path / "socket") as flood:
        library = open_library(str(tmp_path / "socket"))
        events, closed = library.events(), library.events("closed:")
        token = closed.new_token()
        library.call(r.Watch(b"/a", token, None))
        closed.close()
        flood(token, STRANGE_EVENTS_MAX * 2)
        library.read("/a")
        assert events.next_event(0) is None
        assert library.read("/a") == b"OK\0"
