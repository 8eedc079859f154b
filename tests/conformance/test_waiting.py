"""Waiting for a condition, over every backend, on every daemon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from daemons import Daemon
from harness.stores import events_so_far
from harness.threads import Call

import xsffi
from xsffi import Client
from xsffi.conditions import View, all_of, any_of, node_appears, node_disappears, value_becomes

LONG = 60.0  # seconds, much longer than any of these waits takes


@contextmanager
def meanwhile(*steps: object) -> Iterator[None]:
    """Call these functions one after the other in another thread, while the block runs."""

    def run() -> None:
        for step in steps:
            step()  # type: ignore[operator]

    call = Call(run)
    try:
        yield
    finally:
        call.result()


def test_what_is_so_already(xs: Client, top: str) -> None:
    xs.write(f"{top}/a", "1")
    assert xs.wait_for(f"{top}/a", "1") == b"1"
    assert xs.wait_for(f"{top}/a", b"1", timeout=0) == b"1"
    assert xs.wait_for(f"{top}/b", None) is None
    assert xs.wait(lambda view: view.ls(top), LONG) == ["a"]


def test_what_is_never_so(xs: Client, top: str) -> None:
    for timeout in (0, 0.05):
        with pytest.raises(xsffi.WaitTimeoutError, match="did not become true"):
            xs.wait_for(f"{top}/a", "1", timeout)
    assert events_so_far(xs) == []


def test_a_value_that_comes(xs: Client, other: Client, top: str) -> None:
    path = f"{top}/backend/state"
    with meanwhile(*[lambda state=state: other.write(path, state) for state in "1234"]):
        assert xs.wait_for(path, "4", LONG) == b"4"
    with meanwhile(lambda: other.write(path, "6")):
        assert xs.wait_for(path, lambda value: value in (b"5", b"6"), LONG) == b"6"
    with meanwhile(lambda: other.rm(f"{top}/backend")):
        assert xs.wait_for(path, None, LONG) is None


def test_a_listing_and_an_absence(xs: Client, other: Client, top: str) -> None:
    with meanwhile(*[lambda name=name: other.mkdir(f"{top}/{name}") for name in "abc"]):
        names = xs.wait(lambda view: view.ls(top) if len(view.ls(top)) == 3 else None, LONG)
    assert names is not None
    assert sorted(names) == ["a", "b", "c"]
    with meanwhile(lambda: other.rm(f"{top}/b")):
        xs.wait(node_disappears(f"{top}/b"), LONG)
    assert not xs.exists(f"{top}/b")


def test_nodes_that_are_made_by_the_way(xs: Client, other: Client, top: str) -> None:
    """No event names them."""
    with meanwhile(lambda: other.write(f"{top}/a/b/c", "")):
        xs.wait(all_of(node_appears(f"{top}/a"), lambda view: view.ls(f"{top}/a") == ["b"]), LONG)


def test_permissions(xs: Client, other: Client, top: str) -> None:
    with meanwhile(lambda: other.set_permissions(top, ["n0", "r7"])):
        found = xs.wait(lambda view: [p for p in view.get_permissions(top) if p.domid == 7], LONG)
    assert [str(each) for each in found] == ["r7"]


def test_several_nodes(xs: Client, other: Client, top: str) -> None:
    a, b = value_becomes(f"{top}/a", "1"), value_becomes(f"{top}/b", "1")
    with meanwhile(lambda: other.write(f"{top}/b", "1")):
        assert xs.wait(any_of(a, b), LONG) is True
    with meanwhile(lambda: other.write(f"{top}/a", "1")):
        assert xs.wait(all_of(a, b), LONG) == (True, True)


def test_a_handshake_whose_parts_point_to_each_other(xs: Client, other: Client, top: str) -> None:
    """What a toolstack waits for: the frontend names its backend, whose state matters."""

    def connected(view: View) -> object:
        backend = view.get(f"{top}/frontend/backend")
        if backend is None or view.get(f"{backend.decode()}/state") != b"4":
            return None
        return backend

    with meanwhile(
        lambda: other.write(f"{top}/frontend/backend", f"{top}/first"),
        lambda: other.write(f"{top}/first/state", "2"),
        lambda: other.write(f"{top}/frontend/backend", f"{top}/second"),
        lambda: other.write(f"{top}/second/state", "4"),
    ):
        assert xs.wait(connected, LONG) == f"{top}/second".encode()


def test_what_a_condition_sees_was_so_at_one_moment(xs: Client, other: Client, top: str) -> None:
    """Two nodes change together, in transactions: the condition never sees only one of the changes."""
    torn: list[object] = []
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with other.transaction() as t:
                t.write(f"{top}/a", str(number))
                t.write(f"{top}/b", str(number))
        other.write(f"{top}/end", "")

    def both(view: View) -> object:
        a, b = view.get(f"{top}/a"), view.get(f"{top}/b")
        if a != b:
            torn.append((a, b))
        if a is not None and int(a) > 20:
            over.set()
        return view.exists(f"{top}/end")

    with meanwhile(change):
        try:
            assert xs.wait(both, LONG)
        finally:
            over.set()
    assert torn == []


def test_the_users_events_are_apart(xs: Client, other: Client, top: str) -> None:
    watch = xs.watch(f"{top}/watched", "mine")
    events_so_far(xs)
    with meanwhile(lambda: other.write(f"{top}/watched", "1")):
        xs.wait_for(f"{top}/watched", "1", LONG)
    assert [event.path for event in events_so_far(xs)] == [f"{top}/watched"]
    watch.close()


def test_a_condition_that_raises(xs: Client, top: str) -> None:
    with pytest.raises(KeyError):
        xs.wait(lambda view: {"": 1}[str(view.exists(top))], LONG)
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.wait(lambda view: view.read(f"{top}/a"), LONG)
    with pytest.raises(ValueError, match="looks at no node"):
        xs.wait(lambda view: False, LONG)


def test_bad_input(xs: Client, top: str) -> None:
    for path, value, error in [
        ("a b", "", xsffi.InvalidArgumentError),
        (top, 5, TypeError),
        (5, "", TypeError),
    ]:
        with pytest.raises(error):
            xs.wait_for(path, value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="condition"):
        xs.wait("/a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        xs.wait_for(top, "", -1)
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.wait(lambda view: view.get("//"), LONG)
    assert xs.exists(top)


def test_many_at_once_share_their_watches(xs: Client, other: Client, daemon: Daemon, top: str) -> None:
    """Each has its own condition, and ends when that is true."""
    waits = [Call(partial(xs.wait_for, f"{top}/{number % 5}", str(number), LONG)) for number in range(50)]
    for number in range(50):
        # Each waits for the next value of its node, which does not change again before the wait has seen it.
        other.write(f"{top}/{number % 5}", str(number))
        assert waits[number].result() == b"%d" % number
    assert events_so_far(xs) == []


def test_a_domain_that_goes(xs: Client, daemon: Daemon, top: str) -> None:
    """oxenstored removes its nodes without an event for each."""
    daemon.create_domain(43)
    xs.mkdir(f"{top}/theirs")
    xs.set_permissions(f"{top}/theirs", ["n43"])
    with meanwhile(lambda: daemon.release(43)):
        if daemon.kind == "oxenstored":
            xs.wait(lambda view: not view.exists(f"{top}/theirs") or view.get_permissions(f"{top}/theirs"), LONG)
        else:
            xs.wait(node_disappears(f"{top}/theirs"), LONG)


def test_reset_watches(xs: Client, other: Client, top: str) -> None:
    """Watches set by waits are not affected."""
    if xs.backend.name == "libxenstore":
        pytest.skip("libxenstore has no RESET_WATCHES")
    begun = threading.Event()

    def condition(view: View) -> object:
        begun.set()
        return view.get(f"{top}/a") == b"1"

    def steps() -> None:
        begun.wait(LONG)
        xs.reset_watches()
        other.write(f"{top}/a", "1")

    with meanwhile(steps):
        assert xs.wait(condition, LONG)


def test_close_ends_it(xs: Client, top: str) -> None:
    begun = threading.Event()

    def condition(view: View) -> object:
        begun.set()
        return view.exists(f"{top}/a")

    def close() -> None:
        begun.wait(LONG)
        xs.close()

    with meanwhile(close), pytest.raises(xsffi.ClientClosedError):
        xs.wait(condition, LONG)
