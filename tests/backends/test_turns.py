"""The short way of a request that meets nobody, and its ends: what it may not carry, what comes beside the reply."""

from __future__ import annotations

import gc
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Callable

import pytest
from daemons import Daemon
from daemons.bridge import SocketBridge
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stores import client_of, events_so_far

from xsffi import Client
from xsffi.backends.extension import lib
from xsffi.backends.turns import Leader
from xsffi.backends.wire import WireBackend
from xsffi.errors import ClientClosedError, ConnectionLostError, NodeNotFoundError, WaitTimeoutError, XenStoreError
from xsffi.paths import validate
from xsffi.protocol.requests import Request
from xsffi.protocol.session import Batch, Pending
from xsffi.protocol.wire import encode_packet

ALPHABET = st.sampled_from("aZ09-_@/. ä\0\ud800")


@pytest.fixture(params=["C", "Python"])
def make_wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Client]:
    """Opens clients over the wire, with the extension and as where it was not built."""
    if request.param == "C" and lib is None:
        pytest.skip("the extension was not built")

    def make(path: str, timeout: float | None = None) -> Client:
        with monkeypatch.context() as patch:
            if request.param == "Python":
                patch.setattr("xsffi.backends.transports.lib", None)
            return Client(path, backend="wire", timeout=timeout)

    return make


@pytest.fixture
def wire(daemon: Daemon, make_wire: Callable[..., Client]) -> Iterator[Client]:
    with make_wire(daemon.socket_path) as client:
        yield client


