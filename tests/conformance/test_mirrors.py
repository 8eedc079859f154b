"""Mirrors: whatever writers do, and whatever happens to connections and daemons, a mirror is the tree of some
moment."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from daemons import DAEMON_KINDS, Daemon, start_daemon
from harness.descriptors import is_readable
from harness.embedded import EmbeddedDaemon
from harness.mirrors import apply, check_is_dump, check_mirror
from harness.stores import AIO, CLIENTS, client_of, events_so_far, of_sync_alone, open_client
from harness.threads import Call, until
from harness.writers import CHANGES, SCHEDULES, Change, Schedule, carry_out, random_change
from hypothesis import HealthCheck, given, settings

import xsffi
from xsffi import Client, Node, conditions
from xsffi.testing import EmbeddedStore

_numbers = itertools.count(1)


def paths_of(changes: list[xsffi.Change]) -> list[str]:
    return [change.path for change in changes]


@given(before=CHANGES, schedules=st.lists(SCHEDULES, min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_each_update_is_of_one_moment(daemon: Daemon, before: Change, schedules: list[Schedule]) -> None:
    with client_of(daemon, "wire") as client, client_of(daemon, "wire") as reader:
        check_mirror(client, reader.backend, f"/test/mirror-{next(_numbers)}", before, schedules)


class TestReading:
    def test_it_is_the_tree(self, xs: Client, top: str) -> None:
        for path in ("b/c/d", "a/e"):
            xs.write(f"{top}/{path}", path)
        xs.set_permissions(f"{top}/a", ["n0", "r5"])
        with xs.mirror(top) as mirror:
            assert mirror.top == top
            assert len(mirror) == 6
            check_is_dump(mirror, xs, top)
            assert mirror[f"{top}/a/e"].value == b"a/e"
            assert f"{top}/b/c" in mirror
            assert f"{top}/x" not in mirror
            assert mirror.get(f"{top}/x") is None
            with pytest.raises(KeyError):
                mirror[f"{top}/x"]
            copied = mirror.copy()
            assert copied == dict(mirror.items())
            xs.write(f"{top}/a/e", "2")
            assert mirror.copy() == copied  # until it is updated
            assert paths_of(mirror.update()) == [f"{top}/a/e"]
            assert copied[f"{top}/a/e"].value == b"a/e"

    def test_no_top(self, xs: Client, top: str) -> None:
        with xs.mirror(f"{top}/x/y") as mirror:
            assert dict(mirror) == {}
            assert mirror.update() == []
            xs.write(f"{top}/x/y/z", "1")
            assert paths_of(mirror.update()) == [f"{top}/x/y", f"{top}/x/y/z"]
            xs.rm(f"{top}/x")
            assert [(change.path, change.new) for change in mirror.update()] == [
                (f"{top}/x/y", None),
                (f"{top}/x/y/z", None),
            ]
            assert dict(mirror) == {}

    def test_the_whole_store(self, xs: Client, top: str) -> None:
        """With names that look like special paths; and some xenstored send a mirror events of the permissions of
        those."""
        with xs.mirror() as mirror:
            try:
                for path in (f"{top}/@a/@b", "/@test/x"):
                    xs.write(path, "1")
                assert paths_of(mirror.update())[0] == "/"
                check_is_dump(mirror, xs, "/")
                assert {"/@test", "/@test/x", f"{top}/@a/@b"} <= set(mirror)
            finally:
                xs.rm("/@test")
            mirror.update()
            check_is_dump(mirror, xs, "/")

    def test_wrong_arguments(self, xs: Client) -> None:
        for top in ("/a//b", "", "/ä"):
            with pytest.raises(xsffi.InvalidArgumentError):
                xs.mirror(top)
        with pytest.raises(TypeError):
            xs.mirror(1)  # type: ignore[arg-type]
        with xs.mirror("/") as mirror:
            with pytest.raises(ValueError, match="must not be negative"):
                mirror.update(-1)
            with pytest.raises(ValueError, match="must not be negative"):
                mirror.changes(-1)
            with pytest.raises(TypeError, match="a condition must be a function"):
                mirror.wait("/")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="a callback must be callable"):
                mirror.run(None)  # type: ignore[arg-type]


class TestChanges:
    def test_what_is_told(self, xs: Client, top: str, other: Client) -> None:
        xs.write(f"{top}/a", "1")
        with xs.mirror(top) as mirror:
            assert mirror.update() == []
            other.write(f"{top}/a", "2")
            other.write(f"{top}/a", "3")
            (change,) = mirror.update()
            assert (change.path, change.old.value, change.new.value) == (f"{top}/a", b"1", b"3")  # type: ignore[union-attr]
            other.write(f"{top}/b/c", "1")
            assert [(path, old is None) for path, old, _ in mirror.update()] == [
                (top, False), (f"{top}/b", True), (f"{top}/b/c", True)
            ]  # fmt: skip
            other.set_permissions(f"{top}/b", ["n0", "r7"])
            assert paths_of(mirror.update()) == [f"{top}/b"]
            other.rm(f"{top}/b")
            assert [(path, new is None) for path, _, new in mirror.update()] == [
                (f"{top}/b", True), (f"{top}/b/c", True), (top, False)
            ]  # fmt: skip

    def test_removed_and_made_anew(self, xs: Client, top: str, other: Client) -> None:
        for path in ("a/b/c", "a/d"):
            other.write(f"{top}/{path}", "1")
        with xs.mirror(top) as mirror:
            other.rm(f"{top}/a")
            other.write(f"{top}/a/b/c", "1")
            changed = {change.path: change.new for change in mirror.update()}
            assert changed[f"{top}/a/d"] is None
            check_is_dump(mirror, xs, top)

    def test_it_waits_for_one(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            begin = time.monotonic()
            assert mirror.update(0.05) == []
            assert time.monotonic() - begin >= 0.05
            call = Call(lambda: mirror.update(60))
            time.sleep(0.02)
            other.write(f"{top}/a", "1")
            assert paths_of(call.result()) == [top, f"{top}/a"]

    def test_iterating(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            other.write(f"{top}/a", "1")
            for change in mirror.changes(10):
                assert change.path == top
                break
            other.write(f"{top}/a", "2")
            told = list(mirror.changes(0))  # the rest, and later ones
            assert [(path, new.value) for path, _, new in told if new][-1] == (f"{top}/a", b"2")
            assert mirror.update() == []

    def test_the_users_events_are_apart(self, xs: Client, top: str, other: Client) -> None:
        with xs.watch(top) as watch, xs.mirror(top) as mirror:
            assert events_so_far(xs) == [(top, watch)]
            other.write(f"{top}/a", "1")
            assert paths_of(mirror.update()) == [top, f"{top}/a"]
            assert events_so_far(xs) == [(f"{top}/a", watch)]

    def test_callbacks(self, xs: Client, top: str, other: Client, caplog: pytest.LogCaptureFixture) -> None:
        told: list[str] = []
        with xs.mirror(top) as mirror:

            def callback(change: xsffi.Change) -> None:
                told.append(change.path)
                if change.path.endswith("end"):
                    mirror.stop()
                if change.path.endswith("a"):
                    raise ValueError("no")

            other.write(f"{top}/a", "1")
            mirror.run(callback, timeout=0)
            assert told == [top, f"{top}/a"]
            assert "the callback of the mirror" in caplog.text
            other.write(f"{top}/end", "1")
            mirror.run(callback, timeout=60)
            assert told[2:] == [top, f"{top}/end"]
            mirror.run(callback, timeout=0.02)
            mirror.stop()
            mirror.run(callback)

    def test_one_at_a_time(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            call = Call(lambda: mirror.update(60))
            until(lambda: _is_being_updated(mirror))
            for _ in range(3):
                with pytest.raises(RuntimeError, match="being updated"):
                    mirror.update()
            other.write(f"{top}/a", "1")
            assert paths_of(call.result()) == [top, f"{top}/a"]
            paths = iter(mirror)
            next(paths)
            other.write(f"{top}/a", "2")
            mirror.update()
            with pytest.raises(RuntimeError, match="updated during iteration"):
                next(paths)

    def test_many_nodes(self, xs: Client, daemon: Daemon, top: str, other: Client) -> None:
        """All nodes are written while the mirror is being updated. Fewer with oxenstored: once 1,000 events are waiting
        for any watch, it may ignore the writer for ever."""
        owner = (xsffi.Permission(0, "n"),)
        count = 400 if daemon.kind == "oxenstored" else 5000

        def write(value: bytes) -> None:
            other.load(Node(f"{top}/{number // 100}/{number % 100}", value, (), owner) for number in range(count))

        write(b"1")
        with xs.mirror(top) as mirror:
            assert len(mirror) == count + count // 100 + 1
            known = mirror.copy()
            for work in (lambda: write(b"2"), lambda: other.rm(top), lambda: write(b"3")):
                call = Call(work)
                while not call.is_over:
                    with suppress(xsffi.TransactionConflictError):
                        apply(mirror.update(), known)
                call.result()
                apply(mirror.update(), known)
                assert known == mirror.copy()
                check_is_dump(mirror, other, top)


def _is_being_updated(mirror: Any) -> bool:
    inner = getattr(mirror, "_awaited", mirror)
    return bool(getattr(inner, "_updaters", None) or getattr(inner, "_is_updating", False))


class TestWaiting:
    def test_for_a_condition(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            call = Call(lambda: mirror.wait(conditions.value_becomes(f"{top}/a/state", "4"), 60))
            for state in ("1", "4"):
                other.write(f"{top}/a/state", state)
            assert call.result() is True
            # Changes made meanwhile are still reported.
            assert paths_of(mirror.update()) == [top, f"{top}/a", f"{top}/a/state"]
            assert mirror.wait(lambda view: view.ls(f"{top}/a")) == ["state"]

    def test_the_time_is_up(self, xs: Client, top: str) -> None:
        with xs.mirror(top) as mirror:
            for timeout in (0, 0.02):
                with pytest.raises(xsffi.WaitTimeoutError, match=f"within {timeout} seconds"):
                    mirror.wait(conditions.node_appears(f"{top}/a"), timeout)
            with pytest.raises(xsffi.InvalidArgumentError, match="outside the mirror"):
                mirror.wait(conditions.node_appears("/elsewhere"), 10)
            with pytest.raises(ZeroDivisionError):
                mirror.wait(lambda view: 1 // 0)

    @of_sync_alone("an event loop needs no descriptor")
    def test_by_a_descriptor(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            for number in range(5):
                while is_readable(mirror.fileno()):
                    assert mirror.update() == []
                other.write(f"{top}/a", str(number))
                assert is_readable(mirror.fileno(), 60)
                assert paths_of(mirror.update())[-1] == f"{top}/a"
            other.write(f"{top}/b", "")
            assert mirror.wait(lambda view: view.exists(f"{top}/b"))
            assert is_readable(mirror.fileno(), 60)  # there are changes to report
            assert paths_of(mirror.update()) == [top, f"{top}/b"]


class TestTheEnd:
    def test_nothing_is_left(self, own_daemon: Daemon, backend: str) -> None:
        with client_of(own_daemon, backend) as xs, client_of(own_daemon, "wire") as other:
            for _ in range(300):  # more than a guest's quota of watches
                with xs.mirror("/"):
                    pass
            with xs.mirror("/") as mirror:
                pass
            assert mirror.closed
            assert "/" in mirror  # what was read is kept
            mirror.close()
            other.write("/a", "1")
            for call in (mirror.update, lambda: next(iter(mirror.changes())), mirror.__enter__):
                with pytest.raises(xsffi.ClientClosedError, match="the mirror is closed"):
                    call()

    def test_close_ends_a_wait(self, xs: Client, top: str) -> None:
        mirror = xs.mirror(top)
        call = Call(lambda: mirror.update(None))
        until(lambda: _is_being_updated(mirror))
        time.sleep(0.02)
        mirror.close()
        assert isinstance(call.outcome(), xsffi.ClientClosedError)

    @pytest.mark.parametrize("reconnect", [False, True])
    def test_with_the_client_it_ends(self, daemon: Daemon, backend: str, reconnect: bool) -> None:
        with client_of(daemon, backend) as xs:
            mirror = xs.mirror("/test", reconnect)
            call = Call(lambda: mirror.update(None))
            until(lambda: _is_being_updated(mirror))
            time.sleep(0.02)
            xs.close()
            assert isinstance(call.outcome(), xsffi.ClientClosedError)
            with pytest.raises(xsffi.ClientClosedError, match="the client is closed"):
                mirror.update()
            assert mirror.closed
            mirror.close()
            with pytest.raises(xsffi.ClientClosedError):
                xs.mirror("/test")

    def test_the_daemon_is_gone(self, own_daemon: Daemon, backend: str) -> None:
        with client_of(own_daemon, backend) as xs:
            mirror = xs.mirror("/")
            call = Call(lambda: mirror.update(None))
            time.sleep(0.02)
            own_daemon.kill()
            assert isinstance(call.outcome(), xsffi.ConnectionLostError)
            for _ in range(2):
                with pytest.raises(xsffi.ConnectionLostError):
                    mirror.update()
            own_daemon.restart()
            with pytest.raises(xsffi.ConnectionLostError):
                mirror.update()
            with pytest.raises(xsffi.ConnectionLostError):
                xs.mirror("/", reconnect=True)
            assert "/" in mirror
            mirror.close()

    def test_a_guest_may_not_read_a_node(self, daemon: Daemon, backend: str) -> None:
        """Unreadable nodes are treated as in a dump."""
        if not isinstance(daemon, EmbeddedDaemon) or backend == "libxenstore":
            pytest.skip("a guest of the embedded store has a socket")
        with client_of(daemon, "wire") as dom0, open_client(daemon.store.socket_path(7), backend) as xs:
            home = "/local/domain/7"
            dom0.write(f"{home}/a", "1")
            dom0.set_permissions(f"{home}/a", ["n7"])
            mirror = xs.mirror(home)
            dom0.write(f"{home}/secret", "1")
            dom0.set_permissions(f"{home}/secret", ["n0"])
            with pytest.raises(xsffi.AccessDeniedError):
                mirror.update()
            with pytest.raises(xsffi.AccessDeniedError):
                xs.mirror(home)
            dom0.set_permissions(f"{home}/secret", ["n0", "r7"])
            assert paths_of(mirror.update()) == [home, f"{home}/secret"]
            dom0.rm(f"{home}/secret")
            mirror.close()


class TestLostWatches:
    def test_resync(self, daemon: Daemon, backend: str, top: str, other: Client) -> None:
        """As after a guest's resume: the kernel does not set watches again that it does not know."""
        with client_of(daemon, backend) as xs, xs.mirror(top) as mirror:
            known = mirror.copy()
            other.write(f"{top}/a", "1")
            mirror.resync()
            apply(mirror.update(), known)
            assert f"{top}/a" in known
            other.write(f"{top}/b", "1")
            apply(mirror.update(), known)
            check_is_dump(known, other, top)

    def test_one_that_waits(self, xs: Client, top: str) -> None:
        with xs.mirror(top) as mirror:
            call = Call(lambda: mirror.update(0.2))
            time.sleep(0.02)
            mirror.resync()
            assert call.result() == []

    @pytest.mark.parametrize("backend", ["wire", AIO])
    def test_reset_watches(self, xs: Client, top: str, other: Client) -> None:
        with xs.mirror(top) as mirror:
            call = Call(lambda: mirror.update(60))
            time.sleep(0.02)
            xs.reset_watches()
            other.write(f"{top}/a", "1")
            assert paths_of(call.result()) == [top, f"{top}/a"]


