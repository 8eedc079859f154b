"""The daemon dies, or the client is closed, during calls and waits: each ends, with a clear error."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Callable

import pytest
from daemons import Daemon
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.stores import AIO, CLIENTS, client_of, nobody_is_accepted, of_sync_alone, open_client
from harness.threads import PATIENCE, Call

import xsffi
from xsffi import Client

pytestmark = pytest.mark.usefixtures("long_waits")
no_descriptor = of_sync_alone("there is no fileno()")
over_the_wire = pytest.mark.parametrize("backend", ["wire", AIO])


@pytest.fixture(params=CLIENTS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend, and the asyncio client."""
    name: str = request.param
    return name


@pytest.fixture
def callers() -> list[Callable[[Client], object]]:
    """All calls that wait for the daemon."""
    return [
        lambda xs: xs.read("/"),
        lambda xs: xs.write("/test", "x" * 1000),
        lambda xs: xs.ls("/"),
        lambda xs: xs.read_watch(),
        lambda xs: xs.read_watch(timeout=60),
        lambda xs: list(xs.events()),
        lambda xs: xs.run(),
        lambda xs: xs.transact(lambda t: t.exists("/test"), attempts=1000),
    ]


def start(xs: Client, callers: list[Callable[[Client], object]]) -> list[Call[object]]:
    """Call each repeatedly, in its own thread, until it raises."""

    def again_and_again(call: Callable[[Client], object]) -> object:
        while True:
            call(xs)

    return [Call(partial(again_and_again, call)).until_asleep() for call in callers]


def test_the_daemon_is_killed(own_daemon: Daemon, backend: str, callers: list[Callable[[Client], object]]) -> None:
    with client_of(own_daemon, backend) as xs:
        xs.watch("/nothing-here")
        started = start(xs, callers)
        own_daemon.kill()
        assert [type(call.outcome()) for call in started] == [xsffi.ConnectionLostError] * len(started)
        callers += [lambda xs: xs.check_watch(), lambda xs: xs.transaction(), lambda xs: xs.watch("/b")]
        for call in callers:
            with pytest.raises(xsffi.ConnectionLostError):
                call(xs)


