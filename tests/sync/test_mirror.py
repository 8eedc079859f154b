"""mirror(): what it leaves behind, how it ends, and what may interfere; its results are covered by the conformance
suite."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.alarms import Interrupt, interrupt
from harness.descriptors import is_readable
from harness.fakes import FakeBackend, make_client
from harness.inprocess import DisturbedBackend, InProcessBackend, nothing_is_left
from harness.mirrors import apply, check_is_dump

from xsffi import Client, Mirror
from xsffi.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ClientClosedError,
    ConnectionLostError,
    NodeNotFoundError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
)
from xsffi.server.store import Store
from xsffi.testing import EmbeddedStore


def test_nothing_is_left(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    with xs.mirror("/a") as mirror:
        assert store.dom0.watches == 2
        xs.write("/a/e", "")
        assert [change.path for change in mirror.update()] == ["/a", "/a/e"]
        mirror.resync()
        assert mirror.update() == []
        assert store.dom0.watches == 2
    assert nothing_is_left(store, backend)
    mirrors = [xs.mirror("/a") for _ in range(3)]
    xs.close()
    assert all(mirror.closed for mirror in mirrors)
    assert not xs._mirrors_opened[0]._open


def test_two_mirrors_of_one_client(xs: Client) -> None:
    with xs.mirror("/a") as one, xs.mirror("/a/b") as other:
        assert one != other
        xs.write("/a/b/c", "2")
        assert [change.path for change in one.update()] == ["/a/b/c"]
        assert [change.path for change in other.update()] == ["/a/b/c"]
        assert repr(other) == "<xsffi.Mirror '/a/b', 2 nodes>"
    assert repr(other) == "<xsffi.Mirror '/a/b', 2 nodes closed>"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_opening_that_is_interrupted(xs: Client, store: Store, backend: DisturbedBackend, when: str) -> None:
    for request in itertools.count():
        countdown = itertools.count(-request)
        setattr(backend, when, lambda countdown=countdown: interrupt() if next(countdown) == 0 else None)
        try:
            xs.mirror("/a").close()
            break
        except Interrupt:
            setattr(backend, when, lambda: None)
            assert nothing_is_left(store, backend), f"at request {request}"
            assert not xs._mirrors_opened[0]._open
    assert request > 5


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("is_anew", [False, True])
def test_an_update_that_is_interrupted(xs: Client, backend: DisturbedBackend, when: str, is_anew: bool) -> None:
    for request in itertools.count():
        mirror = xs.mirror("/a")
        known = mirror.copy()
        xs.write("/a/b/c", str(request))
        xs.rm("/a/d") if request % 2 else xs.write("/a/d/e", "")
        if is_anew:
            mirror.resync()
        countdown = itertools.count(-request)
        setattr(backend, when, lambda countdown=countdown: interrupt() if next(countdown) == 0 else None)
        is_done = True
        try:
            apply(mirror.update(), known)
        except Interrupt:
            is_done = False
        finally:
            setattr(backend, when, lambda: None)
        assert mirror.copy() == known
        apply(mirror.update(), known)
        check_is_dump(known, xs, "/a")
        assert mirror.copy() == known
        mirror.close()
        if is_done:
            break
    assert request > 3


def test_an_event_that_is_lost_by_an_interruption(xs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the queue and the mirror; then everything is read again."""
    with xs.mirror("/a") as mirror:
        xs.write("/a/b/c", "2")
        events: Any = mirror._upkeep.link._events  # type: ignore[union-attr]
        next_event = events.next_event

        def interrupted(timeout: float | None) -> None:
            assert next_event(timeout) is not None
            monkeypatch.undo()
            raise Interrupt

        monkeypatch.setattr(events, "next_event", interrupted)
        with pytest.raises(Interrupt):
            mirror.update(1)
        assert [change.path for change in mirror.update()] == ["/a/b/c"]