@contextmanager
def own_store(kind: str) -> Iterator[Any]:
    if kind == "embedded":
        with EmbeddedDaemon() as store:
            yield store
    else:
        with start_daemon(kind) as daemon:
            yield daemon


def _connections(path: str) -> list[int]:
    """The descriptors of this process that are connected to a socket."""
    if sys.implementation.name == "pypy":
        pytest.skip("PyPy has a descriptor block of which a socket object is made, the event loop's own too")
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as one:
                if one.family == socket.AF_UNIX and one.getpeername() == path:
                    found.append(int(name))
        except OSError:
            pass  # closed meanwhile, or not connected
    return sorted(found)


def cut(path: str, spared: list[int]) -> None:
    """Cut this process's connections to a socket, except those spared."""
    for descriptor in set(_connections(path)) - set(spared):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
            one.shutdown(socket.SHUT_RDWR)


class TestReconnecting:
    def test_a_daemon_that_comes_back(self, own_daemon: Daemon, backend: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "xsffi")
        with client_of(own_daemon, backend) as xs:
            xs.write("/test/a/b", "1")
            with xs.mirror("/test", reconnect=True) as mirror:
                known = mirror.copy()
                own_daemon.kill()
                assert mirror.update() == []
                assert mirror.update(0.1) == []
                assert not mirror.connected
                assert dict(mirror) == known
                call = Call(lambda: mirror.update(60))
                own_daemon.restart()
                apply(call.result(), known)
                assert mirror.connected
                assert known == {}
                for number in range(2):
                    with client_of(own_daemon, "wire") as other:
                        other.write("/test/c", str(number))
                        apply(mirror.update(), known)
                        assert known["/test/c"].value == b"%d" % number
                with pytest.raises(xsffi.ConnectionLostError):
                    xs.read("/")
                own_daemon.kill()
                begin = time.monotonic()
                with pytest.raises(xsffi.WaitTimeoutError):
                    mirror.wait(lambda view: view.exists("/test/d"), 0.1)
                assert time.monotonic() - begin >= 0.1
                own_daemon.restart()
                with client_of(own_daemon, "wire") as other:
                    other.write("/test/d", "")
                assert mirror.wait(lambda view: view.exists("/test/d"), 60)
        lines = [record.message for record in caplog.records if "the mirror of /test" in record.message]
        assert ["lost" in line for line in lines] == [True, False, True, False]
        assert [record.levelname for record in caplog.records if "the mirror of /test" in record.message] == [
            "WARNING", "INFO", "WARNING", "INFO"
        ]  # fmt: skip

    def test_a_connection_that_is_cut_is_replaced_at_once(self, own_daemon: Daemon, backend: str) -> None:
        with client_of(own_daemon, "wire") as other:
            spared = _connections(own_daemon.socket_path)
            with client_of(own_daemon, backend) as xs, xs.mirror("/test", reconnect=True) as mirror:
                for number in range(3):
                    other.write("/test/a", str(number))
                    cut(own_daemon.socket_path, spared)
                    assert paths_of(mirror.update())[-1] == "/test/a"
                    assert mirror["/test/a"].value == b"%d" % number
            until(lambda: _connections(own_daemon.socket_path) == spared)

    @pytest.mark.parametrize("of", ["mirror", "client"])
    def test_close_while_the_daemon_is_away(self, own_daemon: Daemon, backend: str, of: str) -> None:
        with client_of(own_daemon, backend) as xs:
            mirror = xs.mirror("/", reconnect=True)
            own_daemon.kill()
            call = Call(lambda: mirror.update(None))
            time.sleep(0.1)
            (xs if of == "client" else mirror).close()
            assert isinstance(call.outcome(), xsffi.ClientClosedError)

    @of_sync_alone("an event loop needs no descriptor")
    def test_a_descriptor_while_the_daemon_is_away(self, own_daemon: Daemon, backend: str) -> None:
        with client_of(own_daemon, backend) as xs, xs.mirror("/", reconnect=True) as mirror:
            mirror.update()
            descriptor = mirror.fileno()
            own_daemon.kill()
            assert is_readable(descriptor, 60)
            assert mirror.update() == []
            with pytest.raises(xsffi.ConnectionLostError, match="disconnected"):
                mirror.fileno()
            own_daemon.restart()
            until(lambda: mirror.update() == [] and mirror.connected)
            assert not is_readable(mirror.fileno())

    @pytest.mark.parametrize("kind", [*DAEMON_KINDS, "embedded"])
    @pytest.mark.parametrize("backend", CLIENTS)
    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_happens_it_is_a_dump_in_the_end(self, kind: str, backend: str, seed: int) -> None:
        """Several writers, connections that are cut, daemons that are restarted empty."""
        chance = Random(seed)
        top = "/test"
        with own_store(kind) as store:
            daemon: Any = store
            spared = _connections(daemon.socket_path)
            with client_of(daemon, backend) as xs:
                mirror = xs.mirror(top, reconnect=True)
                known = mirror.copy()
                for _ in range(6):
                    writers = [Call(_writer(daemon.socket_path, top, chance.random())) for _ in range(2)]
                    while not all(writer.is_over for writer in writers):
                        if chance.random() < 0.2:
                            cut(daemon.socket_path, spared)
                        with suppress(xsffi.TransactionConflictError):
                            apply(mirror.update(chance.choice([0, 0, 0.01])), known)
                    for writer in writers:
                        writer.result()
                    if kind != "embedded" and chance.random() < 0.5:
                        daemon.restart()
                    elif kind == "embedded" and chance.random() < 0.3:
                        store.store.cut_next_answer(middle=True)
                    apply(_settled(mirror), known)
                    with client_of(daemon, "wire") as other:
                        check_is_dump(mirror, other, top)
                    assert known == mirror.copy()
                mirror.close()


