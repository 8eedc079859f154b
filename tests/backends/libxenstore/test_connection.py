"""A handle shared by threads: closing, the daemon's death, a call that interrupts another, and forks."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, at_moment, interrupt, interrupted_after
from harness.children import in_child
from harness.descriptors import open_descriptors
from harness.peer import Link, Peer, answer
from harness.stores import open_client
from harness.threads import Call

import xsffi
from xsffi import WatchEvent
from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.protocol import requests as r

from .conftest import OpenLibrary

USES: dict[str, Callable[[LibraryBackend], object]] = {
    "read": lambda backend: backend.read("/"),
    "call": lambda backend: backend.call(r.Directory(b"/")),
    "call_many": lambda backend: backend.call_many([r.Read(b"/")]),
    "events": lambda backend: backend.events("more:").close(),
    "new_token": lambda backend: backend.events("more:").new_token(),
    "next_event": lambda backend: backend.events("more:").next_event(0),
    "fileno": lambda backend: backend.events("more:").fileno(),
    "bulk": lambda backend: backend.bulk().read("/"),
}


# Finalizers of unrelated objects do not run at one of the moments.
no_finalizers = pytest.mark.usefixtures("no_collection")


@pytest.mark.parametrize("use", USES)
def test_closed(library: LibraryBackend, use: str) -> None:
    events = library.events()
    library.close()
    library.close()
    with pytest.raises(xsffi.ClientClosedError):
        USES[use](library)
    for of_events in (events.new_token, events.fileno, lambda: events.next_event(None), lambda: events.drop(b"1")):
        with pytest.raises(xsffi.ClientClosedError):
            of_events()
    events.wake()
    events.close()
    library.post(r.Rm(b"/a"))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("use", USES)
def test_the_daemon_is_gone(own_daemon: Daemon, open_library: OpenLibrary, use: str, restarted: bool) -> None:
    library = open_library(own_daemon.socket_path)
    library.events().fileno()
    own_daemon.kill()
    if restarted:
        own_daemon.restart()
    for _ in range(3):
        if use in ("events", "new_token", "fileno"):
            USES[use](library)  # these send no request; events may still be pending
        else:
            with pytest.raises(xsffi.ConnectionLostError):
                USES[use](library)
    library.close()
    with pytest.raises(xsffi.ClientClosedError):
        USES[use](library)


def test_a_bad_request_is_no_end_of_the_connection(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    """If libxenstore has lost the daemon, every call fails with EINVAL, which may also be the daemon's reply."""
    library = open_library(own_daemon.socket_path)
    for watched in (False, True):
        if watched:
            library.call(r.Watch(b"/", library.events().new_token(), None))
        with pytest.raises(xsffi.InvalidArgumentError) as caught:
            library.call(r.Mkdir(b"//"))
        assert caught.value.filename == "//"
        assert library.read("/") == b""


def test_a_connection_that_libxenstore_gives_up(open_library: OpenLibrary) -> None:
    """The daemon is alive; the error says why the connection was closed."""

    def serve(link: Link) -> None:
        link.reply(link.request(), bytes(5000))
        answer(link)

    with Peer(serve) as peer:
        library = open_library(peer.path)
        for _ in range(2):
            with pytest.raises(xsffi.ConnectionLostError, match=r"libxenstore gave it up, .* more than 4096 bytes"):
                library.call(r.Directory(b"/"))
        library.close()


