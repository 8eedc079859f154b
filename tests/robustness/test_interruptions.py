"""Ctrl-C and signal handlers at any moment, while other threads use the same client."""

from __future__ import annotations

import copy
import errno
import gc
import itertools
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, alarm_after, at_moment, interrupt, of_finalizers, silence
from harness.descriptors import open_descriptors
from harness.stores import client_of, events_so_far, open_client
from harness.threads import all_outcomes, switching_often

import xsffi
import xsffi.backends.wire.native
from xsffi import Client


def is_in_c() -> bool:
    """Whether the wire's connection is implemented in C: then an interruption ends a wait, and nothing else."""
    return xsffi.backends.wire.native.open_in_c is not None


def interrupt_after(seconds: float, use: Callable[[], object]) -> xsffi.ConnectionLostError | None:
    """Use the client repeatedly until the alarm; returns its error if the connection was lost before."""
    lost = None
    signal.signal(signal.SIGALRM, interrupt)
    try:
        alarm_after(seconds)
        try:
            while True:
                use()
        except xsffi.ConnectionLostError as error:
            lost = error
            time.sleep(10)  # until the alarm
    except Interrupt:
        pass
    silence()
    return lost


@pytest.fixture
def alarms() -> object:
    """Stops the test's alarms at the end."""
    if sys.version_info < (3, 10):
        pytest.skip("a `with` of Python 3.9 can lose its lock to what a handler raises (bpo-29988)")
    yield None
    silence()


