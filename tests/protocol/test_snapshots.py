"""Snapshots: the program on a store in this process, thousands of times, and driven by hand."""

from __future__ import annotations

import itertools
import os
from random import Random
from typing import Any

import pytest
from harness.fakes import make_client
from harness.inprocess import InProcessBackend
from harness.writers import Change, Schedule, check_dump, random_change, random_start

from xsffi.errors import (
    AccessDeniedError,
    NodeNotFoundError,
    ProtocolError,
    TransactionConflictError,
    error_from_wire,
)
from xsffi.protocol import programs, trees
from xsffi.protocol.lookups import Lookups
from xsffi.protocol.programs import NextEvent
from xsffi.protocol.requests import Read, Watch
from xsffi.records import Node, WatchEvent
from xsffi.server.store import Store

from .by_hand import PERMISSIONS, answers


def check(before: Change, schedule: Schedule) -> None:
    store = Store()
    with make_client(InProcessBackend(store)) as client:
        check_dump(client, InProcessBackend(store), "/top", before, schedule)


@pytest.mark.parametrize("hundred", range(int(os.environ.get("XSFFI_SNAPSHOTS", "15"))))
def test_a_snapshot_is_of_one_moment(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        print("seed", seed)
        random = Random(seed)
        most = random.choice([3, 12, 30])
        check(
            random_start(random),
            [(random.randint(-1, most), random_change(random)) for _ in range(random.randint(1, 20))],
        )


@pytest.mark.parametrize("anew", ["/a/b/c", "/a/b"])
def test_removed_and_made_anew(anew: str) -> None:
    """Twice, at any moments: a round may then know a node, but not its parent."""
    rm = [("rm", "/a", "")]
    for first, second, third in itertools.product(range(8), range(12), range(0, 12, 2)):
        print(first, second, third)
        check(
            [("write", "/a/b/c", "0")],
            [(first, rm), (-1, [("write", "/a/b/c", "1")]), (second, rm), (third, [("write", anew, "2")])],
        )


class Tree:
    """A daemon driven by hand: its nodes, and the events that arrive with the reply to a request."""

    def __init__(self, nodes: dict[str, Any]) -> None:
        self.nodes = nodes  # by path: the names of children, or an error
        self.events: list[WatchEvent] = []
        self.after: dict[int, list[str]] = {}  # events, by the number of the round in which they arrive
        self.later: dict[int, dict[str, Any]] = {}  # the nodes from then on, by the number of the preceding round
        self.rounds = 0

    def carry(self, effect: Any) -> Any:
        self.nodes = self.later.get(self.rounds, self.nodes)
        if isinstance(effect, Watch):
            self.events.append(WatchEvent(effect.path.decode(), effect.token.decode()))
            return None
        if isinstance(effect, NextEvent):
            return self.events.pop(0) if self.events else None
        if not isinstance(effect, Lookups):
            return [None]  # the request that shows that the events of the watches have arrived
        self.rounds += 1
        for path in self.after.get(self.rounds, []):
            self.events.append(WatchEvent(path, "dump:2" if path == "@releaseDomain" else "dump:1"))
        return effect.combine(answers(self.nodes, effect))

    def snapshot(self, top: str = "/a", rounds: int = 10) -> list[Node]:
        return programs.run(trees.snapshot(top, rounds, b"dump:1", b"dump:2"), self.carry)


class TestByHand:
    def test_where_nothing_happens_each_level_is_one_trip(self) -> None:
        tree = Tree({"/a": ["b", "c"], "/a/b": ["d"], "/a/b/d": [], "/a/c": []})
        assert [node.path for node in tree.snapshot()] == ["/a", "/a/b", "/a/c", "/a/b/d"]
        assert tree.rounds == 3

    def test_a_listed_node_that_went_without_an_event_is_looked_for_again(self) -> None:
        """As oxenstored does with those of a domain that is released."""
        tree = Tree({"/a": ["b"]})
        tree.later = {2: {"/a": []}}
        assert tree.snapshot() == [Node("/a", b"", (), tuple(PERMISSIONS))]

    def test_one_that_never_comes_is_no_endless_search(self) -> None:
        with pytest.raises(TransactionConflictError, match="each of the 7 times") as caught:
            Tree({"/a": ["b"]}).snapshot(rounds=7)
        assert caught.value.filename == "/a"

    def test_no_top(self) -> None:
        with pytest.raises(NodeNotFoundError) as caught:
            Tree({}).snapshot()
        assert caught.value.filename == "/a"

    def test_a_node_that_may_not_be_read(self) -> None:
        tree = Tree({"/a": ["b"], "/a/b": error_from_wire("EACCES", "/a/b")})
        with pytest.raises(AccessDeniedError) as caught:
            tree.snapshot()
        assert caught.value.filename == "/a/b"

    def test_one_that_might_not_be_read_before_it_was_removed(self) -> None:
        """xenstored answers EACCES for a missing node below an unreadable one."""
        tree = Tree({"/a": ["b"], "/a/b": error_from_wire("EACCES", "/a/b")})
        tree.after = {2: ["/a/b"]}
        tree.later = {2: {"/a": []}}
        assert [node.path for node in tree.snapshot()] == ["/a"]

    def test_a_domain_that_is_released(self) -> None:
        """Everything is read again: its nodes may have been removed, and permissions given to others, without an event
        for each."""
        tree = Tree({"/a": ["b"], "/a/b": ["c"], "/a/b/c": []})
        tree.after = {3: ["@releaseDomain"]}
        tree.later = {3: {"/a": ["d"], "/a/d": []}}
        assert [node.path for node in tree.snapshot()] == ["/a", "/a/d"]

    def test_a_guest_that_may_set_no_more_watches(self) -> None:
        tree = Tree({"/a": []})
        carry = tree.carry

        def carried(effect: Any) -> Any:
            if isinstance(effect, Watch) and effect.path == b"@releaseDomain":
                raise error_from_wire("E2BIG", "@releaseDomain")
            return carry(effect)

        tree.carry = carried  # type: ignore[method-assign]
        assert [node.path for node in tree.snapshot()] == ["/a"]

    def test_a_watch_of_the_root_may_be_told_of_special_paths(self) -> None:
        """As xenstored of Xen 4.18 and 4.20 does when somebody sets their permissions."""
        tree = Tree({"/": []})
        tree.after = {1: ["@introduceDomain"]}
        assert [node.path for node in tree.snapshot("/")] == ["/"]

    @pytest.mark.parametrize("path", ["/", "/ab", "/c", "a", "@introduceDomain"])
    def test_an_event_outside(self, path: str) -> None:
        tree = Tree({"/a": []})
        tree.after = {1: [path]}
        with pytest.raises(ProtocolError, match="not below the watched path") as caught:
            tree.snapshot()
        assert repr(path) in str(caught.value)

    @pytest.mark.parametrize("path", ["/a//", "/a/b/", "/a/\udcff", "/a/" + "b" * 5000])
    def test_an_event_at_a_path_that_cannot_be(self, path: str) -> None:
        tree = Tree({"/a": []})
        tree.after = {1: [path]}
        tree.nodes[path] = error_from_wire("EINVAL", "/a")
        assert [node.path for node in tree.snapshot()] == ["/a"]

    def test_events_that_do_not_cease(self) -> None:
        tree = Tree({"/a": []})
        event = WatchEvent("/a", "dump:1")

        def carry(effect: Any) -> Any:
            if isinstance(effect, NextEvent):
                return event
            return tree.carry(effect)

        with pytest.raises(TransactionConflictError, match="each of the 3 times"):
            programs.run(trees.snapshot("/a", 3, b"dump:1", b"dump:2"), carry)

    def test_what_changed_is_read_again_and_all_above_it_and_no_more(self) -> None:
        nodes: dict[str, Any] = {"/a": ["b", "c"], "/a/b": ["d"], "/a/b/d": [], "/a/c": ["e"], "/a/c/e": []}
        tree = Tree(nodes)
        tree.after = {3: ["/a/b/d"]}
        asked: list[list[str]] = []
        carry = tree.carry

        def carried(effect: Any) -> Any:
            if isinstance(effect, Lookups):
                asked.append([request.path.decode() for request in effect if isinstance(request, Read)])
            return carry(effect)

        tree.carry = carried  # type: ignore[method-assign]
        tree.snapshot()
        assert asked == [["/a"], ["/a/b", "/a/c"], ["/a/b/d", "/a/c/e"], ["/a", "/a/b", "/a/b/d"]]
