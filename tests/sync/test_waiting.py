"""Waiting in threads: what is shared, which thread reads, and what an interruption leaves behind."""

from __future__ import annotations

import errno
import gc
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from harness.alarms import Interrupt, alarm_after, at_moment, interrupt, interrupted_after, of_finalizers, silence
from harness.children import in_child
from harness.threads import Call, all_outcomes, switching_often

import xsffi
from xsffi import Client
from xsffi.conditions import View, any_of, node_appears, value_becomes
from xsffi.testing import EmbeddedStore

LONG = 60.0  # seconds


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as store:
        yield store


@pytest.fixture(params=["c", "python"])
def xs(store: EmbeddedStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client over the wire's connection in C, or in Python."""
    if request.param == "python":
        monkeypatch.setattr("xsffi.backends.wire.native.open_in_c", None)
    with store.connect(backend="wire") as client:
        yield client


@pytest.fixture
def other(store: EmbeddedStore) -> Iterator[Client]:
    with store.connect(backend="wire") as client:
        yield client


def watches(store: EmbeddedStore, xs: Client) -> int:
    """How many watches dom0 has in the daemon, once all requests have been carried out."""
    xs.exists("/")
    count: int = store._loop.call(lambda: store._store.dom0.watches)
    return count


def begun(waiting: threading.Event, condition: Callable[[View], Any]) -> Callable[[View], Any]:
    """The condition, which also reports that it has been evaluated."""

    def judged(view: View) -> Any:
        result = condition(view)
        waiting.set()
        return result

    return judged


def waiting(xs: Client, condition: Callable[[View], Any], timeout: float | None = LONG) -> Call[Any]:
    """A wait in its own thread, whose condition has been evaluated."""
    judged = threading.Event()
    call = Call(partial(xs.wait, begun(judged, condition), timeout))
    assert judged.wait(LONG)
    return call


class TestSharing:
    def test_watches_are_shared_by_path(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        waits = [waiting(xs, value_becomes(f"/node/{number % 3}", str(number))) for number in range(30)]
        assert watches(store, other) == 4  # on the three nodes, and on the release of domains
        for number in range(30):
            other.write(f"/node/{number % 3}", str(number))
            assert waits[number].result() is True
        assert watches(store, xs) == 0

    def test_whoever_reads_may_leave(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """Because of its timeout, its condition, or an exception in that: another thread continues to read."""
        first = waiting(xs, node_appears("/a"), timeout=0.2)
        second = waiting(xs, node_appears("/b"))
        third = waiting(xs, lambda view: view.exists("/c") and 1 / 0)
        last = waiting(xs, node_appears("/d"))
        with pytest.raises(xsffi.WaitTimeoutError):
            first.result()
        other.mkdir("/b")
        assert second.result() is True
        other.mkdir("/c")
        with pytest.raises(ZeroDivisionError):
            third.result()
        other.mkdir("/d")
        assert last.result() is True
        assert watches(store, xs) == 0

    def test_close_ends_all(self, xs: Client) -> None:
        waits = [waiting(xs, node_appears(f"/{number}")) for number in range(10)]
        xs.close()
        for wait in waits:
            with pytest.raises(xsffi.ClientClosedError):
                wait.result()

    def test_the_daemons_end_ends_all(self, store: EmbeddedStore, xs: Client) -> None:
        waits = [waiting(xs, node_appears(f"/{number}")) for number in range(10)]
        store.stop()
        for wait in waits:
            with pytest.raises(xsffi.ConnectionLostError):
                wait.result()

    def test_many_short_ones(self, xs: Client) -> None:
        """Some set watches while others end."""

        def wait_again_and_again(number: int) -> None:
            for turn in range(40):
                with pytest.raises(xsffi.WaitTimeoutError):
                    xs.wait_for(f"/{number + turn % 3}", "1", 0)

        with switching_often():
            assert all_outcomes([partial(wait_again_and_again, number) for number in range(20)]) == [None] * 20

    def test_something_changes_all_the_time(self, xs: Client, other: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """The timeout ends that too."""
        monkeypatch.setattr("xsffi.protocol.conditions._LAST_LOOK", 0.1)

        def condition(view: View) -> Any:
            other.write("/a", str(time.monotonic()))
            return view.get("/a") == b"never"

        begin = time.monotonic()
        with pytest.raises(xsffi.WaitTimeoutError, match=r"0\.2 seconds"):
            xs.wait(condition, 0.2)
        assert time.monotonic() - begin < LONG

    def test_a_daemon_that_does_not_reply(
        self, xs: Client, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("xsffi.protocol.conditions._LAST_LOOK", 0.1)
        xs.wait_for("/a", None)
        store.delay_answers(LONG)
        with pytest.raises(xsffi.WaitTimeoutError, match=r"0\.1 seconds"):
            xs.wait_for("/a", "1", 0.1)

    def test_ever_other_paths(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """Watches of paths that are no longer read do not accumulate."""
        most = 0

        def condition(view: View) -> bool:
            nonlocal most
            number = int(view.get("/number", b"0"))
            view.get(f"/a/{number}")
            most = max(most, watches(store, other))
            if number < 100:
                other.write("/number", str(number + 1))
            return number == 100

        assert xs.wait(condition, LONG)
        assert most < 30
        assert watches(store, xs) == 0

    def test_a_child_process(self, xs: Client) -> None:
        """Whatever other threads were doing when it was forked."""
        with xs._waits._lock:

            def child() -> None:
                with pytest.raises(xsffi.ForkedError):
                    xs.wait_for("/a", "1", 0)

            assert in_child(child) == 0

    def test_a_storm(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """Of short waits, and of changes."""
        over = threading.Event()

        def work(number: int) -> None:
            for turn in range(20):
                xs.wait_for(f"/storm/{(number + turn) % 4}", lambda value: value is not None, LONG)
                with pytest.raises(xsffi.WaitTimeoutError):
                    xs.wait_for("/storm/never", "1", timeout=0.001 * (turn % 3))

        def change() -> None:
            for number in itertools.cycle(range(4)):
                if over.is_set():
                    return
                other.write(f"/storm/{number}", "1")
                other.rm(f"/storm/{number}")
                other.write(f"/storm/{number}", "1")

        changing = Call(change)
        assert all_outcomes([partial(work, number) for number in range(8)]) == [None] * 8
        over.set()
        assert changing.outcome() is None
        assert watches(store, xs) == 0


class TestInterruptions:
    def test_ctrl_c(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        def condition(view: View) -> bool:
            found = view.exists("/a")
            alarm_after(0.1)  # while it sleeps
            return found

        for _ in range(5):
            with pytest.raises(Interrupt), interrupted_after(LONG):
                xs.wait(condition, LONG)
        assert watches(store, xs) == 0
        other.mkdir("/a")
        assert xs.wait(node_appears("/a"), LONG)

    def test_ctrl_c_of_the_one_who_reads(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """Another thread continues to read."""
        inner: list[Call[Any]] = []

        def condition(view: View) -> bool:
            found = view.exists("/mine")
            if not inner:
                inner.append(waiting(xs, node_appears("/theirs")))
            return found

        with pytest.raises(Interrupt), interrupted_after(0.1):
            xs.wait(condition, LONG)
        other.mkdir("/theirs")
        assert inner[0].result() is True
        assert watches(store, xs) == 0

    @of_finalizers
    def test_at_any_moment(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """In C, nothing is left, and the connection stays usable; in Python, it may be over, with an error that says
        so."""
        in_c = "in C" in xs.backend.description

        for moment in itertools.count():
            with store.connect(backend="wire") as client:
                try:
                    with at_moment(moment, interrupt) as was_there, pytest.raises(xsffi.WaitTimeoutError):
                        client.wait(any_of(node_appears("/a"), node_appears("/b")), timeout=0)
                except Interrupt:
                    pass
                if not was_there():
                    break
                try:
                    assert watches(store, client) == 0, f"at moment {moment}"
                except xsffi.ConnectionLostError:
                    assert not in_c
                    while watches(store, other):
                        pass  # until the daemon has noticed the end of the connection
                    continue
                other.mkdir("/c")
                assert client.wait(node_appears("/c"), timeout=5)
                other.rm("/c")
                client.exists("/")  # so that the watches of that wait are gone before the next client counts
        assert moment > 100

    def wait_interrupted(self, xs: Client, handle: Callable[[int, Any], None]) -> None:
        """Wait for /outer, while a signal handler runs."""
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            assert xs.wait_for("/outer", "1", LONG) == b"1"
        finally:
            silence()

    def test_a_signal_handler_that_waits(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """During its own thread's wait, which it interrupts: both waits succeed."""
        inner: list[object] = []

        def handle(number: int, frame: object) -> None:
            silence()
            threading.Timer(0.05, other.write, ("/inner", "1")).start()
            inner.append(xs.wait_for("/inner", "1", LONG))
            other.write("/outer", "1")

        self.wait_interrupted(xs, handle)
        assert inner == [b"1"]
        assert watches(store, xs) == 0

    def test_whoever_reads_leaves_while_a_handler_waits(self, xs: Client, other: Client) -> None:
        """The next reader is not the wait interrupted by the handler, which cannot continue."""
        reader = waiting(xs, value_becomes("/x", "1"))
        results: list[bytes | None] = []

        def change() -> None:
            other.write("/x", "1")
            reader.result()
            other.write("/z", "1")

        def handler(*_: object) -> None:
            thread = threading.Thread(target=change)
            begun = threading.Event()

            def start() -> None:
                begun.wait(LONG)
                thread.start()

            starter = threading.Thread(target=start)
            starter.start()

            def condition(view: View) -> Any:
                begun.set()
                return view.get("/z")

            results.append(xs.wait(condition, LONG))
            starter.join()
            thread.join()
            other.write("/y", "1")

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            xs.wait_for("/y", "1", LONG)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert results == [b"1"]

    def test_what_a_handler_took_in_is_not_missed(self, store: EmbeddedStore, xs: Client, other: Client) -> None:
        """The handler's wait reads the event that the interrupted one is waiting for."""

        def handle(number: int, frame: object) -> None:
            silence()
            other.write("/outer", "1")
            other.write("/inner", "1")
            xs.wait_for("/inner", "1", LONG)

        self.wait_interrupted(xs, handle)

    def test_a_finalizer_that_waits(self, xs: Client, other: Client) -> None:
        """At any moment of its own thread's wait: it succeeds, or gets EDEADLK."""
        outcomes: list[object] = []

        class Waiter:
            def __del__(self) -> None:
                try:
                    outcomes.append(xs.wait_for("/there", "1", timeout=5))
                except xsffi.XenStoreError as error:
                    outcomes.append(error.errno)

        other.write("/there", "1")
        for moment in itertools.count(0, 11):
            waiter = [Waiter()]
            with at_moment(moment, waiter.clear) as was_there, pytest.raises(xsffi.WaitTimeoutError):
                xs.wait(node_appears("/a"), timeout=0)
            waiter.clear()
            gc.collect()
            if not was_there():
                break
        assert set(outcomes) - {errno.EDEADLK} == {b"1"}