@of_finalizers
def test_a_storm_of_interruptions_strands_no_other_thread(daemon: Daemon, top: str, alarms: object) -> None:
    """They continue, or learn at once that the connection is over: an interruption may end one in Python."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with client_of(daemon, "wire") as xs:
            if not _storm(xs, top, end):
                assert not is_in_c()


def _storm(xs: Client, top: str, end: float) -> bool:
    """Interrupt this thread again and again; returns whether the connection has survived."""
    stop = threading.Event()
    progress = [0, 0, 0]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                xs.write(f"{top}/{number}", str(progress[number]))
                assert xs.read(f"{top}/{number}") == str(progress[number]).encode()
                progress[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    lost = False
    try:
        while time.monotonic() < end and not lost:
            before = list(progress)
            error = interrupt_after(random.uniform(0.0001, 0.002), lambda: xs.read(top))
            if error is not None:
                failures.append(error)
                lost = True
            deadline = time.monotonic() + 5
            while progress == before and time.monotonic() < deadline and not failures and not lost:
                time.sleep(0.0005)
            assert progress != before or failures or lost, "the other threads are stranded"
            lost = lost or bool(failures)
    finally:
        silence()
        if not lost:
            stop.set()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive(), "it hangs"
    assert all("Interrupt interrupted it in the middle of a step" in str(error) for error in failures), failures
    assert len(failures) >= (3 if lost else 0)
    return not lost


@of_finalizers
def test_what_an_interruption_leaves_is_free(daemon: Daemon, top: str, alarms: object) -> None:
    """Immediately, even in the clause that catches the exception: for this thread, for others, and for polling."""
    if not is_in_c():
        pytest.skip("a connection in Python may be over by it")
    with client_of(daemon, "wire") as xs, client_of(daemon, "wire") as other:

        def write() -> None:
            xs.write(f"{top}/other", "")
            written.append(True)

        xs.watch(top, token="token")
        descriptor = xs.fileno()
        signal.signal(signal.SIGALRM, interrupt)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                alarm_after(random.uniform(0.00005, 0.0005))
                while True:
                    with xs.watch(f"{top}/more"):
                        xs.check_watch()
            except Interrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                xs.write(f"{top}/own", "")
                written: list[bool] = []
                thread = threading.Thread(target=write, daemon=True)
                thread.start()
                thread.join(10)
                assert written == [True], "another thread is stranded"
            other.write(f"{top}/event", "")
            paths = set()
            while select.select([descriptor], [], [], 0.05)[0]:
                event = xs.check_watch()
                if event is not None:
                    paths.add(event.path)
            assert f"{top}/event" in paths


def test_a_handler_between_the_pieces_of_a_reply(tmp_path: Path, alarms: object) -> None:
    """The handler becomes the thread that receives: it gets the header of the awaited reply, but not the rest."""
    sent = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(100)
            header = struct.pack("=IIII", *struct.unpack_from("=III", request), 5)
            connection.send(header)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGALRM)
            sent.wait(10)
            connection.send(b"value")
            connection.recv(1)

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            assert xs.check_watch() is None
        except xsffi.XenStoreError as error:
            if error.errno != errno.EDEADLK:  # a connection in Python is locked by the waiting thread
                raise
        sent.set()
        time.sleep(0.1)  # the rest arrives before this returns

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        with xsffi.Client(tmp_path / "socket", backend="wire", timeout=10) as xs:
            signal.signal(signal.SIGALRM, handle)
            assert xs.read("/a") == b"value"
        server.join()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("in_c", [True, False], ids=["in C", "in Python"])
@pytest.mark.parametrize("answer", [b"", b"\xff" * 16], ids=["it hangs up", "it answers nonsense"])
def test_a_handler_that_closes_the_client_as_the_connection_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, in_c: bool
) -> None:
    """At any moment of the call: afterwards the client is closed, and holds nothing."""
    if not in_c:
        monkeypatch.setattr("xsffi.backends.wire.native.open_in_c", None)
    served, over = threading.Semaphore(0), threading.Event()

    def serve() -> None:
        while not over.is_set():
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.recv(100)
                    connection.send(answer)
                except ConnectionError:
                    pass  # the client was closed before
            served.release()

    def lose(moment: int) -> bool:
        """Lose the connection, with the handler running at this moment; returns whether there was such a moment."""
        before = open_descriptors()
        xs = xsffi.Client(path, backend="wire", timeout=10)
        xs.fileno()
        with pytest.raises(xsffi.XenStoreError), at_moment(moment, xs.close) as was_there:
            xs.read("/a")
        has_closed = was_there()
        if not has_closed:
            xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            xs.read("/a")
        assert served.acquire(timeout=10)
        assert open_descriptors() == before, f"at moment {moment}"
        return has_closed

    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        closed = list(itertools.takewhile(bool, map(lose, itertools.count())))
        over.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(path)
        server.join()
    assert len(closed) > 3


def test_a_handler_that_uses_the_client_again_and_again(daemon: Daemon, top: str, alarms: object) -> None:
    with client_of(daemon, "wire") as xs:
        xs.write(f"{top}/a", "1")
        handled = 0

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal handled
            try:
                assert xs.read(f"{top}/a") == b"1"
                handled += 1
            except xsffi.XenStoreError as error:
                if error.errno != errno.EDEADLK:  # it ran while a request was being queued
                    raise
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.0005))

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        try:
            end = time.monotonic() + 60
            while handled <= 100 and time.monotonic() < end:
                assert xs.read(f"{top}/a") == b"1"
        finally:
            silence()
        assert handled > 100


USES: dict[str, Callable[[Client, str], object]] = {
    "read": lambda xs, top: xs.read(top),
    "get": lambda xs, top: xs.get(f"{top}/missing"),
    "write": lambda xs, top: xs.write(top, "1"),
    "read_many": lambda xs, top: xs.read_many([top] * 3),
    "check_watch": lambda xs, top: xs.check_watch(),
    "watch": lambda xs, top: xs.watch(f"{top}/watched").close(),
    "run": lambda xs, top: xs.run(timeout=0),
}


@pytest.mark.parametrize("use", USES)
def test_a_handler_that_uses_the_client_at_any_moment(xs: Client, top: str, use: str) -> None:
    xs.write(top, "1")
    expected = USES[use](xs, top)

    def handle() -> None:
        try:
            assert xs.read(top) == b"1"
        except xsffi.XenStoreError as error:
            if error.errno != errno.EDEADLK:  # it ran in the middle of a step
                raise

    for moment in itertools.count():
        with at_moment(moment, handle) as was_there:
            result = USES[use](xs, top)
        assert result == expected, f"at moment {moment}"
        if not was_there():
            break
    assert moment > 3


@of_finalizers
@pytest.mark.parametrize("use", [use for use in USES if use != "watch"])  # which would leave a watch each time
def test_interrupted_at_any_moment(daemon: Daemon, top: str, use: str) -> None:
    """Afterwards this thread, and others, can use the client normally, or learn that the connection is over."""
    others: SimpleQueue[object] = SimpleQueue()

    def read() -> object:
        try:
            return xs.read(top)
        except xsffi.ConnectionLostError as error:
            return "lost" if "Interrupt interrupted it in the middle of a step" in str(error) else error

    with ExitStack() as clients:
        xs = clients.enter_context(client_of(daemon, "wire"))
        xs.write(top, "1")
        expected = USES[use](xs, top)
        for moment in itertools.count():
            try:
                with at_moment(moment, interrupt) as was_there:
                    USES[use](xs, top)
            except (Interrupt, xsffi.ConnectionLostError):
                pass
            found = read()
            assert found == b"1" or (found == "lost" and not is_in_c()), f"at moment {moment}"
            threading.Thread(target=lambda: others.put(read()), daemon=True).start()
            assert others.get(timeout=10) == found, f"at moment {moment}"
            if found == "lost":
                xs = clients.enter_context(client_of(daemon, "wire"))
            if not was_there():
                break
        assert moment > 3
        assert USES[use](xs, top) == expected


LEFT: dict[str, Callable[[Client], object]] = {"watch": lambda xs: xs.watch("/a"), "dump": lambda xs: xs.dump("/a")}


@of_finalizers
@pytest.mark.parametrize("use", LEFT.values(), ids=LEFT)
def test_no_watch_is_left_wherever_it_is_interrupted(
    embedded: Any, backend: str, use: Callable[[Client], object]
) -> None:
    """If the interruption ends the connection, as it may in Python, the watches end with it."""
    dom0 = embedded.store._store.dom0
    before = dom0.watches
    for moment in itertools.count():
        with client_of(embedded, backend) as xs:
            xs.write("/a", "")
            result = None
            try:
                with at_moment(moment, interrupt) as was_there:
                    result = use(xs)
            except (Interrupt, xsffi.ConnectionLostError):
                pass
            if isinstance(result, xsffi.Watch):
                result.close()
            deadline = time.monotonic() + 10
            while dom0.watches > before and time.monotonic() < deadline:
                time.sleep(0.001)
            assert dom0.watches == before, f"at moment {moment}"
        if not was_there():
            break
    assert moment > 3


def test_a_read_among_many_others(xs: Client, top: str) -> None:
    """Single requests, and many at once, in threads that switch as often as possible."""
    xs.write(f"{top}/a", "1")
    end = time.monotonic() + 2

    def work(call: Callable[[], object]) -> None:
        while time.monotonic() < end:
            call()

    calls: list[Callable[[], object]] = [
        lambda: xs.read(f"{top}/a"),
        lambda: xs.get(f"{top}/missing"),
        lambda: xs.read_many([f"{top}/a"] * 200),
        lambda: xs.read_many([f"{top}/a"] * 100),
    ]
    with switching_often():
        assert all_outcomes([partial(work, call) for call in calls]) == [None] * 4


@of_finalizers
def test_run_may_be_interrupted_and_run_again(daemon: Daemon, backend: str, alarms: object) -> None:
    with ExitStack() as clients:
        xs = clients.enter_context(client_of(daemon, backend))
        for _ in range(200):
            lost = interrupt_after(random.uniform(0.0001, 0.001), partial(xs.run, timeout=0))
            if lost is not None:
                assert backend == "wire"
                assert not is_in_c()
                xs = clients.enter_context(client_of(daemon, backend))
        xs = clients.enter_context(client_of(daemon, backend)) if backend == "wire" and not is_in_c() else xs
        xs.run(timeout=0)


def test_an_interrupted_watch_of_libxenstore_is_taken_away(own_daemon: Daemon, alarms: object) -> None:
    with client_of(own_daemon, "libxenstore") as xs, client_of(own_daemon, "wire") as other:
        signal.signal(signal.SIGALRM, interrupt)
        own_daemon.pause()
        threading.Timer(0.2, own_daemon.resume).start()
        with pytest.raises(Interrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            xs.watch("/a")
        other.write("/a", "")
        assert events_so_far(xs) == []


def test_a_default_timeout_of_sockets_is_no_concern(daemon: Daemon, backend: str) -> None:
    socket.setdefaulttimeout(5)
    try:
        with client_of(daemon, backend) as xs:
            for _ in range(100):
                xs.ls("/")
            with xs.watch("/a"):
                xs.read_watch(5)
    finally:
        socket.setdefaulttimeout(None)


def test_nothing_is_left_of_many_clients(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend):
        pass
    before = open_descriptors()
    for _ in range(300):
        with client_of(own_daemon, backend) as xs:
            xs.watch("/a")
    assert open_descriptors() == before


def test_a_dropped_client_is_closed_also_where_warnings_are_errors(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend):
        pass
    before = open_descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = open_client(own_daemon.socket_path, backend)
        unraisable, sys.unraisablehook = sys.unraisablehook, lambda error: None
        try:
            del client
            gc.collect()
        finally:
            sys.unraisablehook = unraisable
    assert open_descriptors() == before


def test_what_cannot_be_copied(xs: Client, top: str) -> None:
    with xs.transaction() as t:
        for each in (xs, t):
            with pytest.raises(TypeError, match="copied"):
                copy.copy(each)
        t.write(f"{top}/a", "1")
    assert xs.read(f"{top}/a") == b"1"


def test_the_events_of_removed_watches_do_not_pile_up(xs: Client, top: str) -> None:
    descriptor = xs.fileno()
    for _ in range(200):
        xs.watch(top).close()
    assert xs.check_watch() is None
    assert descriptor == xs.fileno()
    from select import select

    assert not select([descriptor], [], [], 0)[0]


def test_a_miss_in_a_transaction_is_no_conflict_with_others(xs: Client, other: Client, top: str) -> None:
    name = f"/beside-{Path(top).name}"
    try:
        with xs.transaction() as t:
            t.write(f"{top}/mine", "1")
            assert t.get(f"{top}/missing") is None
            other.write(name, "")
        assert xs.exists(f"{top}/mine")
    finally:
        other.rm(name)
