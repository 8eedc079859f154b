"""What carries bytes: the daemon's unix socket, or the kernel's device.

A transport never blocks but in :meth:`Transport.receive`. What it sends it counts, and what it receives it keeps, by
appending to a list in the very C call that moves the bytes (see :mod:`xsffi.protocol.session`):
``list.extend(map(function, …))`` runs no bytecode in between, so no signal handler either.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import monotonic, sleep
from typing import Any, Protocol

from ..addresses import Kind, kind_of
from ..errors import ConnectionLostError, XenStoreError, error_from_errno
from ..protocol.wire import DEVICE_PAYLOAD_MAX, IN_PYTHON, PAYLOAD_MAX, Splitters
from .bell import Bell, one_wait
from .extension import ffi, lib, shortcuts
from .spin import Spin

__all__ = [
    "DeviceTransport",
    "NativeSocketTransport",
    "SocketTransport",
    "Transport",
    "connect",
    "lost_error",
    "open_transport",
]

_RECEIVE_SIZE = (65536,)
_NATIVE_BUFFER = 131072  # bytes: what one call of the extension receives at most
_SEND_FLAGS = (socket.MSG_NOSIGNAL,)  # a daemon that died is an error, also in a program that lets SIGPIPE end it
# Linux's xenbus never polls as writable and a terminal may be full: a write to a device is tried again after so long.
_DEVICE_RETRY = 0.01
_CONNECT_RETRY = 0.01  # seconds


# Looked up once: each costs a tenth of a microsecond.
if lib is not None:
    _xsffi_receive, _unpack = lib.xsffi_receive, ffi.unpack


class Transport(Protocol):
    """A stream of bytes, both ways."""

    kind: Kind
    payload_max: int  # the longest payload of a request
    joined: bool  # whether several messages may be sent as one piece

    @property
    def splitters(self) -> Splitters:
        """How what came in is taken apart."""

    def send(self, data: bytes | memoryview, sent: list[int]) -> bool:
        """Send what can be sent at once, append its length to `sent`; False where nothing could.

        Raises ConnectionLostError where the other end is gone, and another XenStoreError where the kernel refused this
        very message.
        """

    def receive(self, incoming: list[bytes], timeout: float | None, want: int, writing: bool) -> None:
        """Append what comes in to `incoming`, once `want` replies are likely to be there (0: anything at all).

        It waits for `timeout` seconds at most, if as long as that (see :func:`~xsffi.backends.bell.one_wait`), and no
        longer once there is room to send, where `writing`, or :meth:`wake` is called, or a signal came. Raises
        ConnectionLostError at the end of the stream.
        """

    def wake(self) -> None:
        """End the :meth:`receive` of another thread, or the next one."""

    def fileno(self) -> int:
        """The descriptor of the stream."""

    def shut(self) -> None:
        """End the stream, so that the other end notices, and keep the descriptors for who is in :meth:`receive`."""

    def close(self) -> None:
        """Give every descriptor back; the stream of the parent process is left alone if this is its child."""


class _Waiting:
    """The waiting that both kinds share, and the taking in: a descriptor, and a bell to end the wait."""

    def __init__(self, descriptor: int, recv: Callable[[int], bytes]) -> None:
        """`recv` receives from the descriptor: so many bytes at most."""
        self.splitters = IN_PYTHON
        self._bell = Bell()
        self._descriptor = descriptor
        self._recv = recv
        # Not a poll object: a signal handler that interrupts a wait may use the client too, and wait in its turn.
        self._epoll = select.epoll()
        self._epoll.register(descriptor, select.EPOLLIN)
        self._epoll.register(self._bell.fileno(), select.EPOLLIN)
        self._interest = select.EPOLLIN

    def wait(self, timeout: float | None, writing: bool) -> None:
        """Wait for what comes in, or for room to send where `writing`, or to be woken."""
        interest = select.EPOLLIN | select.EPOLLOUT if writing else select.EPOLLIN
        if interest != self._interest:
            self._epoll.modify(self._descriptor, interest)
            self._interest = interest
        ready = self._epoll.poll(one_wait(timeout))
        if len(ready) > 1 or (ready and ready[0][0] != self._descriptor):
            self._bell.silence()

    def _take(self, into: list[bytes]) -> bool:
        try:
            into.extend(map(self._recv, _RECEIVE_SIZE))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error) from error
        if into[-1:] == [b""]:
            raise lost_error()
        return True

    def wake(self) -> None:
        self._bell.ring()

    def fileno(self) -> int:
        return self._descriptor

    def _close_waiting(self) -> None:
        self._epoll.close()
        self._bell.close()


class SocketTransport(_Waiting):
    """The daemon's unix socket."""

    kind = Kind.SOCKET
    payload_max = PAYLOAD_MAX
    joined = True

    def __init__(self, connection: socket.socket) -> None:
        """`connection`: connected and non-blocking, which is the transport's from here on."""
        super().__init__(connection.fileno(), connection.recv)
        self._socket = connection
        self._send = connection.send
        self.spin = Spin()
        self.held: list[bytes] = []  # what came in and was of no use to who received it: see turns.py

    def send(self, data: bytes | memoryview, sent: list[int]) -> bool:
        try:
            sent.extend(map(self._send, (data,), _SEND_FLAGS))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error) from error
        return True

    def send_now(self, data: bytes) -> bool:
        """Send this, which is one message; False where it could not be, for whatever reason."""
        try:
            self._send(data, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def take_now(self, into: list[bytes]) -> bool | None:
        """Receive what is there into the list: False where nothing is; None where the stream is broken, which the next
        one to :meth:`receive` finds out."""
        try:
            return self._take(into)
        except ConnectionLostError:
            return None

    def receive(self, incoming: list[bytes], timeout: float | None, want: int, writing: bool) -> None:
        held = self.held
        if held:
            try:
                incoming.extend(map(held.pop, repeat(0, len(held))))  # in one step
            except IndexError:
                pass  # a signal handler was faster
            if incoming[-1:] == [b""]:
                raise lost_error()
            return
        if want != 1 or writing:
            self.wait(timeout, writing)
            self._take(incoming)
            return
        begin = monotonic()
        spin = self.spin.time()
        while spin and monotonic() - begin < spin:
            if self._take(incoming):
                self.spin.learn(True, begin)
                return
        self.wait(timeout, writing)
        if self._take(incoming):
            self.spin.learn(spin > 0, begin)

    def shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster

    def close(self) -> None:
        self._socket.close()
        self._close_waiting()


class NativeSocketTransport(SocketTransport):
    """The daemon's unix socket, by the extension: what waits, waits in C, for one reply or for many at once."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._stream = ffi.new("struct xsffi_stream *")
        self._stream.fd = connection.fileno()
        self._stream.wake_fd = self._bell.fileno()
        self._stream.spin_max = int(self.spin.limit * 1e9)
        self._buffer = ffi.new("char[]", _NATIVE_BUFFER)
        self._receive: Callable[[list[bytes], int, bool, int], int] = self._receive_by_cffi
        if shortcuts is not None:
            self.splitters = Splitters(shortcuts.take_replies, shortcuts.take_events)
            self._receive = partial(shortcuts.receive, *self.in_c()[:3])

    def in_c(self) -> tuple[int, int, int, object]:
        """For who uses the stream in C: its address, that of the buffer, its size, and what keeps them alive."""
        stream, buffer = self._stream, self._buffer
        return _address(stream), _address(buffer), _NATIVE_BUFFER, (stream, buffer)

    def receive(self, incoming: list[bytes], timeout: float | None, want: int, writing: bool) -> None:
        status = self._receive(incoming, want, writing, int(one_wait(timeout) * 1e9))
        if status == lib.XSFFI_STREAM_WOKEN:
            self._bell.silence()
        elif status == lib.XSFFI_STREAM_ENDED:
            raise lost_error()
        elif status != lib.XSFFI_STREAM_OPEN:
            raise lost_error(OSError(status, os.strerror(status)))

    def _receive_by_cffi(self, incoming: list[bytes], want: int, writing: bool, limit: int) -> int:
        # The innermost first: receive into the buffer, make bytes of that many of it, append them. Where nothing came,
        # that is an empty piece, which says nothing: nor may it be taken back, since a signal handler may have used the
        # client in between.
        received = map(
            _xsffi_receive, (self._stream,), (self._buffer,), (_NATIVE_BUFFER,), (want,), (writing,), (limit,)
        )
        incoming.extend(map(_unpack, (self._buffer,), received))
        return int(self._stream.status)


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


class DeviceTransport(_Waiting):
    """The kernel's character device, ``/dev/xen/xenbus``: a guest's way, and dom0's where there is no socket."""

    kind = Kind.DEVICE
    payload_max = DEVICE_PAYLOAD_MAX
    joined = False

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the opened device, non-blocking, which is the transport's from here on."""
        super().__init__(descriptor, partial(os.read, descriptor))
        self._write = partial(os.write, descriptor)

    def send(self, data: bytes | memoryview, sent: list[int]) -> bool:
        # One message a write, as it comes from the session: the kernel takes a second one behind it for garbage.
        try:
            sent.extend(map(self._write, (data,)))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _GONE:
                raise lost_error(error) from error
            raise error_from_errno(error.errno or errno.EIO) from error
        return True

    def receive(self, incoming: list[bytes], timeout: float | None, want: int, writing: bool) -> None:
        if writing:
            timeout = _DEVICE_RETRY if timeout is None else min(timeout, _DEVICE_RETRY)
        self.wait(timeout, writing)
        self._take(incoming)

    def shut(self) -> None:
        """A device has no such thing: its stream ends as the descriptor is closed."""

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        self._close_waiting()


_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.EBADF)


