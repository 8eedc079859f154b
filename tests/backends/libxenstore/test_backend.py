"""The backend by itself: requests, its end, the daemon's death, a call that interrupts another, many at once."""

from __future__ import annotations

import errno
import glob
import itertools
import os
import socket
import threading
from collections.abc import Callable

import pytest
from daemons import Daemon, start_xenstored
from harness.alarms import Interrupt, at_moment, interrupt, interrupted_after
from harness.descriptors import open_descriptors
from harness.stores import environment_of, nobody_is_accepted, open_client
from harness.threads import Call, all_outcomes

import xsffi
from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.backends.libxenstore.extension import lib
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


#: None that the test has not to do with runs at one of the moments.
no_finalizers = pytest.mark.usefixtures("no_collection")


def test_requests(library: LibraryBackend) -> None:
    library.call(r.Write(b"/backend", b"\0value"))
    assert library.read("/backend") == library.call(r.Read(b"/backend")) == b"\0value"
    tx_id = library.call(r.TransactionStart())
    library.call(r.Write(b"/backend", b"2"), tx_id)
    assert (library.read("/backend"), library.call(r.Read(b"/backend"), tx_id)) == (b"\0value", b"2")
    library.call(r.TransactionEnd(commit=False), tx_id)
    outcomes = library.call_many([r.Read(b"/backend"), r.Read(b"/missing"), r.Rm(b"/backend"), r.ResetWatches()])
    assert (outcomes[0], outcomes[2]) == (b"\0value", None)
    assert [type(outcomes[place]) for place in (1, 3)] == [xsffi.NodeNotFoundError, xsffi.NotSupportedError]
    with pytest.raises(xsffi.NodeNotFoundError) as caught:
        library.read("/missing")
    assert caught.value.filename == "/missing"
    for wrong in ("", "//", "/a b", "/\0"):
        with pytest.raises(xsffi.InvalidArgumentError):
            library.read(wrong)
    with pytest.raises(xsffi.TooBigError):
        library.call(r.Write(b"/backend", bytes(5000)))
    library.post(r.Unwatch(b"/backend", b"0"))


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
            USES[use](library)  # which ask nothing of the daemon; there may be events still
        else:
            with pytest.raises(xsffi.ConnectionLostError):
                USES[use](library)
    library.close()
    with pytest.raises(xsffi.ClientClosedError):
        USES[use](library)


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
    """Whoever is inside, and in whatever, finds it closed and nothing else; the last one out frees all of it."""
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
            events.wake,
            lambda events=events: events.drop(b"1"),  # type: ignore[misc]
        ]
        calls = [Call(lambda use=use: until_closed(use)) for use in uses if use != events.wake]  # type: ignore[misc]
        for _ in range(10):
            events.wake()
        closers = [Call(library.close) for _ in range(2)]
        assert {type(call.outcome()) for call in calls} == {xsffi.ClientClosedError}
        assert [closer.outcome() for closer in closers] == [None, None]
        del uses, calls, events, library
    assert open_descriptors() == before


# A call that interrupts its own thread's call.


@no_finalizers
@pytest.mark.parametrize("use", USES)
def test_a_handler_at_any_moment(library: LibraryBackend, use: str) -> None:
    """It is carried out whole, or refused before anything is sent."""
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
@pytest.mark.parametrize("use", [use for use in USES if use != "bulk"])  # whose opening is the wire's
def test_an_interruption_at_any_moment(own_daemon: Daemon, open_library: OpenLibrary, use: str) -> None:
    """The thread, and others, use it as if nothing had been, and nothing is left over in the end."""
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
    """It runs once the daemon has answered."""
    library = open_library(own_daemon.socket_path)
    handled: list[object] = []
    own_daemon.pause()
    threading.Timer(0.3, own_daemon.resume).start()
    with interrupted_after(0.05, lambda: handled.append(library.read("/"))):
        assert library.read("/") == b""
    assert handled == [b""]


# Many at once.


def test_many_at_once(library: LibraryBackend) -> None:
    bulk = library.bulk()
    assert bulk.name == "wire"
    assert library.bulk() is bulk
    library.call(r.Write(b"/bulk", b"1"))
    assert bulk.call_many([r.Read(b"/bulk")] * 1000) == [b"1"] * 1000
    bulk.call(r.Rm(b"/bulk"))
    library.close()
    with pytest.raises(xsffi.ClientClosedError):
        bulk.read("/")


