"""Pipelines, and whole trees, over every backend, on every daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from daemons import Daemon, Guest, PtyBridge, RingBridge
from harness.embedded import EmbeddedDaemon
from harness.stores import AIO, client_of, events_so_far, open_client, require_libxenstore
from harness.threads import Call, all_outcomes

import xsffi
import xsffi.aio.backend as aio_backend
from xsffi import Client, Node, Permission
from xsffi.testing import EmbeddedStore


def test_results_in_order(xs: Client, top: str) -> None:
    with xs.pipeline() as p:
        p.write(f"{top}/a", "1")
        p.read(f"{top}/a")
        p.mkdir(f"{top}/b/c")
        p.ls(top)
        p.set_permissions(f"{top}/a", ["n0", "r5"])
        p.get_permissions(f"{top}/a")
        p.exists(f"{top}/missing")
        p.exists(f"{top}/a")
        p.get(f"{top}/missing", "default")
        p.get(f"{top}/a")
        p.rm(f"{top}/b")
        p.exists(f"{top}/b/c")
        assert len(p) == 12
    value, children, permissions = p.results[1], p.results[3], p.results[5]
    assert value == b"1"
    assert sorted(children) == ["a", "b"]
    assert permissions == [Permission(0, "n"), Permission(5, "r")]
    assert p.results[6:] == [False, True, "default", b"1", None, False]


def test_errors_stand_in_their_places(xs: Client, top: str) -> None:
    p = xs.pipeline()
    p.read(f"{top}/missing")
    p.write(f"{top}/a", "1")
    p.write(f"{top}/long", b"v" * 5000)
    p.read(f"{top}/a")
    results = p.execute(raise_on_error=False)
    assert isinstance(results[0], xsffi.NodeNotFoundError)
    assert results[0].filename == f"{top}/missing"
    assert isinstance(results[2], xsffi.TooBigError)
    assert results[1::2] == [None, b"1"]
    p.read(f"{top}/missing")
    p.write(f"{top}/after", "1")
    with pytest.raises(xsffi.NodeNotFoundError):
        p.execute()
    assert len(p.results) == 2
    assert xs.exists(f"{top}/after")  # every operation is carried out


def test_bad_input_is_refused_as_it_is_queued(xs: Client, top: str) -> None:
    p = xs.pipeline()
    uses: list[tuple[Callable[[], None], type[Exception]]] = [
        (lambda: p.read("//"), xsffi.InvalidArgumentError),
        (lambda: p.rm("/"), xsffi.InvalidArgumentError),
        (lambda: p.write(f"{top}/a", 5), TypeError),  # type: ignore[arg-type]
        (lambda: p.set_permissions(top, ["x0"]), xsffi.InvalidArgumentError),
    ]
    for bad, error in uses:
        with pytest.raises(error):
            bad()
    assert len(p) == 0
    assert p.execute() == []


def test_an_exception_in_the_block_carries_nothing(xs: Client, top: str) -> None:
    with pytest.raises(ZeroDivisionError), xs.pipeline() as p:
        p.write(f"{top}/a", "1")
        raise ZeroDivisionError
    assert not xs.exists(f"{top}/a")


def test_a_transaction(xs: Client, other: Client, top: str) -> None:
    other.watch(top)
    events_so_far(other)
    with xs.pipeline(transaction=True) as p:
        for number in range(100):
            p.write(f"{top}/{number}", str(number))
            p.set_permissions(f"{top}/{number}", ["n0", "r5"])
    assert len(other.ls(top)) == 100
    assert p.results == [None] * 200
    assert {event.path for event in events_so_far(other)} == {f"{top}/{number}" for number in range(100)}


def test_a_transaction_with_an_error_is_not_committed(xs: Client, top: str) -> None:
    p = xs.pipeline(transaction=True)
    p.write(f"{top}/a", "1")
    p.read(f"{top}/missing")
    with pytest.raises(xsffi.NodeNotFoundError):
        p.execute()
    assert not xs.exists(f"{top}/a")
    p.write(f"{top}/a", "1")
    p.read(f"{top}/missing")
    p.execute(raise_on_error=False)
    assert xs.exists(f"{top}/a")


@pytest.fixture
def after_many(xs: Client, backend: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Arranges a call after each bulk request of the client, with the id of its transaction."""

    def have_called(then: Callable[[int], None]) -> None:
        kind: Any = aio_backend.Backend if backend == AIO else type(xs.backend.bulk())
        call_many = kind.call_many

        def call(self: Any, requests: Any, tx_id: int = 0) -> Any:
            outcomes = call_many(self, requests, tx_id)
            then(tx_id)
            return outcomes

        async def call_in_asyncio(self: Any, requests: Any, tx_id: int = 0) -> Any:
            outcomes = await call_many(self, requests, tx_id)
            then(tx_id)
            return outcomes

        monkeypatch.setattr(kind, "call_many", call_in_asyncio if backend == AIO else call)

    return have_called


