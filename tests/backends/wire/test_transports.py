"""The transports: the daemon's socket and the kernel's device; and connecting to the socket."""

from __future__ import annotations

import errno
import os
import socket
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, interrupted_after
from harness.children import output_of
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.peer import Peer, answer, peer_process

from xsffi.addresses import Kind
from xsffi.backends.wire.transports import (
    DeviceTransport,
    SocketTransport,
    Transport,
    connect,
    open_device,
    peer_of,
)
from xsffi.errors import ClientClosedError, ConnectionLostError, XenStoreError, closed_error


class Ends:
    """A transport and the other end of its stream."""

    def __init__(self, transport: Transport, far: int) -> None:
        self.transport = transport
        self.far = far
        self._is_open = True

    def say(self, data: bytes) -> None:
        os.write(self.far, data)

    def hear(self, count: int) -> bytes:
        heard = b""
        while len(heard) < count:
            heard += os.read(self.far, count - len(heard))
        return heard

    def received(self) -> bytes:
        """The next bytes that the transport receives, once there are some."""
        assert is_readable(self.transport.fileno(), 60)
        into: list[bytes] = []
        assert self.transport.receive(into)
        return b"".join(into)

    def hang_up(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.far)


def _over_a_socket() -> Ends:
    near, far = socket.socketpair()
    near.setblocking(False)
    return Ends(SocketTransport(near), far.detach())


def _over_a_device() -> Ends:
    """A terminal in raw mode replaces the device, as in :class:`daemons.PtyBridge`."""
    far, near = os.openpty()
    tty.setraw(near)
    os.set_blocking(near, False)
    return Ends(DeviceTransport(near), far)


@pytest.fixture(params=[_over_a_socket, _over_a_device], ids=["socket", "device"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends: Ends = request.param()
    yield ends
    ends.transport.close()
    ends.hang_up()


def test_bytes_both_ways(ends: Ends) -> None:
    data = bytes(range(256))
    assert ends.transport.send(data) == 256
    assert ends.hear(256) == data
    assert ends.transport.send(memoryview(data)[10:20]) == 10
    assert ends.hear(10) == data[10:20]
    ends.say(data)
    assert ends.received() == data


def test_what_has_not_come_is_not_waited_for(ends: Ends) -> None:
    into = [b"before"]
    assert not ends.transport.receive(into)
    assert into == [b"before"]


def test_what_there_is_no_room_for_is_not_waited_for(ends: Ends) -> None:
    """What was sent before has arrived in full, and there is room again once it is read."""
    piece = b"x" * 1000
    sent = 0
    while size := ends.transport.send(piece):
        sent += size
    assert sent >= 1000
    assert ends.hear(sent) == b"x" * sent
    assert ends.transport.send(b"y") == 1
    assert ends.hear(1) == b"y"


def test_the_end_of_the_stream(ends: Ends) -> None:
    ends.hang_up()
    for _ in range(2):
        into: list[bytes] = []
        with pytest.raises(ConnectionLostError, match="the connection to the store is lost"):
            ends.transport.receive(into)
        assert into == []
        with pytest.raises(ConnectionLostError):
            ends.transport.send(b"x")


def test_a_daemon_that_died_is_no_signal() -> None:
    """Even in a program that SIGPIPE would kill."""
    program = """
import signal, socket
from xsffi.backends.wire.transports import SocketTransport
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
near, far = socket.socketpair()
far.close()
transport = SocketTransport(near)
try:
    transport.send(b"x")
except ConnectionError:
    print("told")
transport.close()
"""
    assert output_of(program) == "told\n"


def test_it_is_closed_once(ends: Ends) -> None:
    descriptor = ends.transport.fileno()
    ends.transport.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    # The number may belong to another file by now.
    another = os.open("/dev/null", os.O_RDONLY)
    assert another == descriptor
    ends.transport.close()
    assert os.fstat(another)
    os.close(another)


def test_to_shut_a_socket_tells_the_other_end() -> None:
    ends = _over_a_socket()
    ends.transport.shut()
    assert os.read(ends.far, 1) == b""
    assert os.fstat(ends.transport.fileno())
    ends.hang_up()
    ends.transport.shut()  # does nothing any more
    ends.transport.close()


def test_to_shut_a_device_leaves_it_as_it_is() -> None:
    ends = _over_a_device()
    ends.transport.shut()
    assert ends.transport.send(b"x") == 1
    assert ends.hear(1) == b"x"
    ends.transport.close()
    ends.hang_up()


@pytest.mark.parametrize(
    ("transport", "kind", "payload_max", "joined"),
    [(SocketTransport, Kind.SOCKET, 4096, True), (DeviceTransport, Kind.DEVICE, 4080, False)],
)
def test_what_each_takes(transport: type[Transport], kind: str, payload_max: int, joined: bool) -> None:
    """The kernel accepts one message at a time, of at most 4096 bytes with its header."""
    assert (transport.kind, transport.payload_max, transport.joined) == (kind, payload_max, joined)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.EBADF])
