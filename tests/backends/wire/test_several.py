"""Several connections for bulk work, at a scripted daemon: which are opened, and what befalls them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, interrupted_after
from harness.children import in_child
from harness.descriptors import descriptors_left, open_descriptors
from harness.peer import Link, MessageType, Peer, answer, reply_to, value_of
from harness.threads import Call

import xsffi
from xsffi import Client
from xsffi.backends.wire.native import open_connection
from xsffi.paths import encode

M = MessageType
PATHS = [f"/{number}" for number in range(3000)]
VALUES = [value_of(path.encode()) for path in PATHS]


@pytest.fixture(autouse=True)
def _both(implementation: str) -> None:
    """Everything here, over connections in C and in Python."""


@contextmanager
def client_at(peer: Peer, **options: Any) -> Iterator[Client]:
    options = {"connections": 4, **options}
    with Client(peer.path, backend="wire", **options) as client:
        yield client


class Counting:
    """Scripts that answer, and count the connections and requests."""

    def __init__(self) -> None:
        self.requests: dict[Link, int] = {}
        self.asked: set[bytes] = set()  # the payloads

    def __call__(self, link: Link) -> None:
        self.requests[link] = 0
        while True:
            request = link.request()
            self.requests[link] += 1
            self.asked.add(request.payload)
            link.reply(request)


def test_they_are_opened_where_it_is_worth_it() -> None:
    counting = Counting()
    with Peer(counting) as peer, client_at(peer) as xs:
        assert xs.read_many(PATHS[:1000]) == VALUES[:1000]
        assert len(counting.requests) == 1
        assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == 4
        assert min(counting.requests.values()) > 500  # each does its share
        before = dict(counting.requests)
        assert xs.read_many(PATHS[:100]) == VALUES[:100]
        assert sum(before[link] != counting.requests[link] for link in before) == 1  # so little is for one


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("3", 3), ("16", 16)])
def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    monkeypatch.setenv("XSFFI_CONNECTIONS", text)
    counting = Counting()
    with Peer(counting) as peer:
        with client_at(peer, connections=None) as xs:
            assert xs.read_many(PATHS) == VALUES
        assert len(counting.requests) == number
        with client_at(peer, connections=2) as xs:  # which goes before
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
    with pytest.raises(xsffi.InvalidArgumentError, match="XSFFI_CONNECTIONS is from 1 to 16"):
        Client(tmp_path / "none")


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (17, ValueError), (2.0, TypeError), (True, TypeError)])
def test_nor_this(tmp_path: Path, number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="connections is"):
        Client(tmp_path / "none", connections=number)


def test_with_no_descriptors_left_it_is_done_with_fewer(xenstored: Daemon) -> None:
    """By a daemon in a process of its own, which has enough of them."""
    paths = ["/"] * 3000
    with Client(xenstored.socket_path, backend="wire", connections=4) as xs:
        value = xs.read("/")
        before = open_descriptors()
        with descriptors_left(0):
            assert xs.read_many(paths) == [value] * 3000
        assert open_descriptors() == before
        assert xs.read_many(paths) == [value] * 3000
        assert len(open_descriptors()) > len(before) + 2


def test_a_bad_path_is_refused_before_anything_is_sent() -> None:
    counting = Counting()
    with Peer(counting) as peer, client_at(peer) as xs:
        xs.read("/a")
        for bad, error in (
            ("/a//b", xsffi.InvalidArgumentError),
            (b"/a", TypeError),
            ("/ä", xsffi.InvalidArgumentError),
        ):
            with pytest.raises(error, match="path"):
                xs.read_many([*PATHS, bad])  # type: ignore[list-item]
        assert counting.asked == {b"/a\0", b"/\0"}  # the root, to see whether the daemon is the same still
        assert xs.read("/a") == value_of(b"/a")


def test_strange_paths_among_plain_ones() -> None:
    long = "/" + "a" * 3071
    with Peer(answer) as peer, client_at(peer) as xs:
        paths = ["relative", "/", long, "@releaseDomain", *PATHS[:50]] * 50
        assert xs.read_many(paths) == [value_of(path.encode()) for path in paths]


def end_of_one(link: Link) -> None:
    """It answers some, and hangs up."""
    for _ in range(100):
        link.reply(link.request())
    link.hang_up()


def load(xs: Client) -> None:
    xs.load([xsffi.Node(f"/{number % 50}/{number}", b"", (), (xsffi.Permission(0, "n"),)) for number in range(2000)])


@pytest.mark.parametrize("work", [lambda xs: xs.read_many(PATHS), load], ids=["read_many", "load"])
def test_a_further_one_that_is_lost(work: Callable[[Client], object]) -> None:
    """The first does its work; the next time there are as many as before."""
    with Peer(answer, answer, end_of_one, answer) as peer, client_at(peer) as xs:
        for _ in range(3):
            work(xs)
        assert xs.read_many(PATHS) == VALUES
        assert xs.read("/a") == value_of(b"/a")


def test_threads_that_share_one_that_is_lost() -> None:
    """None of them is told that the client is closed."""
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
    """It has no descriptors left, perhaps: it is done over the first, and not tried again for some time."""
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
    """The daemon serves whom it has accepted: so it is done over the first."""
    with Peer(answer) as peer, client_at(peer) as xs:
        assert xs.read("/a") == value_of(b"/a")
        os.rename(peer.path, f"{peer.path}.away")
        assert xs.read_many(PATHS) == VALUES
        os.rename(f"{peer.path}.away", peer.path)


def test_another_daemon_in_its_place(tmp_path: Path) -> None:
    """The daemon went, and its successor listens: it is never asked."""
    counting = Counting()
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Client(path, backend="wire", connections=4) as xs:
            accepted, _ = listener.accept()
            with Peer(counting) as successor:
                accepted.close()
                os.rename(successor.path, path)
                with pytest.raises(xsffi.ConnectionLostError):
                    xs.read_many(PATHS)
                os.rename(path, successor.path)
    assert sum(counting.requests.values()) == 0


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
    """What was asked is answered late, to nobody."""
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


def test_memory_is_bounded() -> None:
    """However many there are: what is needed beside the values is for some thousand."""
    import tracemalloc

    with Peer(answer) as peer, client_at(peer) as xs:
        xs.read_many(PATHS)
        tracemalloc.start()
        try:
            values = xs.exists_many(f"/{number}" for number in range(100_000))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert values == [True] * 100_000
    assert most < 8 << 20


def test_a_name_that_makes_a_path_too_long() -> None:
    """No daemon lists one. It is refused in its place, as each path is that is too long."""

    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.DIRECTORY:
                link.reply(request, b"b\0" + b"a" * 5000 + b"\0" if request.payload == b"/\0" else b"")
            else:
                link.reply(request, b"n0\0" if request.type == M.GET_PERMS else b"v")

    with Peer(script) as peer, client_at(peer) as xs:
        errors: list[xsffi.XenStoreError] = []
        assert [node.path for node in xs.walk("/", errors.append)] == ["/", "/b"]
        assert [type(error) for error in errors] == [xsffi.TooBigError]


STRANGE = {
    "a type of its own": (M.DIRECTORY, b"x\0"),
    "an error without a name": (M.ERROR, b""),
}


@pytest.mark.parametrize(("type", "payload"), STRANGE.values(), ids=STRANGE)
def test_a_reply_that_is_none(type: int, payload: bytes) -> None:
    """It is an error in its place; what stands beside it is right."""

    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.payload == b"/5\0":
                link.send(reply_to(request._replace(type=MessageType(type)), payload))
            else:
                link.reply(request)

    with Peer(script) as peer, client_at(peer) as xs:
        with pytest.raises(xsffi.XenStoreError):
            xs.read_many(PATHS)
        assert xs.read_many(PATHS[6:]) == VALUES[6:]


LISTS = {
    b"": [],
    b"a\0": ["a"],
    b"a\0bc\0": ["a", "bc"],
    b"a\0bc": ["a", "bc"],
    "ä\0".encode(): ["ä"],
    b"\xff\0": ["\udcff"],
    b"a/b\0": None,
    b"\0": None,
    b"a\0\0": None,
    b"a\0\0b\0": None,
}


@pytest.mark.parametrize(("payload", "names"), LISTS.items())
def test_lists_of_children(payload: bytes, names: list[str] | None) -> None:
    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.DIRECTORY:
                link.reply(request, payload if request.payload == b"/a\0" else b"")
            else:
                link.reply(request, b"n0\0" if request.type == M.GET_PERMS else b"v")

    with Peer(script) as peer, client_at(peer) as xs:
        if names is None:
            with pytest.raises(xsffi.ProtocolError, match="name that none has"):
                next(xs.walk("/a"))
        else:
            assert next(xs.walk("/a")) == xsffi.Node("/a", b"v", tuple(names), (xsffi.Permission(0, "n"),))


def test_more_lists_of_permissions_than_are_remembered() -> None:
    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.GET_PERMS:
                number = int(request.payload[1:-1] or b"0")
                link.reply(request, b"n0\0r%d\0" % (number % 700))
            elif request.type == M.DIRECTORY:
                link.reply(request, b"".join(b"%d\0" % n for n in range(1, 500)) if request.payload == b"/\0" else b"")
            else:
                link.reply(request, b"")

    with Peer(script) as peer, client_at(peer) as xs:
        for _ in range(3):
            nodes = list(xs.walk("/"))
            assert len(nodes) == 500
            for node in nodes:
                assert node.permissions == (xsffi.Permission(0, "n"), xsffi.Permission(int(node.path[1:] or 0), "r"))


def test_what_c_is_given_is_looked_at(implementation: str) -> None:
    """By its own user: nothing of it is taken for granted."""
    if implementation != "C":
        pytest.skip("it has this in C alone")
    with Peer(answer) as peer:
        connection: Any = open_connection(peer.path, 10).connection
        other: Any = open_connection(peer.path, 10).connection
        good: dict[str, Any] = {
            "others": (other,), "paths": ("/a",), "tx_id": 0, "encode": encode, "node_type": None, "permissions": {},
        }  # fmt: skip
        assert connection.fetch(*good.values()) == ([value_of(b"/a")], [])
        bad: list[tuple[str, Any, type[Exception]]] = [
            ("others", [other], TypeError),
            ("others", ("x",), TypeError),
            ("others", (other,) * 16, ValueError),
            ("paths", ["/a"], TypeError),
            ("paths", (5,), TypeError),
            ("encode", lambda path: path, TypeError),
            ("node_type", list, TypeError),
            ("node_type", (), TypeError),
            ("permissions", [], TypeError),
        ]
        for name, value, error in bad:
            arguments = {**good, name: value}
            if name == "encode":
                arguments["paths"] = ("/ä",)
            with pytest.raises(error):
                connection.fetch(*arguments.values())
        assert connection.fetch(*{**good, "paths": ()}.values()) == ([], [])
        assert connection.fetch(*good.values()) == ([value_of(b"/a")], [])
        connection.close()
        with pytest.raises(xsffi.ClientClosedError):
            connection.fetch(*good.values())
        other.close()