def test_a_conflict(xs: Client, other: Client, top: str, after_many: Callable[[Callable[[int], None]], None]) -> None:
    carried = []

    def collide(tx_id: int) -> None:
        carried.append(tx_id)
        if tx_id and len(carried) < 3:
            other.write(f"{top}/a", f"collision {len(carried)}")

    after_many(collide)
    xs.write(f"{top}/a", "1")

    def pipeline(attempts: int) -> xsffi.Pipeline:
        p = xs.pipeline(transaction=True, attempts=attempts)
        p.read(f"{top}/a")
        p.write(f"{top}/a", "mine")
        return p

    with pytest.raises(xsffi.TransactionConflictError):
        pipeline(1).execute()
    assert pipeline(3).execute() == [b"collision 2", None]
    assert xs.read(f"{top}/a") == b"mine"


def test_inside_a_transaction(xs: Client, other: Client, top: str) -> None:
    xs.write(f"{top}/a", "1")
    xs.write(f"{top}/b", "2")
    with xs.transaction() as t:
        t.write(f"{top}/c", "3")
        assert t.read_many([f"{top}/{name}" for name in "abc"]) == [b"1", b"2", b"3"]
        assert [node.path for node in t.walk(top)] == [top, f"{top}/a", f"{top}/b", f"{top}/c"]
        assert not other.exists(f"{top}/c")


def test_read_many(xs: Client, top: str) -> None:
    count = 3000  # several batches
    p = xs.pipeline()
    for number in range(count):
        p.write(f"{top}/{number}", f"value {number}")
    p.execute()
    paths = [f"{top}/{number}" for number in reversed(range(count))]
    assert xs.read_many(paths) == [f"value {number}".encode() for number in reversed(range(count))]
    assert xs.read_many(iter(paths[:2])) == [f"value {count - 1}".encode(), f"value {count - 2}".encode()]
    assert xs.read_many([]) == []
    assert xs.read_many([f"{top}/missing", f"{top}/0"], default=None) == [None, b"value 0"]
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.read_many([f"{top}/0", f"{top}/missing"])
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.read_many([f"{top}/0", "//"])
    for call in (xs.read_many, xs.exists_many):
        with pytest.raises(TypeError, match=f"paths must be an iterable of paths, not one: '{top}'"):
            call(top)


def test_long_values_both_ways(xs: Client, top: str) -> None:
    """Much more than the socket buffers hold, in both directions at once."""
    value = bytes(range(256)) * 15
    p = xs.pipeline()
    for number in range(1000):
        p.write(f"{top}/{number % 10}", value)
        p.read(f"{top}/{number % 10}")
    results = p.execute()
    assert results[1::2] == [value] * 1000


def test_20_000_requests_with_events_between(xs: Client, daemon: Daemon, top: str) -> None:
    """Replies, and events on the same connection, are read while requests are written: otherwise the daemons would
    stall."""
    watcher = xs if xs.backend.name == "wire" else None
    if watcher is not None:
        watcher.watch(top)
    p = xs.pipeline()
    for number in range(20_000):
        p.write(f"{top}/{number % 100}", str(number))
    assert p.execute() == [None] * 20_000
    if watcher is not None:
        assert len(events_so_far(watcher)) > 100


def test_walk(xs: Client, top: str) -> None:
    xs.write(f"{top}/a/b", "leaf")
    xs.write(f"{top}/c", "")
    xs.set_permissions(f"{top}/c", ["n0", "r5"])
    owner = (Permission(0, "n"),)
    nodes = {node.path: node for node in xs.walk(top)}
    assert sorted(nodes.pop(top).children) == ["a", "c"]
    assert nodes == {
        f"{top}/a": Node(f"{top}/a", b"", ("b",), owner),
        f"{top}/a/b": Node(f"{top}/a/b", b"leaf", (), owner),
        f"{top}/c": Node(f"{top}/c", b"", (), (Permission(0, "n"), Permission(5, "r"))),
    }
    with pytest.raises(xsffi.NodeNotFoundError):
        list(xs.walk(f"{top}/missing"))
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.walk("//")


def test_walk_of_everything(xs: Client, top: str) -> None:
    """From the root, where oxenstored also lists its special paths."""
    paths = {node.path for node in xs.walk()}
    assert {"/", "/test", top} <= paths
    assert not any("@" in path for path in paths)


def test_walk_of_a_long_directory(xs: Client, other: Client, top: str) -> None:
    names = [f"a-name-that-takes-some-room-{number}" for number in range(1500)]
    with other.pipeline() as p:
        for name in names:
            p.mkdir(f"{top}/{name}")
    nodes = list(xs.walk(top))
    assert sorted(nodes[0].children) == sorted(names)
    assert len(nodes) == 1501


def test_dump_and_load(xs: Client, top: str) -> None:
    xs.write(f"{top}/a/b", b"\0\xff")
    xs.set_permissions(f"{top}/a", ["b3", "r4"])
    dumped = xs.dump(top)
    assert [node.path for node in dumped] == [top, f"{top}/a", f"{top}/a/b"]
    xs.rm(f"{top}/a")
    xs.load(dumped)
    assert xs.dump(top) == dumped


