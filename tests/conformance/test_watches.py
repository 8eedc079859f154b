"""Watches, over every backend, on every daemon."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Callable

import pytest
from daemons import Daemon
from daemons.releases import WATCH_DEPTH, require
from harness.alarms import Interrupt, interrupted_after
from harness.descriptors import WAYS
from harness.stores import AIO, client_of, events_so_far, of_sync_alone
from harness.threads import Call

import xsffi
from xsffi import Client, WatchEvent

SOON = 5.0  # seconds, much longer than any of these events takes


class Unhashable:
    """A token that equals every other one, and is not hashable."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def test_one_event_comes_at_once(xs: Client, top: str) -> None:
    watch = xs.watch(f"{top}/missing")
    assert xs.read_watch(SOON) == (f"{top}/missing", watch)
    assert xs.check_watch() is None


def test_a_change_by_another(xs: Client, other: Client, top: str) -> None:
    xs.watch(top, token="mine")
    xs.read_watch(SOON)
    other.write(f"{top}/a/b", "")
    event = xs.read_watch(SOON)
    assert event == WatchEvent(f"{top}/a/b", "mine")
    assert events_so_far(xs) == []


def test_ones_own_change(xs: Client, top: str) -> None:
    xs.watch(top, "mine")
    xs.write(f"{top}/a", "1")
    xs.rm(f"{top}/a")
    assert {event.path for event in events_so_far(xs)} == {top, f"{top}/a"}


def test_a_commit_fires(xs: Client, other: Client, top: str) -> None:
    xs.watch(top, "mine")
    events_so_far(xs)
    with other.transaction() as t:
        t.write(f"{top}/a", "1")
        assert events_so_far(xs) == []
    assert events_so_far(xs) == [WatchEvent(f"{top}/a", "mine")]


@pytest.mark.parametrize("make", [lambda: "text", lambda: 5, lambda: None, Unhashable, lambda: ["a", "list"]])
def test_a_token_is_any_object(xs: Client, other: Client, top: str, make: Callable[[], object]) -> None:
    first, second = make(), make()
    xs.watch(f"{top}/a", first)
    xs.watch(f"{top}/b", second)
    tokens = {event.path: event.token for event in events_so_far(xs)}
    assert tokens[f"{top}/a"] is first
    assert tokens[f"{top}/b"] is second


def test_the_same_path_and_token_twice(xs: Client, other: Client, top: str) -> None:
    token = Unhashable()
    xs.watch(top, token)
    with pytest.raises(FileExistsError) as caught:
        xs.watch(top, token)
    assert isinstance(caught.value, xsffi.WatchExistsError)
    xs.watch(top, Unhashable())
    xs.watch(top)
    xs.watch(top)
    events_so_far(xs)
    other.write(top, "")
    assert len(events_so_far(xs)) == 4


def test_the_events_of_a_removed_watch(xs: Client, other: Client, top: str) -> None:
    kept = xs.watch(f"{top}/kept", "kept")
    removed = xs.watch(f"{top}/removed", "removed")
    events_so_far(xs)
    for number in range(20):
        other.write(f"{top}/removed", str(number))
    other.write(f"{top}/kept", "")
    xs.read(top)
    xs.unwatch(removed)
    assert events_so_far(xs) == [WatchEvent(f"{top}/kept", "kept")]
    other.write(f"{top}/removed", "again")
    assert events_so_far(xs) == []
    kept.close()
    kept.close()
    assert kept.closed
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.unwatch(kept)


def test_a_watch_as_context(xs: Client, other: Client, top: str) -> None:
    with xs.watch(top):
        events_so_far(xs)
        other.write(f"{top}/a", "")
        assert len(events_so_far(xs)) == 1
    other.write(f"{top}/a", "")
    assert events_so_far(xs) == []


