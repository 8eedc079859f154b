"""Several connections for bulk work, to a scripted daemon: when they are opened, and what happens if they fail."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, interrupted_after
from harness.children import in_child
from harness.descriptors import descriptors_left, open_descriptors
from harness.peer import Link, MessageType, Peer, answer, value_of
from harness.threads import Call

import xsffi
from xsffi import Client

from .asking import PATHS, VALUES, Counting, client_at

M = MessageType


@pytest.fixture(autouse=True)
def _both(implementation: str) -> None:
    """Runs every test here with connections in C and in Python."""


def test_they_are_opened_where_it_is_worth_it() -> None:
    counting = Counting()
    with Peer(counting) as peer, client_at(peer) as xs:
        assert xs.read_many(PATHS[:1000]) == VALUES[:1000]
        assert len(counting.requests) == 1
        assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == 4
        assert min(counting.requests.values()) > 500  # each carries its share
        before = dict(counting.requests)
        assert xs.read_many(PATHS[:100]) == VALUES[:100]
        assert sum(before[link] != counting.requests[link] for link in before) == 1  # so few requests use only one


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("3", 3), ("16", 16)])
def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    monkeypatch.setenv("XSFFI_CONNECTIONS", text)
    counting = Counting()
    with Peer(counting) as peer:
        with client_at(peer, connections=None) as xs:
            assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == number
        with client_at(peer, connections=2) as xs:  # takes precedence
            assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == number + 2


def test_by_default_one_in_python_and_four_in_c(implementation: str) -> None:
    counting = Counting()
    with Peer(counting) as peer, client_at(peer, connections=None) as xs:
        assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == (4 if implementation == "C" else 1)


@pytest.mark.parametrize("text", ["0", "17", "-1", "four", "2.0", " 2", "²", "1000000000000000000000"])
def test_what_is_no_number_of_connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("XSFFI_CONNECTIONS", text)
    with pytest.raises(xsffi.InvalidArgumentError, match="XSFFI_CONNECTIONS must be from 1 to 16"):
        Client(tmp_path / "none")


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (17, ValueError), (2.0, TypeError), (True, TypeError)])
def test_nor_this(tmp_path: Path, number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="connections must be"):
        Client(tmp_path / "none", connections=number)


def test_with_no_descriptors_left_it_is_done_with_fewer(xenstored: Daemon) -> None:
    """The daemon is another process, whose descriptors are not limited."""
    paths = ["/"] * 3000
    with Client(xenstored.socket_path, backend="wire", connections=4) as xs:
        value = xs.read("/")
        before = open_descriptors()
        with descriptors_left(0):
            assert xs.read_many(paths) == [value] * 3000
        assert open_descriptors() == before
        assert xs.read_many(paths) == [value] * 3000
        assert len(open_descriptors()) > len(before) + 2


def end_of_one(link: Link) -> None:
    """Answer some requests, then hang up."""
    for _ in range(100):
        link.reply(link.request())
    link.hang_up()


def load(xs: Client) -> None:
    xs.load([xsffi.Node(f"/{number % 50}/{number}", b"", (), (xsffi.Permission(0, "n"),)) for number in range(2000)])


@pytest.mark.parametrize("work", [lambda xs: xs.read_many(PATHS), load], ids=["read_many", "load"])
def test_a_further_one_that_is_lost(work: Callable[[Client], object]) -> None:
    """The first connection does its work; the next call uses as many as before."""
    with Peer(answer, answer, end_of_one, answer) as peer, client_at(peer) as xs:
        for _ in range(3):
            work(xs)
        assert xs.read_many(PATHS) == VALUES
        assert xs.read("/a") == value_of(b"/a")


def test_threads_that_share_one_that_is_lost() -> None:
    """None of them gets the error that the client is closed."""
    with Peer(answer, *[end_of_one] * 20, answer) as peer, client_at(peer) as xs:
        calls = [Call(lambda: [xs.read_many(PATHS) for _ in range(5)]) for _ in range(4)]
        for call in calls:
            assert call.result() == [VALUES] * 5


def test_the_first_one_that_is_lost() -> None:
    with Peer(end_of_one, answer) as peer, client_at(peer) as xs:
        for _ in range(2):
            with pytest.raises(xsffi.ConnectionLostError):
                xs.read_many(PATHS)
            with pytest.raises(xsffi.ConnectionLostError):
                load(xs)


def test_a_daemon_that_accepts_nobody_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Perhaps it has no descriptors left: the first connection does the work, and no other is tried for some time."""
    monkeypatch.setattr("xsffi.backends.wire.backend.FURTHER_PATIENCE", 0.2)
    silent = [0]

    def never(link: Link) -> None:
        silent[0] += 1
        link.wait_for_the_end()

    with Peer(answer, never) as peer, client_at(peer) as xs:
        for _ in range(3):
            assert xs.read_many(PATHS) == VALUES
        assert silent == [1]


def test_a_socket_that_has_gone() -> None:
    """The daemon still serves existing connections, so the first does all the work."""
    with Peer(answer) as peer, client_at(peer) as xs:
        assert xs.read("/a") == value_of(b"/a")
        os.rename(peer.path, f"{peer.path}.away")
        assert xs.read_many(PATHS) == VALUES
        os.rename(f"{peer.path}.away", peer.path)


def silent_after(count: int) -> Callable[[Link], None]:
    def script(link: Link) -> None:
        for _ in range(count):
            link.reply(link.request())
        link.wait_for_the_end()

    return script


def test_close_ends_it() -> None:
    with Peer(silent_after(200)) as peer, client_at(peer) as xs:
        call = Call(lambda: xs.read_many(PATHS))
        call.until_asleep()
        xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            call.result()


def test_its_time_is_up() -> None:
    with Peer(silent_after(200)) as peer, client_at(peer, timeout=0.2) as xs:
        begin = time.monotonic()
        with pytest.raises(xsffi.WaitTimeoutError):
            xs.read_many(PATHS)
        assert time.monotonic() - begin < 30


def test_an_interruption_leaves_them_alive() -> None:
    """Late replies are dropped."""
    go_on = threading.Event()

    def stop_and_go(link: Link) -> None:
        for _ in range(200):
            link.reply(link.request())
        go_on.wait(60)
        answer(link)

    with Peer(stop_and_go) as peer, client_at(peer) as xs:
        with pytest.raises(Interrupt), interrupted_after(0.3):
            xs.read_many(PATHS)
        go_on.set()
        assert xs.read_many(PATHS) == VALUES


def test_two_at_once() -> None:
    with Peer(answer) as peer, client_at(peer) as xs:
        calls = [Call(lambda: xs.read_many(PATHS)) for _ in range(4)]
        for call in calls:
            assert call.result() == VALUES


def test_a_fork() -> None:
    with Peer(answer) as peer, client_at(peer) as xs:
        assert xs.read_many(PATHS) == VALUES

        def use() -> None:
            with pytest.raises(xsffi.ForkedError):
                xs.read_many(PATHS)

        assert in_child(use) == 0
        assert xs.read_many(PATHS) == VALUES