def test_a_device_that_is_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    ends = _over_a_device()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _failing(number))
        with pytest.raises(ConnectionLostError, match=os.strerror(number)):
            ends.transport.send(b"x")
    ends.transport.close()
    ends.hang_up()


@pytest.mark.parametrize("number", [errno.E2BIG, errno.EINVAL, errno.ENOMEM])
def test_a_device_that_refuses_one_message(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The stream stays usable."""
    ends = _over_a_device()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _failing(number))
        with pytest.raises(XenStoreError) as caught:
            ends.transport.send(b"x")
    assert caught.value.errno == number
    assert not isinstance(caught.value, ConnectionLostError)
    assert ends.transport.send(b"y") == 1
    assert ends.hear(1) == b"y"
    ends.transport.close()
    ends.hang_up()


def _failing(number: int) -> Callable[[int, bytes], int]:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    return write


# Opening a device.


def test_a_device_is_opened_without_waiting_and_for_this_process_alone() -> None:
    far, near = os.openpty()
    tty.setraw(near)
    transport = open_device(os.ttyname(near))
    assert not os.get_blocking(transport.fileno())
    assert not os.get_inheritable(transport.fileno())
    assert not transport.receive([])
    for descriptor in (far, near):
        os.close(descriptor)
    transport.close()


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_device(str(tmp_path / "none"))
    assert caught.value.filename == str(tmp_path / "none")


# Connecting to a socket.


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_a_connection(timeout: float | None) -> None:
    """Whatever default timeout the program has set for its sockets."""
    socket.setdefaulttimeout(timeout)
    try:
        with peer_process() as path, connect(path, timeout) as connection:
            assert not connection.getblocking()
            assert not connection.get_inheritable()
            assert connection.getpeername() == path
    finally:
        socket.setdefaulttimeout(None)


def test_the_process_at_the_other_end(xenstored: Daemon) -> None:
    with connect(xenstored.socket_path) as connection:
        assert peer_of(connection) == xenstored.pid
    with Peer(answer) as peer, connect(peer.path) as connection:
        assert peer_of(connection) == os.getpid()


def _nothing_there(path: Path) -> None:
    pass


def _a_file(path: Path) -> None:
    path.write_text("")


def _nobody_listens(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "name", "number"),
    [
        (_nothing_there, "none", errno.ENOENT),
        (_nothing_there, "none/socket", errno.ENOENT),
        (_a_file, "file", errno.ECONNREFUSED),
        (_nobody_listens, "dead", errno.ECONNREFUSED),
        (_nothing_there, "x" * 200, errno.ENAMETOOLONG),
    ],
    ids=["nothing there", "no folder", "a file", "nobody listens", "a name too long"],
)
def test_no_connection(tmp_path: Path, make: Callable[[Path], None], name: str, number: int) -> None:
    make(tmp_path / name)
    before = open_descriptors()
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the builtin that fits
        connect(str(tmp_path / name))
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / name))
    assert not isinstance(caught.value, XenStoreError)
    assert open_descriptors() == before


def test_no_descriptors_left(xenstored: Daemon) -> None:
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        connect(xenstored.socket_path)


@contextmanager
def crowded(path: Path) -> Iterator[socket.socket]:
    """A listener whose backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        try:
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        except BlockingIOError:
            pass
        yield listener


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_too_many_wait_to_be_accepted(tmp_path: Path, timeout: float) -> None:
    path = tmp_path / "socket"
    with crowded(path):
        before = open_descriptors()
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="too many clients are waiting for the daemon to accept them") as caught:
            connect(str(path), timeout)
        assert time.monotonic() - begin >= timeout
        assert caught.value.filename == str(path)
        assert open_descriptors() == before


def test_it_is_tried_until_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    tries: list[bool] = []
    with crowded(path) as listener, ExitStack() as accepted:

        def check() -> None:
            tries.append(True)
            if len(tries) == 3:
                accepted.enter_context(listener.accept()[0])

        with connect(str(path), None, check) as connection:
            assert connection.getpeername() == str(path)
    assert len(tries) == 3


def test_what_a_check_raises_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    tries: list[bool] = []

    def check() -> None:
        tries.append(True)
        if len(tries) == 3:
            raise closed_error()

    with crowded(path):
        before = open_descriptors()
        with pytest.raises(ClientClosedError) as caught:
            connect(str(path), None, check)
        assert caught.value.filename is None  # it is raised unchanged
        assert open_descriptors() == before
    assert len(tries) == 3


@pytest.mark.usefixtures("alarms")
def test_an_interruption_ends_it(tmp_path: Path) -> None:
    with crowded(tmp_path / "socket"):
        before = open_descriptors()
        with pytest.raises(Interrupt), interrupted_after(0.05):
            connect(str(tmp_path / "socket"))
        assert open_descriptors() == before
