"""Which watches there are, and to which of them an event belongs."""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import Any

import pytest
from harness.threads import all_outcomes, switching_often

from xsffi.protocol.watch_table import Watched, WatchTable


class Equal:
    """Equal to every other one, and not hashable."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


@pytest.fixture
def table() -> WatchTable[Watched]:
    return WatchTable()


def test_an_event_finds_its_watch(table: WatchTable[Watched]) -> None:
    first, second = Watched("/a", "token", b"1"), Watched("/a", "other", b"dump:2")
    assert table.add(first)
    assert table.add(second)
    assert table.owner("1") is first
    assert table.owner("dump:2") is second
    assert table.owner("3") is None
    assert first in table


def test_a_path_and_a_token_are_one_watch_s(table: WatchTable[Watched]) -> None:
    token = object()
    first, again = Watched("/a", token, b"1"), Watched("/a", token, b"2")
    assert table.add(first)
    assert not table.add(again)
    assert table.owner("2") is None
    assert not table.remove(again)
    assert table.owner("1") is first
    assert not table.add(again)  # the refused one has removed nothing
    assert table.add(Watched("/b", token, b"3"))
    assert table.remove(first)
    assert table.add(again)


@pytest.mark.parametrize("make", [Equal, list, lambda: None, dict], ids=["equal", "list", "None", "dict"])
def test_tokens_are_told_by_identity(table: WatchTable[Watched], make: Any) -> None:
    first, second = make(), make()
    assert table.add(Watched("/a", first, b"1"))
    assert table.add(Watched("/a", second, b"2")) is (first is not second)


def test_one_that_was_removed_is_nobody_s(table: WatchTable[Watched]) -> None:
    watched = Watched("/a", "token", b"1")
    table.add(watched)
    assert table.remove(watched)
    assert table.owner("1") is None
    assert watched not in table
    assert not table.remove(watched)
    assert table.find("/a", watched.token) == []


def test_a_token_is_held_as_long_as_its_watch(table: WatchTable[Watched]) -> None:
    token = object()
    count = sys.getrefcount(token) if hasattr(sys, "getrefcount") else 0
    watched = Watched("/a", token, b"1")
    table.add(watched)
    table.remove(watched)
    del watched
    assert not hasattr(sys, "getrefcount") or sys.getrefcount(token) == count


def test_all_at_once(table: WatchTable[Watched]) -> None:
    token = object()
    for number in range(5):
        table.add(Watched(f"/{number}", token, b"%d" % number))
    table.clear()
    assert [table.owner(str(number)) for number in range(5)] == [None] * 5
    assert table.find("/0", token) == []
    assert table.add(Watched("/0", token, b"9"))


class TestFind:
    def test_the_very_path(self, table: WatchTable[Watched]) -> None:
        token = object()
        watches = [Watched(path, token, b"%d" % number) for number, path in enumerate(["/a", "/b"])]
        for watched in watches:
            table.add(watched)
        assert table.find("/b", token) == [watches[1]]

    def test_a_path_in_another_spelling(self, table: WatchTable[Watched]) -> None:
        token = object()
        watches = [Watched(path, token, b"%d" % number) for number, path in enumerate(["/local/domain/0/a", "/b"])]
        for watched in watches:
            table.add(watched)
        table.add(Watched("a", object(), b"9"))
        assert table.find("a", token) == watches

    def test_an_equal_token_is_another(self, table: WatchTable[Watched]) -> None:
        table.add(Watched("/a", Equal(), b"1"))
        assert table.find("/a", Equal()) == []


def test_threads_that_set_and_remove(table: WatchTable[Watched]) -> None:
    """Of several simultaneous calls with the same watch, only one succeeds; and nothing is left."""
    token, rounds = object(), 300
    added: list[list[bool]] = [[] for _ in range(4)]
    removed: list[list[bool]] = [[] for _ in range(4)]
    meeting = threading.Barrier(4)
    shared: dict[int, Watched] = {}

    def work(number: int) -> None:
        for step in range(rounds):
            mine = Watched("/a", token, b"%d" % (4 * step + number))
            meeting.wait()
            added[number].append(table.add(mine))
            if added[number][-1]:
                shared[step] = mine
            meeting.wait()
            removed[number].append(table.remove(shared[step]))

    with switching_often():
        assert all_outcomes([partial(work, number) for number in range(4)]) == [None] * 4
    assert [sum(step) for step in zip(*added)] == [1] * rounds
    assert [sum(step) for step in zip(*removed)] == [1] * rounds
    assert table.find("/a", token) == []


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="finalizers run at any time later")
def test_the_end_of_a_token_may_use_the_table(table: WatchTable[Watched]) -> None:
    """A finalizer runs wherever the last reference is dropped: in the middle of any operation that drops it."""
    seen: list[bool] = []

    class Token:
        def __del__(self) -> None:
            table.clear()
            other = Watched("/other", "token", b"99")
            seen.append(table.add(other) and table.remove(other))

    for number in range(3):
        table.add(Watched("/a", Token(), b"%d" % number))
    table.clear()
    last = Watched("/b", "token", b"5")
    table.add(last)
    assert table.owner("5") is last
    assert seen == [True] * 3
