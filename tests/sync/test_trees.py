"""dump(): what it leaves behind, which events it takes, and how it ends; its results are covered by test_snapshots."""

from __future__ import annotations

import errno
import itertools
import threading
import time
from typing import Any

import pytest
from harness.alarms import Interrupt, interrupt
from harness.fakes import PATIENCE, FakeBackend, make_client
from harness.inprocess import DisturbedBackend, InProcessBackend, nothing_is_left

from xsffi import Client
from xsffi.errors import (
    ClientClosedError,
    NodeNotFoundError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
)
from xsffi.protocol.requests import Request, Watch
from xsffi.server.store import Store
from xsffi.sync.trees import snapshot


def paths(xs: Client, top: str = "/a") -> list[str]:
    return [node.path for node in xs.dump(top)]


def test_nothing_is_left_of_a_dump(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    watches: list[int] = []
    backend.before = lambda: watches.append(store.dom0.watches)
    assert paths(xs) == ["/a", "/a/b", "/a/d", "/a/b/c"]
    assert max(watches) == 2
    assert nothing_is_left(store, backend)


def test_nor_of_one_that_fails(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    with pytest.raises(NodeNotFoundError):
        xs.dump("/missing")
    assert nothing_is_left(store, backend)
    with make_client(InProcessBackend(store)) as other:
        backend.before = lambda: other.write("/a/e", "")
        with pytest.raises(TransactionConflictError):
            xs.dump("/a", attempts=3)
    assert nothing_is_left(store, backend)


def test_the_events_of_a_dump_and_of_the_user_are_apart(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    watch = xs.watch("/a")
    xs.read_watch(0)
    changes = iter(["/a/e", "/a/f"])
    with make_client(InProcessBackend(store)) as other:
        backend.before = lambda: other.write(next(changes, "/elsewhere"), "")
        assert {"/a/e", "/a/f"} <= set(paths(xs))
    backend.before = lambda: None
    assert [(event.path, event.token) for event in xs.events(0)] == [("/a/e", watch), ("/a/f", watch)]
    watch.close()


def test_two_dumps_at_once(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    """In two threads, or in a signal handler during another one: each has its own events."""
    expected = paths(xs)
    inner: list[list[str]] = []

    def dump() -> None:
        backend.before = lambda: None
        inner.append(paths(xs))

    for request in range(8):
        countdown = itertools.count(-request)
        backend.before = lambda countdown=countdown: dump() if next(countdown) == 0 else None  # type: ignore[misc]
        assert paths(xs) == expected
    assert inner == [expected] * len(inner)
    assert len(inner) > 3
    assert nothing_is_left(store, backend)


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_is_interrupted_at_a_request(xs: Client, store: Store, backend: DisturbedBackend, when: str) -> None:
    for request in itertools.count():
        countdown = itertools.count(-request)
        setattr(backend, when, lambda countdown=countdown: interrupt() if next(countdown) == 0 else None)
        try:
            xs.dump("/a")
            break
        except Interrupt:
            assert nothing_is_left(store, backend), f"at request {request}"
    assert request > 5


class TestDaemons:
    """Daemons that disappear, or do not answer."""

    def test_with_the_connection_all_is_gone(self, fake: FakeBackend, gone: type[XenStoreError]) -> None:
        with make_client(fake) as xs, pytest.raises(gone):
            xs.dump()
        fake.check_queues_closed()

    def test_an_event_that_does_not_come(self, fake: FakeBackend) -> None:
        backend: Any = fake
        with pytest.raises(WaitTimeoutError, match=r"within 0\.01 seconds") as caught:
            snapshot(backend, "/a", 10, timeout=0.01)
        assert caught.value.filename == "/a"
        fake.check_taken_back()

    def test_an_interruption_waits_for_no_answer(self, fake: FakeBackend) -> None:
        answers = threading.Event()

        def answer(request: Request[Any], tx_id: int) -> Any:
            if isinstance(request, Watch):
                return Interrupt()
            answers.wait(PATIENCE)
            return None

        fake.answer = answer
        start = time.monotonic()
        with make_client(fake) as xs, pytest.raises(Interrupt):
            xs.dump("/a")
        assert time.monotonic() - start < PATIENCE / 2
        answers.set()

    def test_close_ends_it(self, fake: FakeBackend) -> None:
        """While it waits for the first event, which does not come."""
        with make_client(fake) as xs:
            closer = threading.Timer(0.05, xs.close)
            closer.start()
            with pytest.raises(ClientClosedError):
                xs.dump("/a")
            closer.join()

    def test_close_ends_one_that_is_opening_a_connection(
        self, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The backend must end that; the client waits for nothing else."""
        opening, closed = threading.Event(), threading.Event()

        def bulk() -> FakeBackend:
            opening.set()
            assert closed.wait(PATIENCE)
            raise ClientClosedError(errno.EBADF, "the client is closed")

        monkeypatch.setattr(fake, "bulk", bulk)
        monkeypatch.setattr(fake, "close", closed.set)
        xs = make_client(fake)

        def close() -> None:
            opening.wait(PATIENCE)
            xs.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(ClientClosedError):
            xs.dump("/a")
        closer.join()