def open_transport(path: str, timeout: float | None = None) -> Transport:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where it
    fails.

    `timeout`: how many seconds connecting may take, where the daemon has many waiting already.
    """
    if kind_of(path) is Kind.SOCKET:
        connection = connect(path, timeout)
        return SocketTransport(connection) if lib is None else NativeSocketTransport(connection)
    # Non-blocking, since a read must be; never a controlling terminal, if it is a terminal.
    return DeviceTransport(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def connect(path: str, timeout: float | None = None) -> socket.socket:
    """A non-blocking connection to the unix socket at `path`, not inherited by programs that this one starts.

    A daemon that hangs accepts nobody, and only so many may wait for it: `timeout` is how many seconds to be one of
    them (None: for ever).
    """
    deadline = None if timeout is None else monotonic() + timeout
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        # There is nothing to poll for; and the kernel's wait, once a signal has ended it, looks to Python like success.
        while not _connected(connection, path):
            if deadline is not None and monotonic() >= deadline:
                raise OSError(errno.ETIMEDOUT, "too many wait for the daemon to accept them")
            sleep(_CONNECT_RETRY)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from error
        raise
    return connection


def _connected(connection: socket.socket, path: str) -> bool:
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True


def lost_error(cause: BaseException | None = None) -> ConnectionLostError:
    """What is raised once the connection is lost, with what is known of the reason."""
    if isinstance(cause, XenStoreError):
        return ConnectionLostError(errno.ECONNRESET, f"the connection to the store was given up: {cause.strerror}")
    if isinstance(cause, OSError):
        return ConnectionLostError(errno.ECONNRESET, f"the connection to the store is lost: {cause.strerror}")
    return ConnectionLostError(errno.ECONNRESET, "the connection to the store is lost: the daemon closed it")