def test_what_either_dump_gives_both_loads_take(xs: Client, top: str) -> None:
    xs.write(f"{top}/a/b", b"\0\xff")
    xs.write(f"{top}/c", "1" * 4000)
    xs.set_permissions(f"{top}/a", ["n0", "b3", "r4"])
    dumped = xs.dump(top)
    with EmbeddedStore(dumped) as store:
        assert {node.path: node for node in store.dump(top)} == {node.path: node for node in dumped}
        everything = store.dump()  # from the root, to which both daemons let dom0 write
    xs.rm(top)
    xs.load(everything)
    assert xs.dump(top) == dumped
    xs.rm(top)
    xs.load(map(Node.from_json, [node.to_json() for node in everything]))
    assert xs.dump(top) == dumped


def test_dump_is_of_one_moment(xs: Client, daemon: Daemon, top: str) -> None:
    names = [f"{top}/{number}" for number in range(200)]
    xs.load([Node(name, b"0", (), (Permission(0, "n"),)) for name in names])
    stop = threading.Event()

    def change_all() -> None:
        with client_of(daemon, "wire") as writer:
            number = 0
            while not stop.wait(0.05):
                number += 1
                p = writer.pipeline(transaction=True, attempts=10)
                for name in names:
                    p.write(name, str(number))
                p.execute()

    changer = threading.Thread(target=change_all)
    changer.start()
    try:
        for _ in range(5):
            assert len({node.value for node in xs.dump(top, attempts=100)[1:]}) == 1
    finally:
        stop.set()
        changer.join()


def test_a_guest_walks(daemon: Daemon, other: Client) -> None:
    with ExitStack() as stack:
        if isinstance(daemon, EmbeddedDaemon):
            daemon.create_domain(77)
            place = daemon.store.socket_path(77)
        else:
            place = stack.enter_context(RingBridge(stack.enter_context(Guest(daemon, 77)))).socket_path
        guest = stack.enter_context(xsffi.Client(place, "wire"))
        guest.write("data/mine", "1")
        other.write("/local/domain/77/data/closed", "")
        other.set_permissions("/local/domain/77/data/closed", ["n0"])
        with pytest.raises(xsffi.AccessDeniedError):
            list(guest.walk("data"))
        errors: list[xsffi.XenStoreError] = []
        assert [node.path for node in guest.walk("data", onerror=errors.append)] == ["data", "data/mine"]
        assert [error.filename for error in errors] == ["data/closed"]
    daemon.release(77)
    other.rm("/local/domain/77")


def test_on_a_device(daemon: Daemon, top: str, backend: str) -> None:
    if backend == "libxenstore":
        pytest.skip("a pipeline of it opens the device a second time, which a terminal is not made for")
    with PtyBridge(daemon.socket_path) as bridge, open_client(bridge.device_path, backend) as device:
        with device.pipeline() as p:
            for number in range(300):
                p.write(f"{top}/{number}", str(number))
        assert len(list(device.walk(top))) == 301


@pytest.fixture
def pure(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The wire without the extension, even if that is there."""
    monkeypatch.setattr("xsffi.backends.wire.native.open_in_c", None)
    with xsffi.Client(daemon.socket_path, backend="wire") as client:
        yield client


def test_without_the_extension(pure: Client, top: str) -> None:
    test_read_many(pure, f"{top}/a")
    test_long_values_both_ways(pure, f"{top}/b")


def test_the_daemon_dies(own_daemon: Daemon, backend: str) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    with client_of(own_daemon, backend) as xs:
        xs.read_many(["/"])
        killer = threading.Timer(0.1, own_daemon.kill)
        killer.start()
        with pytest.raises(xsffi.ConnectionLostError):
            while True:
                xs.read_many(["/"] * 1000)
        killer.join()
        with pytest.raises(xsffi.ConnectionLostError):
            xs.pipeline(transaction=True).execute()


def test_sixteen_threads(xs: Client, top: str) -> None:
    def work(number: int) -> None:
        with xs.pipeline() as p:
            for i in range(1000):
                p.write(f"{top}/{number}", f"{number} {i}")
                p.read(f"{top}/{number}")
        assert p.results[1::2] == [f"{number} {i}".encode() for i in range(1000)]
        for _ in range(50):
            assert xs.read(f"{top}/{number}") == f"{number} 999".encode()

    assert all_outcomes([partial(work, number) for number in range(16)]) == [None] * 16


def test_a_read_while_many_events_wait(xs: Client, other: Client, top: str) -> None:
    """More events than fit into the extension's receive buffer."""
    deep = f"{top}/" + "/".join("n" * 240 for _ in range(4))
    xs.write(deep, "1")
    xs.watch(top)
    xs.read_watch(5)
    with other.pipeline() as p:
        for number in range(300):
            p.write(f"{deep}/{number}", "")
    assert xs.read(deep) == b"1"
    assert len([event for event in events_so_far(xs) if event.path != deep]) == 300


def test_a_dump_ends_with_its_client(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as mine:
        own_daemon.pause()
        dumping = Call(lambda: mine.dump("/")).until_asleep()
        mine.close()
        assert isinstance(dumping.outcome(), xsffi.ClientClosedError)
        with pytest.raises(xsffi.ClientClosedError):
            mine.dump("/")
        own_daemon.resume()
