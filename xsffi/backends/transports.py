"""What carries bytes: the daemon's unix socket, or the kernel's device.

A transport never blocks but in :meth:`Transport.wait`. What it sends it counts, and what it receives it keeps, by
appending to a list in the very C call that moves the bytes (see :mod:`xsffi.protocol.session`):
``list.extend(map(function, …))`` runs no bytecode in between, so no signal handler either.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from functools import partial
from typing import Protocol

from ..addresses import Kind, kind_of
from ..errors import ConnectionLostError, XenStoreError, error_from_errno
from ..protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX
from .bell import Bell

__all__ = ["DeviceTransport", "SocketTransport", "Transport", "connect", "lost_error", "open_transport"]

_RECEIVE_SIZE = (65536,)
_SEND_FLAGS = (socket.MSG_NOSIGNAL,)  # a daemon that died is an error, also in a program that lets SIGPIPE end it
# Linux's xenbus never polls as writable and a terminal may be full: a write to a device is tried again after so long.
_DEVICE_RETRY = 0.01


class Transport(Protocol):
    """A stream of bytes, both ways."""

    payload_max: int  # the longest payload of a request

    def send(self, data: bytes | memoryview, sent: list[int]) -> bool:
        """Send what can be sent at once, append its length to `sent`; False where nothing could.

        Raises ConnectionLostError where the other end is gone, and another XenStoreError where the kernel refused this
        very message.
        """

    def receive(self, incoming: list[bytes]) -> bool:
        """Append what has come in to `incoming`; False where nothing has. Raises ConnectionLostError at the end of the
        stream."""

    def wait(self, timeout: float | None, writing: bool) -> None:
        """Wait until there is something to receive, or room to send where `writing`, or :meth:`wake` is called, or the
        time, in seconds, is up."""

    def wake(self) -> None:
        """End the :meth:`wait` of another thread, or the next one."""

    def fileno(self) -> int:
        """The descriptor of the stream."""

    def shut(self) -> None:
        """End the stream, so that the other end notices, and keep the descriptors for who is inside :meth:`wait`."""

    def close(self) -> None:
        """Give every descriptor back; the stream of the parent process is left alone if this is its child."""


class _Waiting:
    """The waiting that both kinds share: a descriptor, and a bell to end the wait."""

    def __init__(self, descriptor: int) -> None:
        self._bell = Bell()
        self._descriptor = descriptor
        # Not a poll object: a signal handler that interrupts a wait may use the client too, and wait in its turn.
        self._epoll = select.epoll()
        self._epoll.register(descriptor, select.EPOLLIN)
        self._epoll.register(self._bell.fileno(), select.EPOLLIN)
        self._interest = select.EPOLLIN

    def wait(self, timeout: float | None, writing: bool) -> None:
        interest = select.EPOLLIN | select.EPOLLOUT if writing else select.EPOLLIN
        if interest != self._interest:
            self._epoll.modify(self._descriptor, interest)
            self._interest = interest
        ready = self._epoll.poll(None if timeout is None else max(0.0, timeout))
        if len(ready) > 1 or (ready and ready[0][0] != self._descriptor):
            self._bell.silence()

    def wake(self) -> None:
        self._bell.ring()

    def fileno(self) -> int:
        return self._descriptor

    def _close_waiting(self) -> None:
        self._epoll.close()
        self._bell.close()


class SocketTransport(_Waiting):
    """The daemon's unix socket."""

    payload_max = PAYLOAD_MAX

    def __init__(self, connection: socket.socket) -> None:
        """`connection`: a connected stream socket, which is the transport's from here on."""
        super().__init__(connection.fileno())
        connection.setblocking(False)
        self._socket = connection
        self._send = connection.send
        self._recv = connection.recv

    def send(self, data: bytes | memoryview, sent: list[int]) -> bool:
        try:
            sent.extend(map(self._send, (data,), _SEND_FLAGS))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error) from error
        return True

    def receive(self, incoming: list[bytes]) -> bool:
        try:
            incoming.extend(map(self._recv, _RECEIVE_SIZE))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error) from error
        if not incoming[-1]:
            raise lost_error()
        return True

    def shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster

    def close(self) -> None:
        self._socket.close()
        self._close_waiting()


class DeviceTransport(_Waiting):
    """The kernel's character device, ``/dev/xen/xenbus``: a guest's way, and dom0's where there is no socket."""

    payload_max = DEVICE_PAYLOAD_MAX

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the opened device, non-blocking, which is the transport's from here on."""
        super().__init__(descriptor)
        self._write = partial(os.write, descriptor)
        self._read = partial(os.read, descriptor)

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

    def receive(self, incoming: list[bytes]) -> bool:
        try:
            incoming.extend(map(self._read, _RECEIVE_SIZE))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error) from error
        if not incoming[-1]:
            raise lost_error()
        return True

    def wait(self, timeout: float | None, writing: bool) -> None:
        if writing:
            timeout = _DEVICE_RETRY if timeout is None else min(timeout, _DEVICE_RETRY)
        super().wait(timeout, writing)

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
        return SocketTransport(connect(path, timeout))
    # Non-blocking, since a read must be; never a controlling terminal, if it is a terminal.
    return DeviceTransport(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def connect(path: str, timeout: float | None = None) -> socket.socket:
    """A connection to the unix socket at `path`, not inherited by programs that this one starts."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from error
        raise
    return connection


def lost_error(cause: BaseException | None = None) -> ConnectionLostError:
    """What is raised once the connection is lost, with what is known of the reason."""
    if isinstance(cause, XenStoreError):
        return ConnectionLostError(errno.ECONNRESET, f"the connection to the store was given up: {cause.strerror}")
    if isinstance(cause, OSError):
        return ConnectionLostError(errno.ECONNRESET, f"the connection to the store is lost: {cause.strerror}")
    return ConnectionLostError(errno.ECONNRESET, "the connection to the store is lost: the daemon closed it")