class TestDescriptor:
    """It is readable while there is something to read, even if no event for that is left."""

    @pytest.fixture
    def store(self) -> Iterator[EmbeddedStore]:
        with EmbeddedStore({"/a/b": b""}) as store:
            yield store

    @pytest.fixture
    def xs(self, store: EmbeddedStore) -> Iterator[Client]:
        with store.connect(backend="wire") as client:
            yield client

    def test_after_a_conflict(self, xs: Client, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("xsffi.protocol.mirroring._ROUNDS", 2)
        with xs.mirror("/a") as mirror, store.connect(backend="wire") as other:
            mirror.fileno()
            link: Any = mirror._upkeep.link
            with monkeypatch.context() as patch:

                def carry(effect: Any, carry: Callable[[Any], Any] = link.carry) -> Any:
                    if isinstance(effect, list):
                        other.write("/a/b", os.urandom(4).hex())
                    return carry(effect)

                patch.setattr(link, "carry", carry)
                with pytest.raises(TransactionConflictError):
                    mirror.update()
            assert is_readable(mirror.fileno())
            assert [change.path for change in mirror.update()] == ["/a/b"]
            assert not is_readable(mirror.fileno())

    def test_after_an_interruption(self, xs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        with xs.mirror("/a") as mirror:
            mirror.fileno()
            xs.write("/a/b", "1")
            with monkeypatch.context() as patch:

                def interrupted(effect: Any, carry: Callable[[Any], Any] = mirror._upkeep.link.carry) -> Any:  # type: ignore[union-attr]
                    if isinstance(effect, list):
                        raise Interrupt
                    return carry(effect)

                patch.setattr(mirror._upkeep.link, "carry", interrupted)
                with pytest.raises(Interrupt):
                    mirror.update()
            assert is_readable(mirror.fileno())
            assert [change.path for change in mirror.update()] == ["/a/b"]
            assert not is_readable(mirror.fileno())

    def test_not_where_a_node_cannot_be_read(self, xs: Client, store: EmbeddedStore) -> None:
        """A loop over it would never sleep; an event arrives once the node can be read."""
        store.create_domain(5)
        xs.write("/a/c", "")
        for path in ("/a", "/a/b", "/a/c"):
            xs.set_permissions(path, ["n0", "r5"])
        with store.connect(5) as guest, guest.mirror("/a") as mirror:
            mirror.fileno()
            xs.set_permissions("/a/c", ["n0"])
            xs.write("/a/b", "1")
            with pytest.raises(AccessDeniedError):
                mirror.update(60)
            assert not is_readable(mirror.fileno())


def test_events_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is limited; beyond that, everything is read again."""
    monkeypatch.setattr("xsffi.sync.mirror_links._WAITING_MAX", 10)
    with EmbeddedStore({"/a/b": b""}) as store, store.connect(backend="wire") as xs, xs.mirror("/a") as mirror:
        known = mirror.copy()
        for number in range(100):
            xs.write(f"/a/{number}", "")
        apply(mirror.update(), known)
        check_is_dump(known, xs, "/a")
        assert len(known) == 102


def test_one_that_is_dropped(xs: Client, store: Store, backend: DisturbedBackend) -> None:
    mirror: Mirror | None = xs.mirror("/a")
    assert store.dom0.watches == 2
    with pytest.warns(ResourceWarning, match=r"<xsffi.Mirror '/a', 4 nodes> was not closed"):
        mirror = None
    assert mirror is None
    assert nothing_is_left(store, backend)


def test_what_a_callback_may_do(xs: Client) -> None:
    with xs.mirror("/a") as mirror:
        told: list[str] = []

        def callback(change: Any) -> None:
            told.append(change.path)
            with pytest.raises(RuntimeError, match="already running"):
                mirror.run(callback, 0)
            if len(told) == 1:
                xs.write("/a/f", "")
                told.extend(change.path for change in mirror.update())

        xs.write("/a/e", "")
        mirror.run(callback, 0)
        assert sorted(set(told)) == ["/a", "/a/e", "/a/f"]
        with pytest.raises(ZeroDivisionError):
            mirror.wait(lambda view: 1 // 0)
        assert mirror.wait(lambda view: view.exists("/a/f")) is True


class TestDaemons:
    """Daemons that disappear, or do not answer."""

    @pytest.mark.parametrize("reconnect", [False, True])
    def test_an_opening_that_fails(self, fake: FakeBackend, gone: type[XenStoreError], reconnect: bool) -> None:
        with make_client(fake) as xs, pytest.raises(gone):
            xs.mirror(reconnect=reconnect)
        fake.check_queues_closed()

    def test_an_event_that_does_not_come(self, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        with make_client(fake) as xs:
            xs._timeout = 0.01
            with pytest.raises(WaitTimeoutError, match=r"within 0\.01 seconds"):
                xs.mirror("/a")
        fake.check_taken_back()


class TestReconnecting:
    """The client's connections are to stores in this process."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What is opened next: backends, or errors."""
        to_open: list[Any] = []

        def open_backend(*arguments: Any) -> Any:
            assert arguments == ("wire", "/of/a/test", None, None, 1.0)
            found = to_open.pop(0)
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr("xsffi.sync.mirror.open_backend", open_backend)
        return to_open

    def test_what_is_different_is_told(
        self, xs: Client, backend: DisturbedBackend, opened: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        mirror = xs.mirror("/a", reconnect=True)
        known = mirror.copy()
        other = Store()
        with make_client(InProcessBackend(other)) as client:
            client.write("/a/b/c", "1")
            client.write("/a/new", "")
            backend.is_lost = True
            unavailable = BackendUnavailableError(errno.ENOENT, "nobody")
            second = DisturbedBackend(other)
            opened += [unavailable, unavailable, second]
            assert mirror.update() == []
            assert not mirror.connected
            assert mirror.copy() == known
            with pytest.raises(ConnectionLostError, match="disconnected"):
                mirror.fileno()
            apply(mirror.update(10), known)
            assert opened == []
            check_is_dump(known, client, "/a")
            assert [record.levelname for record in caplog.records].count("WARNING") == 1
            # The connection is lost during an update, which opens another one at once.
            second.is_lost = True
            client.write("/a/newer", "")
            third = InProcessBackend(other)
            opened += [third]
            apply(mirror.update(), known)
            assert "/a/newer" in known
            assert other.dom0.watches == 2  # the second connection's watches went with it
            mirror.close()
            with pytest.raises(ClientClosedError):
                mirror.update()

    def test_changes_that_are_held_are_told_at_once(
        self, xs: Client, backend: DisturbedBackend, opened: list[Any]
    ) -> None:
        with xs.mirror("/a", reconnect=True) as mirror:
            xs.write("/a/e", "")
            changes = mirror.changes()
            assert next(changes).path == "/a"
            backend.is_lost = True
            opened += [BackendUnavailableError(errno.ENOENT, "nobody")] * 3
            assert [change.path for change in mirror.update(60)] == ["/a/e"]

    def test_one_that_is_lost_again_and_again(self, xs: Client, backend: DisturbedBackend, opened: list[Any]) -> None:
        """It pauses between attempts."""
        mirror = xs.mirror("/a", reconnect=True)
        backend.is_lost = True
        for _ in range(100):
            another = DisturbedBackend(Store())
            another.is_lost = True
            opened.append(another)
        assert mirror.update(0.5) == []
        assert 90 <= len(opened) < 99
        mirror.close()


def test_a_child_process(tmp_path: Path) -> None:
    """It can read its parent's mirror, but neither update nor reconnect it."""
    with EmbeddedStore({"/a": b"1"}) as store, store.connect(backend="wire") as xs:
        mirror = xs.mirror("/", reconnect=True)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if mirror["/a"].value == b"1":
                    mirror.update()
            except RuntimeError as error:
                status = 0 if "parent" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        xs.write("/a", "2")
        assert [change.path for change in mirror.update()] == ["/a"]
        with pytest.raises(NodeNotFoundError):
            mirror.wait(lambda view: view.read("/b"), 1)
