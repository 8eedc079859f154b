"""The short way of a request that meets nobody, and its ends: what it may not carry, what comes beside the reply."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from daemons import Daemon
from daemons.bridge import SocketBridge
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stores import client_of

from xsffi import Client
from xsffi.errors import ClientClosedError, ConnectionLostError, NodeNotFoundError, WaitTimeoutError, XenStoreError
from xsffi.paths import validate

ALPHABET = st.sampled_from("aZ09-_@/. ä\0\ud800")


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Client]:
    with client_of(daemon, "wire") as client:
        yield client


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(path=st.text(ALPHABET, max_size=8))
@example(path="")
@example(path="/")
@example(path="//")
@example(path="a//b")
@example(path="/a/")
@example(path="/" + "a" * 3071)
@example(path="/" + "a" * 3072)
@example(path="a" * 2048)
@example(path="a" * 2049)
@example(path="/nothing/there")
def test_a_path_is_judged_as_everywhere(xs: Client, path: str) -> None:
    def judged() -> str:
        try:
            validate(path)
        except XenStoreError as error:
            return f"{type(error).__name__}: {error}"
        return "right"

    def read() -> str:
        try:
            xs.read(path)
        except (NodeNotFoundError, PermissionError):
            pass
        except XenStoreError as error:
            return f"{type(error).__name__}: {error}"
        return "right"

    expected = judged()
    told = read()
    if expected == "right":  # for us; the daemon may still refuse it, in its own words
        assert "path" not in told
    else:
        assert told == expected


def test_a_path_that_is_no_str(xs: Client) -> None:
    for path in (b"/a", None, 5, ["/a"]):
        with pytest.raises(TypeError, match="a path is a str"):
            xs.read(path)  # type: ignore[arg-type]


def test_a_str_of_another_class(xs: Client, top: str) -> None:
    class Path(str):
        pass

    xs.write(top, b"value")
    assert xs.read(Path(top)) == b"value"


def test_byte_after_byte(daemon: Daemon, top: str) -> None:
    """Replies and events that come in the smallest pieces."""
    with SocketBridge(daemon.socket_path, fragment=1) as bridge, Client(bridge.socket_path, backend="wire") as xs:
        xs.watch(top, token="token")
        for number in range(20):
            xs.write(top, b"%d" % number)
            assert xs.read(top) == b"%d" % number
            with pytest.raises(NodeNotFoundError, match="missing"):
                xs.read(f"{top}/missing")
        assert {event.path for event in xs.events(timeout=0.2)} == {top}


def test_events_beside_the_replies(wire: Client, top: str) -> None:
    """Each write brings an event before its reply, so none of them goes the short way to its end."""
    wire.watch(top, token="token")
    assert wire.read_watch(5).path == top
    for number in range(200):
        wire.write(f"{top}/{number}", b"%d" % number)
        assert wire.read(f"{top}/{number}") == b"%d" % number
        assert wire.read_watch(5) == (f"{top}/{number}", "token")
    assert wire.check_watch() is None


def test_a_late_reply_is_no_other_requests(own_daemon: Daemon) -> None:
    with Client(own_daemon.socket_path, timeout=0.1) as xs:
        xs.write("/a", "of a")
        xs.write("/b", "of b")
        for _ in range(3):
            own_daemon.pause()
            try:
                with pytest.raises(WaitTimeoutError):
                    xs.read("/a")
            finally:
                own_daemon.resume()
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    assert xs.read("/b") == b"of b"
                    break
                except WaitTimeoutError:
                    pass  # the machine is slow
            assert xs.read("/b") == b"of b"


def test_many_threads_get_each_its_own(wire: Client, top: str) -> None:
    for number in range(12):
        wire.write(f"{top}/{number}", b"%d" % number * 100)
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for _ in range(150):
                if wire.read(f"{top}/{number}") != b"%d" % number * 100:
                    wrong.append(number)
                wire.write(f"{top}/own-{number}", b"")
        except BaseException as error:
            wrong.append(error)

    _run([threading.Thread(target=work, args=(number,)) for number in range(12)])
    assert wrong == []


@pytest.mark.parametrize("end", ["close", "kill"])
def test_the_end_while_many_threads_read(own_daemon: Daemon, backend: str, end: str) -> None:
    expected = ClientClosedError if end == "close" else ConnectionLostError
    with client_of(own_daemon, backend) as xs:
        ended: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    xs.read("/")
            except BaseException as error:
                ended.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        timer = threading.Timer(0.1, xs.close if end == "close" else own_daemon.kill)
        _run([*threads, timer])
        assert [type(error) for error in ended] == [expected] * 8
        with pytest.raises(expected):
            xs.read("/")


def test_nothing_piles_up(wire: Client, top: str) -> None:
    """However often it was interrupted by events, missing nodes and other threads: so many objects, and no more."""

    def work() -> None:
        for _ in range(30):
            wire.read(top)
            with pytest.raises(NodeNotFoundError):
                wire.read(f"{top}/missing")
            with wire.watch(top):
                wire.write(top, b"")
            assert wire.check_watch() is None
        _run([threading.Thread(target=lambda: [wire.read(top) for _ in range(20)]) for _ in range(4)])

    for _ in range(3):
        work()
    before = _blocks()
    for _ in range(20):
        work()
    assert _blocks() - before < 1000


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_client_that_is_over_is_garbage(own_daemon: Daemon, backend: str, end: str) -> None:
    with client_of(own_daemon, backend) as xs:
        gone = weakref.ref(xs.backend)
        xs.watch("/a", callback=print)
        xs.write("/a", xs.read("/"))
        if end != "close":
            own_daemon.kill()
            for _ in range(2):
                with pytest.raises(ConnectionLostError):
                    xs.read("/")
    del xs
    gc.collect()
    assert gone() is None


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "it hangs"
