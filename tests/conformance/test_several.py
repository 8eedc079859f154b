"""Bulk work over several connections to one daemon: only its duration may show the difference."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator

import pytest
from daemons import Daemon
from daemons.releases import CHILDREN_ARE_SORTED
from harness.descriptors import open_descriptors
from harness.stores import AIO, client_of, connections_to, of_sync_alone

import xsffi
from xsffi import Client, Node, Permission

OWNER = (Permission(0, "n"),)


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use several connections, however little there is to do."""
    monkeypatch.setattr("xsffi.backends.wire.several._WORTH_OPENING", 1)
    monkeypatch.setattr("xsffi.backends.wire.several._WORTH_USING", 1)


@pytest.fixture
def several(daemon: Daemon, backend: str) -> Iterator[Client]:
    """A client that may open four connections; the asyncio one always uses a single one."""
    options = {} if backend == AIO else {"connections": 4}
    with client_of(daemon, backend, **options) as client:
        yield client


def a_tree(top: str, size: int) -> list[Node]:
    """Nodes as dump() returns them."""
    kinds = [OWNER, (Permission(0, "n"), Permission(5, "r")), (Permission(5, "b"),)]
    names = [f"d{number:03}" for number in range(size)]
    nodes = [Node(top, b"", tuple(names), OWNER)]
    nodes += [Node(f"{top}/{name}", b"d", ("a", "b", "c"), kinds[len(name) % 3]) for name in names]
    nodes += [
        Node(f"{top}/{name}/{below}", f"value of {name}/{below}".encode(), (), kinds[number % 3])
        for number, name in enumerate(names)
        for below in "abc"
    ]
    return nodes


def by_path(nodes: list[Node]) -> dict[str, Node]:
    return {node.path: node._replace(children=tuple(sorted(node.children))) for node in nodes}


@pytest.mark.parametrize("size", [1, 40, 400])
def test_what_was_loaded_is_dumped_and_walked_and_read(several: Client, top: str, size: int) -> None:
    nodes = a_tree(top, size)
    several.load(nodes)
    assert by_path(several.dump(top)) == by_path(nodes)
    assert by_path(list(several.walk(top))) == by_path(nodes)
    paths = [node.path for node in nodes]
    random.Random(size).shuffle(paths)
    values = {node.path: node.value for node in nodes}
    assert several.read_many(paths) == [values[path] for path in paths]
    asked = [path for path in paths for path in (path, f"{path}/missing")]
    assert several.read_many(asked, None) == [values.get(path) for path in asked]
    assert several.exists_many(asked) == [path in values for path in asked]
    with pytest.raises(xsffi.NodeNotFoundError) as caught:
        several.read_many([*paths, f"{top}/1", f"{top}/2"])
    assert caught.value.filename == f"{top}/1"


@pytest.mark.parametrize("chunk", [1, 300])
def test_a_load_in_any_order_comes_to_the_same(several: Client, other: Client, top: str, chunk: int) -> None:
    """A node may come before its parent. If it comes twice, the last one counts."""
    nodes = a_tree(top, 300)
    pieces = [nodes[start : start + chunk] for start in range(0, len(nodes), chunk)]
    random.Random(chunk).shuffle(pieces)
    shuffled = [node for piece in pieces for node in piece]
    again = [node._replace(value=b"again") for node in shuffled if node.path.endswith("/b")]
    several.load([*shuffled, *again])
    expected = by_path(nodes)
    expected.update((path, node._replace(value=b"again")) for path, node in expected.items() if path.endswith("/b"))
    assert by_path(other.dump(top)) == expected


@pytest.mark.parametrize("count", [301, 1001])  # in one part, and in several
def test_a_node_without_permissions_has_those_of_the_one_above(several: Client, top: str, count: int) -> None:
    """The parent is loaded first, whichever connections carry the two."""
    above = [Node(f"{top}/{number}", b"", ("x",), (Permission(number, "r"),)) for number in range(1, count)]
    below = [Node(f"{node.path}/x", b"1", (), ()) for node in above]
    several.load([Node(top, b"", (), OWNER), *above, *below])
    for node in above[::50]:
        assert several.get_permissions(f"{node.path}/x") == list(node.permissions)