def test_nothing_is_left(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    before = open_descriptors()
    for end in (LibraryBackend.close, LibraryBackend.__del__, lambda library: own_daemon.kill()):
        library = open_library(own_daemon.socket_path)
        for prefix in ("", "a:", "b:"):
            events = library.events(prefix)
            library.call(r.Watch(b"/", events.new_token(), None))
            events.next_event(5)
            events.fileno()
        library.bulk().read("/")
        end(library)
        library.close()
        assert open_descriptors() == before


@pytest.mark.parametrize("use", ["read", "call", "call_many"])
def test_close_ends_a_request(own_daemon: Daemon, open_library: OpenLibrary, use: str) -> None:
    before = open_descriptors()
    library = open_library(own_daemon.socket_path)
    own_daemon.pause()
    calls = [Call(lambda: USES[use](library)).until_asleep() for _ in range(3)]
    library.close()
    assert [type(call.outcome()) for call in calls] == [xsffi.ClientClosedError] * 3
    assert open_descriptors() == before
    own_daemon.resume()


def test_threads_and_close(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    """Every thread in a call gets ClientClosedError and nothing else; the last one to leave frees everything."""
    before = open_descriptors()
    for _ in range(100):
        library = open_library(own_daemon.socket_path)
        events = library.events()
        library.call(r.Watch(b"/", events.new_token(), None))

        def until_closed(use: Callable[[], object]) -> None:
            while True:
                use()

        uses: list[Callable[[], object]] = [
            lambda library=library: library.read("/"),  # type: ignore[misc]
            lambda library=library: library.call(r.Directory(b"/")),  # type: ignore[misc]
            lambda events=events: events.next_event(0),  # type: ignore[misc]
            lambda events=events: events.next_event(None),  # type: ignore[misc]
            events.fileno,
            lambda events=events: events.drop(b"1"),  # type: ignore[misc]
        ]
        calls = [Call(lambda use=use: until_closed(use)) for use in uses]  # type: ignore[misc]
        for _ in range(10):
            events.wake()
        closers = [Call(library.close) for _ in range(2)]
        assert {type(call.outcome()) for call in calls} == {xsffi.ClientClosedError}
        assert [closer.outcome() for closer in closers] == [None, None]
        del uses, calls, events, library
    assert open_descriptors() == before


# A call that interrupts another call of its own thread.


@no_finalizers
@pytest.mark.parametrize("use", USES)
def test_a_handler_at_any_moment(library: LibraryBackend, use: str) -> None:
    """The handler's call either completes, or is refused before anything is sent."""
    refused = 0
    for moment in itertools.count():
        handled: list[object] = []

        def handle(handled: list[object] = handled) -> None:
            for other in USES.values():
                try:
                    other(library)
                    handled.append(None)
                except xsffi.XenStoreError as error:
                    handled.append(error.errno)

        with at_moment(moment, handle) as was_there:
            USES[use](library)
        assert set(handled) <= {None, errno.EDEADLK}, f"at moment {moment}"
        refused += errno.EDEADLK in handled
        if not was_there():
            break
    assert moment > 2
    assert refused or use in ("read", "call_many", "bulk"), "they are whole by themselves"


@no_finalizers
@pytest.mark.parametrize("use", USES)
def test_a_handler_that_closes_at_any_moment(own_daemon: Daemon, open_library: OpenLibrary, use: str) -> None:
    before = open_descriptors()
    for moment in itertools.count():
        library = open_library(own_daemon.socket_path)
        events = library.events()
        library.call(r.Watch(b"/", events.new_token(), None))
        events.fileno()
        with at_moment(moment, library.close) as was_there:
            try:
                USES[use](library)
            except xsffi.ClientClosedError:
                pass
        has_closed = was_there()
        if has_closed:
            with pytest.raises(xsffi.ClientClosedError):
                library.read("/")
        library.close()
        assert open_descriptors() == before, f"at moment {moment}"
        if not has_closed:
            break


@no_finalizers
@pytest.mark.parametrize("use", [use for use in USES if use != "bulk"])  # which is opened by the wire
def test_an_interruption_at_any_moment(own_daemon: Daemon, open_library: OpenLibrary, use: str) -> None:
    """Afterwards this thread and others can use the connection normally, and nothing is leaked."""
    before = open_descriptors()
    for moment in itertools.count():
        library = open_library(own_daemon.socket_path)
        try:
            with at_moment(moment, interrupt) as was_there:
                USES[use](library)
        except Interrupt:
            pass
        assert library.call(r.Read(b"/")) == b"", f"at moment {moment}"
        assert Call(lambda library=library: library.call(r.Read(b"/"))).outcome() == b""  # type: ignore[misc]
        library.close()
        assert open_descriptors() == before, f"at moment {moment}"
        if not was_there():
            break
    assert moment > 2


def test_a_handler_while_libxenstore_waits(own_daemon: Daemon, open_library: OpenLibrary, alarms: None) -> None:
    """The handler runs once the daemon has answered."""
    library = open_library(own_daemon.socket_path)
    handled: list[object] = []
    own_daemon.pause()
    threading.Timer(0.3, own_daemon.resume).start()
    with interrupted_after(0.05, lambda: handled.append(library.read("/"))):
        assert library.read("/") == b""
    assert handled == [b""]


# Child processes.


def test_a_fork(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    before = _pollers()
    library = open_library(own_daemon.socket_path)
    events = library.events()
    library.call(r.Watch(b"/", events.new_token(), None))
    assert events.next_event(5) == WatchEvent("/", "1")
    events.fileno()
    library.bulk()
    waiting = Call(lambda: events.next_event(None)).until_asleep()

    def use() -> None:
        for each in USES.values():
            with pytest.raises(xsffi.ForkedError):
                each(library)
        library.close()
        assert _pollers() == before
        open_client(own_daemon.socket_path, "libxenstore").close()

    assert in_child(use) == 0
    with open_client(own_daemon.socket_path, "wire") as other:
        other.write("/fork", "")
        assert waiting.result() == WatchEvent("/fork", "1")
        other.rm("/fork")
    assert library.read("/") == b""


def test_a_finalizer_in_a_child_that_was_not_yet_told(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    """It does not affect the parent's stream."""
    library = open_library(own_daemon.socket_path)
    events = library.events()
    uses: list[Callable[[LibraryBackend], object]] = [*USES.values(), lambda library: events.next_event(0)]

    def use() -> None:
        library._connection.ended = None  # the state before the fork hook has run
        for each in uses:
            with pytest.raises(xsffi.ForkedError):
                each(library)
        library.close()

    assert in_child(use) == 0
    assert library.read("/") == b""
    assert events.next_event(0) is None


def _pollers() -> int:
    """The number of descriptors that the backend has created for waiting."""
    return sum(os.readlink(f"/proc/self/fd/{name}").startswith("anon_inode:") for name in open_descriptors())
