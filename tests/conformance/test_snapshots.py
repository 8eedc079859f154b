"""dump() alongside writers: whatever changes between any two of its requests, it returns the tree of some moment."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from daemons import Daemon
from harness.stores import client_of
from harness.writers import CHANGES, SCHEDULES, Change, Disturbed, Schedule, check_dump
from hypothesis import HealthCheck, given, settings

from xsffi import Client
from xsffi.sync.trees import snapshot

_numbers = itertools.count(1)


@given(before=CHANGES, schedule=SCHEDULES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_dump_is_of_one_moment(daemon: Daemon, before: Change, schedule: Schedule) -> None:
    with client_of(daemon, "wire") as client, client_of(daemon, "wire") as reader:
        check_dump(client, reader.backend, f"/test/snapshot-{next(_numbers)}", before, schedule)


def test_a_domain_is_released_meanwhile(daemon: Daemon) -> None:
    """oxenstored removes its nodes without an event for each."""
    with client_of(daemon, "wire") as client:
        for number in range(40):
            domid, top = 3000 + next(_numbers), f"/test/released-{number}"
            client.introduce_domain(domid, 1, domid)
            for path in ("a", "b/c", "d"):
                client.write(f"{top}/{path}", "1")
                client.set_permissions(f"{top}/{path}", [f"n{domid}"])
            asked = itertools.count()

            def release(domid: int = domid, number: int = number, asked: itertools.count[int] = asked) -> None:
                if next(asked) == number:
                    client.release_domain(domid)

            with client_of(daemon, "wire") as reader:
                disturbed: Any = Disturbed(reader.backend, release)
                paths = {node.path for node in snapshot(disturbed, top, 100)}
            all_of_it = {f"{top}{path}" for path in ("", "/a", "/b", "/b/c", "/d")}
            assert paths in (all_of_it, {top, f"{top}/b"})
            client.rm(top)


def test_the_order_is_parents_first(xs: Client, top: str) -> None:
    for path in ("b/c/d", "a/e"):
        xs.write(f"{top}/{path}", "")
    paths = [node.path for node in xs.dump(top)]
    assert sorted(paths) == [f"{top}{path}" for path in ("", "/a", "/a/e", "/b", "/b/c", "/b/c/d")]
    assert [path.count("/") for path in paths] == sorted(path.count("/") for path in paths)


def test_names_with_an_at(xs: Client, top: str) -> None:
    """At the root too, where only oxenstored's special paths are left out, since they cannot be read."""
    for path in (f"{top}/@a/@b", "/@test/x"):
        xs.write(path, "1")
    try:
        for nodes in (xs.dump("/"), list(xs.walk("/"))):
            paths = [node.path for node in nodes]
            assert {f"{top}/@a", f"{top}/@a/@b", "/@test", "/@test/x"} <= set(paths)
            assert not {"/@introduceDomain", "/@releaseDomain"} & set(paths)
            assert all(not name.startswith("@") or name == "@test" for name in nodes[0].children)
    finally:
        xs.rm("/@test")


@pytest.mark.parametrize("name", ["@introduceDomain", "@releaseDomain"])
def test_a_node_with_the_name_of_a_special_path(xs: Client, daemon: Daemon, name: str) -> None:
    if daemon.kind == "oxenstored":
        pytest.skip("it has the special path there")
    xs.write(f"/{name}/x", "1")
    try:
        assert {f"/{name}", f"/{name}/x"} <= {node.path for node in xs.walk("/")}
        assert {f"/{name}", f"/{name}/x"} <= {node.path for node in xs.dump("/")}
    finally:
        xs.rm(f"/{name}")
