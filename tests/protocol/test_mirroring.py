"""Mirrors: the programs on a store in this process, thousands of times, and driven by hand."""

from __future__ import annotations

import itertools
import os
from random import Random
from typing import Any

import pytest
from harness.fakes import make_client
from harness.inprocess import InProcessBackend
from harness.mirrors import check_mirror
from harness.writers import Change, Schedule, random_change, random_start

from xsffi.errors import (
    AccessDeniedError,
    NodeNotFoundError,
    ProtocolError,
    TransactionConflictError,
    error_from_wire,
)
from xsffi.protocol import programs
from xsffi.protocol.lookups import Lookups
from xsffi.protocol.mirroring import Replica
from xsffi.protocol.programs import NextEvent
from xsffi.protocol.requests import Read, Watch
from xsffi.records import OVERFLOW, Node, WatchEvent
from xsffi.server.store import Store

from .by_hand import PERMISSIONS, answers


def check(before: Change, schedules: list[Schedule]) -> None:
    store = Store()
    with make_client(InProcessBackend(store)) as client:
        check_mirror(client, InProcessBackend(store), "/top", before, schedules)
    assert store.dom0.watches == 0


@pytest.mark.parametrize("hundred", range(int(os.environ.get("XSFFI_SNAPSHOTS", "15"))))
def test_each_update_is_of_one_moment(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        print("seed", seed)
        random = Random(seed)
        most = random.choice([3, 12, 30])
        check(
            random_start(random),
            [
                [(random.randint(-1, most), random_change(random)) for _ in range(random.randint(0, 6))]
                for _ in range(random.randint(1, 5))
            ],
        )


@pytest.mark.parametrize("anew", ["/a/b/c", "/a/b", "/a"])
def test_removed_and_made_anew(anew: str) -> None:
    """At any moment of an update, or between two."""
    rm = [("rm", "/a", "")]
    for first, second in itertools.product(range(8), range(0, 14, 2)):
        print(first, second)
        steps: Schedule = [(first, rm), (-1, [("write", "/a/b/c", "1")]), (second, rm), (1, [("write", anew, "2")])]
        check([("write", "/a/b/c", "0")], [[], steps, []])


class Tree:
    """A daemon driven by hand, and a replica of its nodes."""

    def __init__(self, nodes: dict[str, Any], top: str = "/a") -> None:
        self.nodes = nodes  # by path: the names of children, or an error
        self.events: list[WatchEvent] = []
        self.asked: list[list[str]] = []  # the paths that were read together
        self.trips = 0
        self.watches: list[str] = []
        self.before: dict[int, Any] = {}  # functions called before a trip, by its number since update() began
        self.replica = Replica(top)
        self._numbers = itertools.count(1)

    def begin(self) -> Tree:
        tokens = [b"mirror:1:%x" % next(self._numbers) for _ in range(2)]
        self.token, self.released = [token.decode() for token in tokens]
        programs.run(self.replica.begin(*tokens), self.carry)
        self.update()
        self.replica.tell_nothing()
        return self

    def update(self) -> list[tuple[str, bool, bool]]:
        """The changes, each with whether the node existed before, and exists now."""
        self.asked.clear()
        self.trips = 0
        programs.run(self.replica.update(), self.carry)
        return [(path, old is not None, new is not None) for path, old, new in self.replica.tell_all()]

    def tell(self, path: str) -> None:
        """An event arrives."""
        self.events.append(WatchEvent(path, self.released if path == "@releaseDomain" else self.token))

    def carry(self, effect: Any) -> Any:
        if isinstance(effect, NextEvent):
            return self.events.pop(0) if self.events else None
        if isinstance(effect, Watch):
            self.watches.append(effect.path.decode())
            self.events.append(WatchEvent(effect.path.decode(), effect.token.decode()))
            return None
        self.trips += 1
        self.before.pop(self.trips, lambda: None)()
        if not isinstance(effect, Lookups):
            return [None]  # the request that shows that the events of the watches have arrived
        self.asked.append([request.path.decode() for request in effect if isinstance(request, Read)])
        return effect.combine(answers(self.nodes, effect))


def a_tree() -> Tree:
    return Tree({"/a": ["b", "c"], "/a/b": ["d"], "/a/b/d": [], "/a/c": ["e"], "/a/c/e": []}).begin()


class TestByHand:
    def test_where_nothing_happens_an_update_is_one_trip(self) -> None:
        tree = a_tree()
        assert tree.watches == ["/a", "@releaseDomain"]
        assert list(tree.replica.nodes) == ["/a", "/a/b", "/a/c", "/a/b/d", "/a/c/e"]
        assert tree.update() == []
        assert tree.trips == 1
        assert tree.asked == []

    def test_what_changed_is_read_again_and_all_above_it_and_no_more(self) -> None:
        tree = a_tree()
        tree.nodes.update({"/a/b": ["d", "f"], "/a/b/f": []})
        tree.tell("/a/b/f")
        assert tree.update() == [("/a/b", True, True), ("/a/b/f", False, True)]
        assert tree.asked == [["/a", "/a/b", "/a/b/f"]]
        assert tree.trips == 2

    def test_an_event_that_was_taken_before_costs_no_more(self) -> None:
        tree = a_tree()
        tree.replica.note(WatchEvent("/a/b/d", tree.token))
        assert tree.update() == []
        assert tree.trips == 2

    def test_events_of_watches_of_before_do_not_count(self) -> None:
        tree = a_tree()
        old = tree.token, tree.released
        tree.begin()
        for token in old:
            tree.replica.note(WatchEvent("/a/b", token))
            tree.events.append(WatchEvent("/elsewhere", token))
        assert tree.update() == []
        assert tree.asked == []

    def test_a_subtree_goes(self) -> None:
        tree = a_tree()
        tree.nodes = {"/a": ["c"], "/a/c": ["e"], "/a/c/e": []}
        tree.tell("/a/b")
        assert tree.update() == [("/a/b", True, False), ("/a/b/d", True, False), ("/a", True, True)]

    def test_the_top_goes_and_comes(self) -> None:
        tree = a_tree()
        nodes, tree.nodes = tree.nodes, {}
        tree.tell("/a")
        assert [change[1:] for change in tree.update()] == [(True, False)] * 5
        assert tree.replica.nodes == {}
        tree.nodes = nodes
        tree.tell("/a/b/d")
        assert [path for path, *_ in tree.update()] == ["/a", "/a/b", "/a/b/d", "/a/c", "/a/c/e"]

    def test_no_top(self) -> None:
        assert Tree({}).begin().replica.nodes == {}

    def test_what_is_not_told_yet_is_told_once(self) -> None:
        tree = a_tree()
        tree.nodes.update({"/a/b/d": ["x"], "/a/b/d/x": []})
        tree.tell("/a/b/d/x")
        programs.run(tree.replica.update(), tree.carry)
        tree.nodes = {"/a": ["b"], "/a/b": ["d"], "/a/b/d": []}
        for path in ("/a/b/d/x", "/a/c"):
            tree.tell(path)
        # A node that came and went is not reported.
        assert tree.update() == [("/a/c", True, False), ("/a/c/e", True, False), ("/a", True, True)]
        assert not tree.replica.has_changes
        assert tree.replica.tell_next() is None

    def test_a_node_that_may_not_be_read(self) -> None:
        tree = a_tree()
        before = tree.replica.copy()
        tree.nodes["/a/b"] = error_from_wire("EACCES", "/a/b")
        tree.tell("/a/b")
        for _ in range(2):
            with pytest.raises(AccessDeniedError) as caught:
                tree.update()
            assert caught.value.filename == "/a/b"
            assert tree.replica.nodes == before
        tree.nodes["/a/b"] = ["d"]
        assert tree.update() == []

    def test_one_that_might_not_be_read_before_it_was_removed(self) -> None:
        tree = a_tree()
        tree.nodes["/a/b"] = error_from_wire("EACCES", "/a/b")
        tree.tell("/a/b")

        def remove() -> None:
            tree.nodes["/a"] = ["c"]
            tree.tell("/a/b")

        tree.before[2] = remove
        assert [path for path, *_ in tree.update()] == ["/a/b", "/a/b/d", "/a"]

    def test_a_listed_node_that_went_without_an_event_is_looked_for_again(self) -> None:
        tree = a_tree()
        del tree.nodes["/a/b/d"]
        tree.tell("/a/b/d")
        tree.before[3] = lambda: tree.nodes.update({"/a/b": []})
        assert tree.update() == [("/a/b/d", True, False), ("/a/b", True, True)]

    def test_one_that_never_comes_is_no_endless_search(self) -> None:
        tree = a_tree()
        tree.nodes["/a/c"] = ["e", "f"]
        tree.tell("/a/c")
        with pytest.raises(TransactionConflictError, match="each of the 100 times"):
            tree.update()
        tree.nodes["/a/c/f"] = []
        assert tree.update() == [("/a/c", True, True), ("/a/c/f", False, True)]

    def test_a_domain_that_is_released(self) -> None:
        tree = a_tree()
        tree.nodes = {"/a": ["b", "g"], "/a/b": ["d"], "/a/b/d": [], "/a/g": []}
        tree.tell("@releaseDomain")
        assert tree.update() == [
            ("/a/c", True, False), ("/a/c/e", True, False), ("/a", True, True), ("/a/g", False, True)
        ]  # fmt: skip

    def test_a_flood_of_events(self) -> None:
        tree = a_tree()
        tree.nodes["/a/c/e"] = ["h"]
        tree.nodes["/a/c/e/h"] = []
        tree.events.append(OVERFLOW)
        assert tree.update() == [("/a/c/e", True, True), ("/a/c/e/h", False, True)]

    def test_where_something_changes_all_the_time_nothing_is_lost(self) -> None:
        tree = a_tree()
        before = tree.replica.copy()

        def change() -> None:
            tree.nodes["/a/b/d"] = [*tree.nodes["/a/b/d"], "x"]
            tree.nodes["/a/b/d/x"] = []
            tree.tell("/a/b/d/x")

        tree.before = dict.fromkeys(range(1000), change)
        with pytest.raises(TransactionConflictError, match="each of the 100 times that it was read") as caught:
            tree.update()
        assert caught.value.filename == "/a"
        assert tree.replica.nodes == before
        tree.before.clear()
        assert tree.update() == [("/a/b/d", True, True), ("/a/b/d/x", False, True)]

    @pytest.mark.parametrize("error", [error_from_wire("EIO"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
    def test_one_that_is_interrupted_is_gone_on_with(self, error: BaseException) -> None:
        for trip in itertools.count(1):
            tree = a_tree()
            tree.nodes.update({"/a/c/e": ["f"], "/a/c/e/f": ["g"], "/a/c/e/f/g": []})
            tree.tell("/a/c/e/f/g")

            def fail() -> None:
                raise error

            tree.before[trip] = fail
            before = tree.replica.copy()
            try:
                tree.update()
                break
            except type(error):
                assert tree.replica.nodes == before
            assert tree.update() == [("/a/c/e", True, True), ("/a/c/e/f", False, True), ("/a/c/e/f/g", False, True)]
        assert trip == 3

    def test_one_that_is_interrupted_as_all_is_read_again(self) -> None:
        for trip in range(1, 5):
            tree = a_tree()
            tree.nodes = {"/a": ["c"], "/a/c": ["e"], "/a/c/e": ["x"], "/a/c/e/x": []}
            tree.tell("@releaseDomain")

            def fail() -> None:
                raise KeyboardInterrupt

            tree.before[trip] = fail
            with pytest.raises(KeyboardInterrupt):
                tree.update()
            assert [path for path, *_ in tree.update()] == ["/a/b", "/a/b/d", "/a", "/a/c/e", "/a/c/e/x"]

    def test_an_update_costs_what_has_changed(self) -> None:
        """It does not visit every node."""

        class Counted(dict[str, Node]):
            looks = 0

            def get(self, *arguments: Any) -> Any:
                self.looks += 1
                return super().get(*arguments)

            def __contains__(self, path: object) -> bool:
                self.looks += 1
                return super().__contains__(path)

            def __iter__(self) -> Any:
                raise AssertionError("all of them are looked at")

        names = [str(number) for number in range(1000)]
        nodes: dict[str, Any] = {"/a": names, **{f"/a/{name}": ["x"] for name in names}}
        tree = Tree({**nodes, **{f"/a/{name}/x": [] for name in names}}).begin()
        counted = Counted(tree.replica.nodes)
        tree.replica.nodes = counted
        tree.replica._fresh._before = counted
        tree.nodes["/a/7/x"] = ["y"]
        tree.nodes["/a/7/x/y"] = []
        tree.tell("/a/7/x/y")
        assert tree.update() == [("/a/7/x", True, True), ("/a/7/x/y", False, True)]
        assert counted.looks < 30

    def test_an_event_outside(self) -> None:
        tree = a_tree()
        tree.tell("/elsewhere")
        with pytest.raises(ProtocolError, match="not below the watched path"):
            tree.update()


class TestReading:
    def test_conditions_see_it_and_nothing_else(self) -> None:
        replica = a_tree().replica
        assert replica.judge(lambda view: view.ls("/a")) == ["b", "c"]
        assert replica.judge(lambda view: (view.read("/a/b"), view.get_permissions("/a/b"))) == (b"", PERMISSIONS)
        assert replica.judge(lambda view: (view.exists("/a/x"), "/a/b" in view, view.get("/a/x"))) == (
            False,
            True,
            None,
        )
        with pytest.raises(NodeNotFoundError):
            replica.judge(lambda view: view["/a/x"])
        for path in ("/", "/ab", "b", "@releaseDomain"):
            with pytest.raises(ValueError, match="outside the mirror") as caught:
                replica.judge(lambda view, path=path: view.exists(path))  # type: ignore[misc]
            assert caught.value.filename == path  # type: ignore[attr-defined]

    def test_iterating_over_one_that_is_updated(self) -> None:
        tree = a_tree()
        paths = tree.replica.iterate()
        assert next(paths)[0] == "/a"
        assert tree.update() == []
        assert next(paths)[0] == "/a/b"  # nothing has changed
        tree.nodes["/a/b/d"] = ["x"]
        tree.nodes["/a/b/d/x"] = []
        tree.tell("/a/b/d/x")
        tree.update()
        with pytest.raises(RuntimeError, match="updated during iteration"):
            next(paths)