class _Store:
    """A store that can be restarted at the same place, empty."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.socket_path = str(folder / "socket")
        self._daemon = None if kind == "embedded" else start_daemon(kind)
        self._embedded: EmbeddedStore | None = None
        if self._daemon is not None:
            self.socket_path = self._daemon.socket_path
        else:
            self._embedded = EmbeddedStore(path=self.socket_path)

    def restart(self) -> None:
        if self._daemon is not None:
            self._daemon.restart()
        elif self._embedded is not None:
            self._embedded.stop()
            self._embedded = EmbeddedStore(path=self.socket_path)

    def stop(self) -> None:
        for store in (self._daemon, self._embedded):
            if store is not None:
                store.stop()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), CHANGES),
        st.tuples(st.sampled_from(["update", "tell one", "cut", "resync", "restart"])),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("kind", [*DAEMON_KINDS, "embedded"])
@pytest.mark.parametrize("backend", CLIENTS)
@given(steps=STEPS)
@settings(
    max_examples=settings().max_examples // 4,  # each example starts daemons
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_after_any_steps_it_is_a_dump(kind: str, backend: str, tmp_path: Path, steps: list[Any]) -> None:
    """The reported changes, applied in order, lead to the same tree."""
    top = "/test"
    store = _Store(kind, tmp_path)
    spared = _connections(store.socket_path)
    try:
        with open_client(store.socket_path, backend) as xs, xs.mirror(top, reconnect=True) as mirror:
            known = mirror.copy()
            for step, *operations in steps:
                if step == "change":
                    with Client(store.socket_path, "wire") as writer:
                        _make(writer, top, operations[0])
                elif step == "cut":
                    cut(store.socket_path, spared)
                elif step == "update":
                    apply(mirror.update(), known)
                elif step == "tell one":
                    apply(list(itertools.islice(mirror.changes(0.001), 1)), known)
                elif step == "resync":
                    mirror.resync()
                else:
                    store.restart()
            apply(_settled(mirror), known)
            with Client(store.socket_path, "wire") as other:
                check_is_dump(mirror, other, top)
            assert known == mirror.copy()
    finally:
        store.stop()


def _settled(mirror: Any) -> list[xsffi.Change]:
    """The changes of the first update that reports any, once it has found the daemon."""
    end = time.monotonic() + 60
    changes: list[xsffi.Change] = []
    while not changes:
        changes = mirror.update(0.05)
        if mirror.connected or changes:
            break
        assert time.monotonic() < end
    return changes


def _writer(path: str, top: str, seed: float) -> Callable[[], None]:
    def write() -> None:
        random = Random(seed)
        for _ in range(15):
            with suppress(xsffi.ConnectionLostError, xsffi.BackendUnavailableError), Client(path, "wire") as client:
                for _ in range(10):
                    _make(client, top, random_change(random))

    return write


def _make(client: Client, top: str, change: Change) -> None:
    for operation in change:
        with suppress(xsffi.NodeNotFoundError):
            carry_out(client, top, operation)


def test_a_storm_of_writers(xs: Client, daemon: Daemon, top: str) -> None:
    """The updates end; then the mirror equals a dump, and all changes have been reported."""
    over = threading.Event()

    def write(name: str) -> None:
        with client_of(daemon, "wire") as client:
            for number in itertools.count():
                client.write(f"{top}/{name}/{number % 50}/x", str(number))
                if number % 7 == 0:
                    client.rm(f"{top}/{name}/{number % 50}")
                if over.is_set():
                    return

    with xs.mirror(top) as mirror:
        known = mirror.copy()
        calls = [Call(lambda name=name: write(name)) for name in "abc"]  # type: ignore[misc]
        threading.Timer(1, over.set).start()
        # Until the last writer has finished: oxenstored blocks writers while events stay unread.
        while not all(call.is_over for call in calls):
            with suppress(xsffi.TransactionConflictError):
                apply(mirror.update(), known)
        for call in calls:
            call.result()
        apply(mirror.update(), known)
        assert known == mirror.copy()
        check_is_dump(mirror, xs, top)