@pytest.mark.parametrize("backend", [AIO])  # for the others, see robustness/test_interruptions.py
def test_an_interrupted_watch_is_not_left_behind(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs, client_of(own_daemon, "wire") as other:
        own_daemon.pause()
        with pytest.raises(Interrupt), interrupted_after(0.05):
            xs.watch("/a")
        own_daemon.resume()
        other.write("/a", "")
        assert events_so_far(xs) == []


def test_a_depth_that_the_daemon_does_not_know(xs: Client, daemon: Daemon, top: str) -> None:
    if not WATCH_DEPTH.through(daemon, xs.backend.name):
        with pytest.raises(xsffi.NotSupportedError, match=r"4\.22"):
            xs.watch(top, depth=0)
    assert xs.check_watch() is None


def test_depth(xs: Client, daemon: Daemon, top: str) -> None:
    require(WATCH_DEPTH, daemon, xs.backend.name)
    xs.watch(top, "itself", depth=0)
    xs.watch(top, "children", depth=1)
    xs.watch(top, "all")
    events_so_far(xs)
    for path, tokens in ((top, 3), (f"{top}/a", 2), (f"{top}/a/b", 1)):
        xs.write(path, "")
        assert {event.token for event in events_so_far(xs)} == set(["all", "children", "itself"][:tokens])


def test_special_watches(xs: Client, daemon: Daemon, top: str) -> None:
    xs.watch("@introduceDomain", "come")
    xs.watch("@releaseDomain", "gone")
    events_so_far(xs)
    daemon.create_domain(41)
    assert events_so_far(xs) == [WatchEvent("@introduceDomain", "come")]
    daemon.release(41)
    assert WatchEvent("@releaseDomain", "gone") in events_so_far(xs)


def test_a_relative_path_is_reported_so(xs: Client, other: Client, top: str) -> None:
    name = top.strip("/").replace("/", "-")
    try:
        with xs.watch(name, "relative"):
            xs.write(f"{name}/child", "")
            paths = {event.path for event in events_so_far(xs)}
        assert paths == {name, f"{name}/child"}
        assert other.exists(f"/local/domain/0/{name}/child")
    finally:
        other.rm(f"/local/domain/0/{name}")


def test_closing_from_two_threads_and_with_the_client(daemon: Daemon, backend: str, top: str) -> None:
    def close_all(watches: list[xsffi.Watch], go: threading.Barrier) -> None:
        go.wait()
        for watch in watches:
            watch.close()

    for _ in range(10):
        with client_of(daemon, backend) as xs:
            watches = [xs.watch(f"{top}/{number}") for number in range(30)]
            go = threading.Barrier(3)
            calls = [Call(partial(close_all, watches, go)) for _ in range(2)]
            go.wait()
            xs.close()
            assert [call.outcome() for call in calls] == [None, None]
            assert all(watch.closed for watch in watches)


def test_reset_watches(xs: Client, other: Client, top: str) -> None:
    watch = xs.watch(top)
    events_so_far(xs)
    if xs.backend.name == "libxenstore":
        with pytest.raises(xsffi.NotSupportedError, match="RESET_WATCHES"):
            xs.reset_watches()
        assert not watch.closed
        return
    xs.reset_watches()
    assert watch.closed
    other.write(top, "")
    assert events_so_far(xs) == []
    with xs.watch(top, "again"):
        assert xs.read_watch(SOON).token == "again"


def test_timeouts(xs: Client, top: str) -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        xs.read_watch(timeout=0.05)
    assert isinstance(caught.value, xsffi.WaitTimeoutError)
    assert 0.04 < time.monotonic() - begin < SOON
    assert list(xs.events(timeout=0)) == []
    xs.watch(top)
    assert xs.read_watch(SOON).path == top  # the wait that was ended has lost nothing


def test_many_events_in_a_burst(xs: Client, other: Client, top: str) -> None:
    xs.watch(top, "burst")
    events_so_far(xs)
    expected = [f"{top}/{number}" for number in range(500)]

    def write_all() -> None:
        for path in expected:
            other.write(path, "")

    writer = threading.Thread(target=write_all)
    writer.start()
    seen = [xs.read_watch(SOON).path for _ in expected]
    writer.join()
    assert seen == expected


# Waiting for the descriptor.


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def wait(request: pytest.FixtureRequest) -> Callable[[int, float], bool]:
    """Ways to wait for a descriptor."""
    ways: Callable[[int, float], bool] = request.param
    return ways


no_descriptor = of_sync_alone("there is no fileno(): an event loop does the polling")


@no_descriptor
def test_fileno(xs: Client, other: Client, top: str, wait: Callable[[int, float], bool]) -> None:
    xs.watch(top)
    assert wait(xs.fileno(), SOON)
    events_so_far(xs)
    assert not wait(xs.fileno(), 0)
    other.write(top, "")
    assert wait(xs.fileno(), SOON)
    assert xs.check_watch() is not None
    assert xs.check_watch() is None
    assert not wait(xs.fileno(), 0)


@no_descriptor
def test_fileno_tells_of_events_that_came_while_a_request_waited(
    xs: Client, other: Client, top: str, wait: Callable[[int, float], bool]
) -> None:
    descriptor = xs.fileno()
    xs.watch(top)
    other.write(f"{top}/a", "1")  # xenstored merges an event with an equal unsent one, such as the first of a watch
    other.write(f"{top}/b", "2")
    for _ in range(20):
        xs.read(top)  # after the last of these, every event has arrived
    for _ in range(3):
        assert wait(descriptor, 0)
        assert xs.check_watch() is not None
    assert xs.check_watch() is None
    assert not wait(descriptor, 0)


@no_descriptor
def test_fileno_in_asyncio(xs: Client, other: Client, top: str) -> None:
    async def watch_for_change() -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        done = loop.create_future()

        def readable() -> None:
            event = xs.check_watch()
            if event is not None:
                seen.append(event.path)
                if len(seen) == 1:
                    other.write(f"{top}/a", "")
                elif not done.done():
                    done.set_result(None)

        loop.add_reader(xs.fileno(), readable)
        xs.watch(top)
        await asyncio.wait_for(done, SOON)
        loop.remove_reader(xs.fileno())
        return seen

    assert asyncio.run(watch_for_change()) == [top, f"{top}/a"]


# The loop that calls callbacks.

no_loop_of_its_own = of_sync_alone("there are no run() and stop(): each callback has a task of its own")


def test_run_calls_back(xs: Client, other: Client, top: str) -> None:
    seen: dict[str, list[str]] = {"a": [], "b": []}

    def at_a(event: WatchEvent) -> None:
        seen["a"].append(event.path)
        if len(seen["a"]) == 2:
            xs.stop()

    def at_b(event: WatchEvent) -> None:
        seen["b"].append(event.path)
        other.write(f"{top}/a", "1")

    xs.watch(f"{top}/a", callback=at_a)
    xs.watch(f"{top}/b", callback=at_b)
    xs.run(timeout=SOON)
    assert seen == {"a": [f"{top}/a", f"{top}/a"], "b": [f"{top}/b"]}


@no_loop_of_its_own
def test_run_goes_on_after_a_callback_raised(
    xs: Client, other: Client, top: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[WatchEvent] = []

    def broken(event: WatchEvent) -> None:
        raise ZeroDivisionError("in the callback")

    xs.watch(f"{top}/a", callback=broken)
    xs.watch(f"{top}/b", callback=seen.append)
    xs.run(timeout=0.2)
    assert len(seen) == 1
    assert "in the callback" in caplog.text
    other.write(f"{top}/a", "")
    with pytest.raises(ZeroDivisionError):
        xs.run(timeout=SOON, raise_errors=True)


@no_loop_of_its_own
def test_stop_from_another_thread(xs: Client) -> None:
    stopper = threading.Timer(0.1, xs.stop)
    stopper.start()
    begin = time.monotonic()
    xs.run(timeout=30)
    assert time.monotonic() - begin < 10
    stopper.join()


def test_a_callback_may_do_anything(xs: Client, top: str) -> None:
    def work(event: WatchEvent) -> None:
        watch.close()
        xs.write(f"{top}/done", "yes")
        with xs.transaction() as t:
            t.write(f"{top}/also", "yes")
        xs.watch(f"{top}/new", callback=lambda event: xs.stop())

    watch = xs.watch(top, callback=work)
    xs.run(timeout=SOON)
    assert sorted(xs.ls(top)) == ["also", "done"]