@pytest.mark.parametrize("timeout", [None, 60])
def test_the_way_that_is_taken(
    daemon: Daemon, top: str, make_wire: Callable[..., Client], timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_wire(daemon.socket_path, timeout) as xs:
        xs.write(top, b"value")  # the first one makes what the short way needs
        monkeypatch.setattr(xs.backend, "_call_among_others", None)
        for _ in range(100):
            assert xs.read(top) == b"value"
            xs.write(top, b"value")
            with pytest.raises(NodeNotFoundError):
                xs.read(f"{top}/missing")
            assert xs.ls(top) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_byte_after_byte(daemon: Daemon, top: str, make_wire: Callable[..., Client]) -> None:
    """Replies and events that come in the smallest pieces."""
    with SocketBridge(daemon.socket_path, fragment=1) as bridge, make_wire(bridge.socket_path) as xs:
        xs.watch(top, token="token")
        for number in range(20):
            xs.write(top, b"%d" % number)
            assert xs.read(top) == b"%d" % number
            with pytest.raises(NodeNotFoundError, match="missing"):
                xs.read(f"{top}/missing")
        assert {event.path for event in events_so_far(xs)} == {top}


def test_a_reply_that_fills_no_buffer_is_whole(wire: Client, top: str) -> None:
    """oxenstored sends a directory of any length in one message; the buffer holds 128 KiB."""
    for count in (1, 300, 1200, 12_000):
        names = {f"{number:012d}" for number in range(count)}
        with wire.pipeline() as p:
            for name in sorted(names):
                p.mkdir(f"{top}/{count}/{name}")
        assert set(wire.ls(f"{top}/{count}")) == names
        assert wire.read(f"{top}/{count}") == b""


def test_events_beside_the_replies(wire: Client, top: str) -> None:
    """Each write brings an event before its reply, so that is never all that comes."""
    wire.watch(top, token="token")
    assert wire.read_watch(5).path == top
    for number in range(200):
        wire.write(f"{top}/{number}", b"%d" % number)
        assert wire.read(f"{top}/{number}") == b"%d" % number
        assert wire.read_watch(5) == (f"{top}/{number}", "token")
    assert wire.check_watch() is None


def test_an_event_that_came_in_is_handed_on_by_who_leads(
    wire: Client, other: Client, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that took in an event finds that another leads by then, which may be taking in more."""
    wire.watch(top, token="token")
    assert wire.read_watch(5).path == top
    other.write(top, "")
    assert isinstance(wire.backend, WireBackend)
    shared = wire.backend._shared
    leader = Leader(thread=-2)

    class OvertakenTurns:
        def __getattr__(self, name: str) -> Any:
            return getattr(turns, name)

        def receive_now(self) -> bool | None:
            while not turns.receive_now():
                time.sleep(0.001)
            turns.leader = leader
            return True

    turns = shared.turns
    with monkeypatch.context() as patch:
        patch.setattr(shared, "turns", OvertakenTurns())
        patch.setattr(shared, "_process", lambda: pytest.fail("another thread leads"))
        patch.setattr(shared, "_wait_for_event", lambda timeout: None)
        patch.setattr(OvertakenTurns, "receive_now", _once(OvertakenTurns.receive_now))
        assert wire.check_watch() is None
    turns.leader = None
    assert wire.read_watch(5) == (top, "token")


def test_a_late_reply_is_no_other_requests(own_daemon: Daemon, make_wire: Callable[..., Client]) -> None:
    with make_wire(own_daemon.socket_path) as setup:
        setup.write("/a", "of a")
        setup.write("/b", "of b")
    with make_wire(own_daemon.socket_path, timeout=0.1) as xs:
        for _ in range(3):
            own_daemon.pause()
            try:
                begin = time.monotonic()
                with pytest.raises(WaitTimeoutError):
                    xs.read("/a")
                assert time.monotonic() - begin >= 0.1
            finally:
                own_daemon.resume()
            deadline = time.monotonic() + 20
            value = b""
            while not value and time.monotonic() < deadline:
                try:
                    value = xs.read("/b")
                except WaitTimeoutError:
                    pass  # the machine is slow
            assert value == b"of b"


def test_a_timeout_counts_from_the_request(daemon: Daemon, make_wire: Callable[..., Client]) -> None:
    """Not from the last piece of its reply."""
    with make_wire(daemon.socket_path) as setup:
        setup.write("/long", b"v" * 2000)

    def trickle(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            ready.set()
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                for byte in encode_packet(2, 1, 0, b"v" * 2000):
                    if over.wait(0.02):
                        return
                    connection.send(bytes([byte]))

    ready, over = threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        server = threading.Thread(target=trickle, args=(path,))
        server.start()
        try:
            assert ready.wait(10)
            with make_wire(path, timeout=0.3) as xs:
                begin = time.monotonic()
                with pytest.raises(WaitTimeoutError):
                    xs.read("/long")
                assert time.monotonic() - begin < 5  # all of it would take 40 seconds
        finally:
            over.set()
            server.join()


def test_a_turn_that_does_not_come(own_daemon: Daemon, make_wire: Callable[..., Client]) -> None:
    """Several threads wait for a daemon that does not answer for longer than they wait for their turn."""
    with make_wire(own_daemon.socket_path) as xs:
        for number in range(6):
            xs.write(f"/{number}", b"%d" % number)
        values: dict[int, bytes] = {}
        own_daemon.pause()
        threads = [
            threading.Thread(target=lambda number=number: values.update({number: xs.read(f"/{number}")}))
            for number in range(6)
        ]
        threading.Timer(0.3, own_daemon.resume).start()
        _run(threads)
        assert values == {number: b"%d" % number for number in range(6)}


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


def test_no_request_gets_into_the_middle_of_a_batch(wire: Client, top: str) -> None:
    """A batch of long values is more than a socket takes at once: part of it waits while others read."""
    over = threading.Event()
    wrong: list[object] = []
    values = [bytes([65 + number % 26]) * 3900 for number in range(200)]

    def read() -> None:
        try:
            while not over.is_set():
                if wire.read(top) != b"":
                    wrong.append("another value")
        except BaseException as error:
            wrong.append(error)

    def write() -> None:
        try:
            end = time.monotonic() + 1
            while time.monotonic() < end and not wrong:
                with wire.pipeline() as p:
                    for number, value in enumerate(values):
                        p.write(f"{top}/{number}", value)
            assert wire.read_many([f"{top}/{number}" for number in range(len(values))]) == values
        except BaseException as error:
            wrong.append(error)
        finally:
            over.set()

    _run([threading.Thread(target=target) for target in (read, read, write)])
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
    before = _ours()
    for _ in range(20):
        work()
    assert _ours() <= before + 10


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


def _once(function: Callable[[Any], bool | None]) -> Callable[[Any], bool | None]:
    """The function at the first call, and None at the others."""
    calls = iter([function])
    return lambda me: next(calls, lambda _: None)(me)


def _ours() -> int:
    """How many objects there are of those that a request is made of."""
    gc.collect()
    return sum(isinstance(thing, (Pending, Batch, Leader, Request, SimpleQueue)) for thing in gc.get_objects())


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "it hangs"