def test_children_are_loaded_in_their_order(several: Client, top: str, daemon: Daemon) -> None:
    """xenstored keeps the order; oxenstored sorts children, since about Xen 4.15."""
    names = [f"{number * 7919 % 1000:03}" for number in range(1000)]
    nodes = [Node(f"{top}/{name}", b"", (), OWNER) for name in names]
    several.load([Node(top, b"", tuple(names), OWNER), *nodes])
    assert several.ls(top) == (sorted(names) if CHILDREN_ARE_SORTED.of(daemon) else names)


def test_what_was_written_before_is_read(several: Client, other: Client, top: str) -> None:
    """By the same thread, and by another one that it notifies."""
    paths = [f"{top}/{number}" for number in range(100)]
    told = threading.Semaphore(0)
    seen: list[set[bytes]] = []

    def read() -> None:
        for _ in range(30):
            told.acquire()
            seen.append({*several.read_many(paths)})

    thread = threading.Thread(target=read)
    for path in paths:
        several.write(path, "0")
    thread.start()
    for number in range(1, 31):
        for path in paths:
            several.write(path, str(number))
        assert {*several.read_many(paths)} == {str(number).encode()}
        told.release()
        while len(seen) < number:
            threading.Event().wait(0.0005)
    thread.join()
    assert seen == [{str(number).encode()} for number in range(1, 31)]


def test_a_dump_is_of_one_moment(several: Client, other: Client, top: str) -> None:
    """Nodes are incremented one after the other: earlier ones are never behind later ones, nor more than one ahead."""
    paths = [f"{top}/{number:02}" for number in range(60)]
    other.load([Node(path, b"0", (), OWNER) for path in paths])
    stop = threading.Event()

    def count() -> None:
        for number in itertools.count(1):
            for place, path in enumerate(paths):
                if stop.is_set():
                    return
                other.write(path, str(number))
                if place % 20 == 7:
                    stop.wait(random.uniform(0, 0.01))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(25):
            values = [int(node.value) for node in sorted(several.dump(top, attempts=10_000)) if node.path != top]
            assert values == sorted(values, reverse=True)
            assert len(values) == 60
            assert values[0] - values[-1] <= 1
    finally:
        stop.set()
        thread.join()


@of_sync_alone("there is one connection")
def test_they_are_opened_once_and_closed_with_the_client(own_daemon: Daemon, backend: str) -> None:
    one = 1 if backend == "wire" else 2  # libxenstore's own, besides the one for bulk work
    before = open_descriptors()
    with client_of(own_daemon, backend, connections=3) as client:
        client.read("/")  # so that the daemon has accepted it
        assert connections_to(own_daemon) == 1
        for _ in range(3):
            client.read_many(["/"] * 100)
            assert connections_to(own_daemon) == one + 2
    while connections_to(own_daemon) > 0:
        threading.Event().wait(0.001)
    assert open_descriptors() == before
    with client_of(own_daemon, backend, connections=1) as client:
        client.read_many(["/"] * 100)
        assert connections_to(own_daemon) == one


def test_in_a_transaction_there_is_one(several: Client, other: Client, top: str) -> None:
    paths = [f"{top}/{number}" for number in range(300)]
    with several.transaction() as t:
        for path in paths[:10]:
            t.write(path, "within")
        assert t.read_many(paths, None) == [b"within"] * 10 + [None] * 290
        assert other.read_many(paths, None) == [None] * 300
        assert {node.path for node in t.walk(top)} == {top, *paths[:10]}


def test_what_a_guest_may_not_read(several: Client, top: str) -> None:
    """Each error is in its place."""
    several.load(a_tree(top, 50))
    paths = [f"{top}/d{number:03}/a" for number in range(50)]
    several.rm(paths[7])
    with several.pipeline() as p:
        for path in paths:
            p.exists(path)
    assert p.results == [number != 7 for number in range(50)]
    assert several.read_many(paths, b"")[6:9] == [b"value of d006/a", b"", b"value of d008/a"]