def test_the_daemon_is_killed_before_any_watch(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        [waiting] = start(xs, [lambda xs: xs.read_watch()])
        own_daemon.kill()
        assert isinstance(waiting.outcome(), xsffi.ConnectionLostError)


def test_the_daemon_is_killed_while_it_does_not_answer(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        own_daemon.pause()
        started = start(xs, [lambda xs: xs.read("/"), lambda xs: xs.write("/a", ""), lambda xs: xs.read_watch()])
        own_daemon.kill()
        assert [type(call.outcome()) for call in started] == [xsffi.ConnectionLostError] * len(started)


def test_the_daemon_is_killed_before_a_second_connection_is_wanted(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        own_daemon.kill()
        for use in (
            lambda: xs.dump("/"),
            lambda: xs.read_many(["/"]),
            lambda: xs.load([xsffi.Node("/a", b"", (), ())]),
            lambda: xs.set_permissions("/", ["n0", f"r{xsffi.DOMID_ANY}"]),
        ):
            with pytest.raises(xsffi.ConnectionLostError):
                use()


@of_sync_alone("there is one connection")
def test_no_descriptor_for_a_second_connection(xs: Client) -> None:
    with descriptors_left(0), pytest.raises(xsffi.XenStoreError) as caught:
        xs.dump("/")
    assert caught.value.errno == errno.EMFILE
    assert xs.dump("/")[0].path == "/"


@no_descriptor
def test_fileno_becomes_readable(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        xs.watch("/nothing-here")
        xs.read_watch(5)
        assert not is_readable(xs.fileno())
        own_daemon.kill()
        assert is_readable(xs.fileno(), PATIENCE)
        with pytest.raises(xsffi.ConnectionLostError):
            xs.check_watch()
        assert is_readable(xs.fileno())


def test_events_that_came_before_are_delivered(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs, client_of(own_daemon, "wire") as other:
        xs.watch("/seen", "mine")
        xs.read_watch(5)
        for number in range(10):
            other.write(f"/seen/{number}", "")
        other.read("/")
        own_daemon.kill()
        for number in range(10):
            assert xs.read_watch(PATIENCE).path == f"/seen/{number}"
        with pytest.raises(xsffi.ConnectionLostError):
            xs.read_watch(PATIENCE)


def test_a_new_client_finds_the_new_daemon(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        own_daemon.restart()
        with pytest.raises(xsffi.ConnectionLostError):
            xs.read("/")
    with client_of(own_daemon, backend) as xs:
        assert xs.exists("/")


def test_close_ends_every_wait(own_daemon: Daemon, backend: str, callers: list[Callable[[Client], object]]) -> None:
    with client_of(own_daemon, backend) as xs:
        xs.watch("/nothing-here")
        started = start(xs, callers)
        xs.close()
        assert [type(call.outcome()) for call in started] == [xsffi.ClientClosedError] * len(started)


def test_close_while_the_daemon_does_not_answer(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        xs.watch("/nothing-here")
        own_daemon.pause()
        started = start(xs, [lambda xs: xs.read("/"), lambda xs: xs.write("/a", ""), lambda xs: xs.read_watch()])
        assert Call(xs.close).outcome() is None
        assert [type(call.outcome()) for call in started] == [xsffi.ClientClosedError] * len(started)
        own_daemon.resume()


def test_a_closed_client(xs: Client, top: str) -> None:
    watch = xs.watch(top)
    transaction = xs.transaction()
    xs.close()
    xs.close()
    assert xs.closed
    uses: list[Callable[[], object]] = [
        lambda: xs.read(top),
        lambda: xs.write(top, ""),
        lambda: xs.watch(top),
        lambda: xs.read_watch(0),
        lambda: xs.check_watch(),
        lambda: list(xs.events()),
        lambda: xs.run(),
        lambda: xs.transaction(),
        lambda: xs.get_domain_path(0),
        transaction.commit,
    ]
    for use in uses:
        with pytest.raises(xsffi.ClientClosedError):
            use()
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.unwatch(watch)


@no_descriptor
def test_the_descriptor_of_a_closed_client(xs: Client) -> None:
    xs.close()
    with pytest.raises(xsffi.ClientClosedError):
        xs.fileno()


@over_the_wire
def test_a_daemon_that_never_answers_and_a_timeout(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend, timeout=0.2) as xs:
        xs.write("/a", "1")
        own_daemon.pause()
        with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
            xs.read("/a")
        with pytest.raises(xsffi.WaitTimeoutError):
            xs.transaction()
        own_daemon.resume()
        assert xs.read("/a") == b"1"  # the late replies are not mistaken for this one's
        for number in range(20):
            xs.write("/a", str(number))
            assert xs.read("/a") == str(number).encode()


def test_which_backend_can_do_a_timeout(xenstored: Daemon) -> None:
    with xsffi.Client(xenstored.socket_path, timeout=60) as xs:
        assert xs.backend.name == "wire"
    with pytest.raises(xsffi.NotSupportedError, match="timeout"):
        xsffi.Client(xenstored.socket_path, backend="libxenstore", timeout=1)


@over_the_wire
@pytest.mark.parametrize("timeout", [0.2, 1])
def test_a_daemon_that_accepts_nobody_and_a_timeout(own_daemon: Daemon, backend: str, timeout: float) -> None:
    with nobody_is_accepted(own_daemon):
        begin = time.monotonic()
        with pytest.raises(xsffi.BackendUnavailableError, match="too many clients are waiting") as caught:
            open_client(own_daemon.socket_path, backend, timeout=timeout)
        assert caught.value.errno == errno.ETIMEDOUT
        assert timeout <= time.monotonic() - begin < PATIENCE
        resumed = threading.Timer(0.1, own_daemon.resume)
        resumed.start()
        with client_of(own_daemon, backend, timeout=float("inf")) as xs:
            assert xs.read("/") == b""
        resumed.join()


def test_no_descriptor_is_left(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend):
        pass
    before = open_descriptors()
    for _ in range(5):
        with client_of(own_daemon, backend) as xs:
            xs.watch("/a")
            if backend != AIO:
                xs.fileno()
            xs.read_watch(5)
            xs.run(timeout=0)
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(own_daemon, backend)) for _ in range(3)]
        own_daemon.kill()
        for xs in clients:
            with pytest.raises(xsffi.ConnectionLostError):
                xs.read("/")
            xs.close()
    assert open_descriptors() == before


def test_descriptors_are_not_inherited(xs: Client, top: str, backend: str) -> None:
    xs.watch(top)
    if backend != AIO:
        xs.fileno()
    opened = {name: os.readlink(f"/proc/self/fd/{name}") for name in open_descriptors()}
    ours = {name for name, target in opened.items() if target.startswith(("socket:", "anon_inode:[event"))}
    assert ours
    assert {opened[name] for name in ours if os.get_inheritable(int(name))} == set()


def test_nobody_is_there(tmp_path: Path, backend: str) -> None:
    with pytest.raises(xsffi.BackendUnavailableError) as caught:
        open_client(str(tmp_path / "missing"), backend)
    assert caught.value.errno == 2
    assert str(tmp_path / "missing") in str(caught.value)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    with pytest.raises(xsffi.BackendUnavailableError) as caught:
        open_client(str(tmp_path / "dead"), backend)
    assert caught.value.errno == 111
    name = "wire" if backend == AIO else backend
    assert [what for what, why in caught.value.attempts] == [f"{name} at {tmp_path / 'dead'}"]
    (tmp_path / "file").write_text("")
    with pytest.raises(xsffi.BackendUnavailableError, match="neither a unix socket nor a character device"):
        open_client(str(tmp_path / "file"), backend)