def test_threads_share_the_connection_for_many(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    before = open_descriptors()
    opened = all_outcomes([library.bulk] * 8)
    assert len(set(map(id, opened))) == 1
    # What was opened beside it is closed.
    library.close()
    library = open_library(own_daemon.socket_path)
    assert open_descriptors() == before


def test_close_while_a_connection_for_many_is_opened(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    with nobody_is_accepted(own_daemon):
        calls = [Call(library.bulk).until_asleep() for _ in range(2)]
        library.close()
        assert [type(call.outcome()) for call in calls] == [xsffi.ClientClosedError] * 2


def test_the_daemon_dies_while_a_connection_for_many_is_opened(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    with nobody_is_accepted(own_daemon):
        call = Call(library.bulk).until_asleep()
        own_daemon.kill()
        own_daemon.restart()
        assert type(call.outcome()) is xsffi.ConnectionLostError
        own_daemon.pause()


def test_another_daemon_at_the_same_path(open_library: OpenLibrary) -> None:
    """The first lives on, without its socket; the other is not talked to."""
    with start_xenstored() as first, start_xenstored() as other:
        library = open_library(first.socket_path)
        os.rename(other.socket_path, first.socket_path)
        with pytest.raises(xsffi.ConnectionLostError, match="another daemon"):
            library.bulk()
        assert library.read("/") == b""
        os.rename(first.socket_path, other.socket_path)


# What libxenstore shares with others.


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_a_default_timeout_of_sockets(daemon: Daemon, open_library: OpenLibrary, timeout: float | None) -> None:
    """It makes descriptors non-blocking: not that of libxenstore, of which ours is a duplicate."""
    socket.setdefaulttimeout(timeout)
    try:
        library = open_library(daemon.socket_path)
        for _ in range(200):
            library.call(r.Directory(b"/"))
    finally:
        socket.setdefaulttimeout(None)


def test_a_descriptor_that_cannot_be_told(
    own_daemon: Daemon, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's death is noticed by a further connection then."""

    class Lib:
        def __getattr__(self, name: str) -> object:
            return (lambda descriptor, path: 0) if name == "xsffi_is_connected_to" else getattr(lib, name)

    before = open_descriptors()
    monkeypatch.setattr("xsffi.backends.libxenstore.liveness.lib", Lib())
    library = open_library(own_daemon.socket_path)
    assert library.read("/") == b""
    assert library.bulk().read("/") == b""
    events = library.events()
    call = Call(lambda: events.next_event(None)).until_asleep()
    own_daemon.kill()
    assert type(call.outcome()) is xsffi.ConnectionLostError
    with pytest.raises(xsffi.ConnectionLostError):
        library.read("/")
    library.close()
    assert open_descriptors() == before


def test_a_fork(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    before = _pollers()
    library = open_library(own_daemon.socket_path)
    events = library.events()
    library.call(r.Watch(b"/", events.new_token(), None))
    assert events.next_event(5) is not None
    events.fileno()
    library.bulk()
    waiting = Call(lambda: events.next_event(None)).until_asleep()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            wrong = [name for name in USES if not _raises_forked_error(lambda name=name: USES[name](library))]  # type: ignore[misc]
            library.close()
            held = _pollers()
            with environment_of(own_daemon.socket_path):
                xsffi.Client(backend="libxenstore").close()
            status = 2 if wrong else 3 if held != before else 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with open_client(own_daemon.socket_path, "wire") as other:
        other.write("/fork", "")
        assert getattr(waiting.outcome(), "path", None) == "/fork"
        other.rm("/fork")
    assert library.read("/") == b""


def test_a_finalizer_in_a_child_that_was_not_yet_told(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    """Nothing of it reaches the parent's stream."""
    library = open_library(own_daemon.socket_path)
    events = library.events()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # As it is until the hook of the fork has run.
            library._connection.ended = None
            wrong = [name for name in USES if not _raises_forked_error(lambda name=name: USES[name](library))]  # type: ignore[misc]
            wrong += [] if _raises_forked_error(lambda: events.next_event(0)) else ["event"]
            library.close()
            status = 2 if wrong else 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert library.read("/") == b""
    assert events.next_event(0) is None


def _pollers() -> int:
    """How many descriptors there are that the backend makes to wait."""
    return sum(
        os.readlink(path).startswith("anon_inode:") for path in glob.glob("/proc/self/fd/*") if os.path.lexists(path)
    )


def _raises_forked_error(use: Callable[[], object]) -> bool:
    try:
        use()
    except xsffi.ForkedError:
        return True
    return False
