"""What carries bytes for the connection in Python: the daemon's unix socket, or the kernel's device. And how to connect
to the socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import partial
from time import monotonic, sleep

from ...addresses import Kind
from ...errors import XenStoreError, error_from_errno, lost_error
from ...protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX
from ...static_types import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DeviceTransport", "SocketTransport", "Transport", "connect", "open_device", "peer_of"]

# PyPy has no names for these; the numbers are those of Linux on each processor that Xen runs on.
_MSG_NOSIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0x4000)
_SO_PEERCRED: int = getattr(socket, "SO_PEERCRED", 17)
_RECEIVE_SIZE = (65536,)  # bytes at most in one call
_CONNECT_RETRY = 0.01  # seconds
_PEER = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid
# What a device says that is gone, other than of one message.
_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.EBADF)


class Transport(Protocol):
    """A stream of bytes, both ways. It never blocks, and raises ConnectionLostError where the other end is gone."""

    kind: str
    payload_max: int  # the longest payload of a request
    joined: bool  # whether several messages may be sent as one piece
    write_retry: float | None  # where it cannot be polled for room: after how many seconds to try again

    def send(self, data: bytes | memoryview) -> int:
        """Send what can be sent at once, and give its length; raises another XenStoreError where the kernel refused
        this very message."""

    def receive(self, into: list[bytes]) -> bool:
        """Append some of what came in; False where nothing did."""

    def fileno(self) -> int:
        """The descriptor."""

    def shut(self) -> None:
        """End the stream, so that the other end notices, and keep the descriptor."""

    def close(self) -> None:
        """Close the descriptor; the stream of a parent process goes on where this is its child."""


class _Receiving:
    """The half that both kinds share."""

    _recv: Callable[[int], bytes]  # receives so many bytes at most

    def receive(self, into: list[bytes]) -> bool:
        try:
            # In one call, so that no exception comes between receiving and knowing it.
            into.extend(map(self._recv, _RECEIVE_SIZE))
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost_error(error.strerror) from error
        if not into[-1]:
            into.pop()
            raise lost_error()
        return True


class SocketTransport(_Receiving):
    """The daemon's unix socket."""

    kind = Kind.SOCKET
    payload_max = PAYLOAD_MAX
    joined = True
    write_retry: float | None = None

    def __init__(self, connection: socket.socket) -> None:
        """`connection`: connected and non-blocking, which is the transport's from here on."""
        self._socket = connection
        self._recv = connection.recv
        self._send = connection.send

    def send(self, data: bytes | memoryview) -> int:
        try:
            # A daemon that died is an error, also in a program that lets SIGPIPE end it.
            return self._send(data, _MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise lost_error(error.strerror) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster

    def close(self) -> None:
        self._socket.close()


class DeviceTransport(_Receiving):
    """The kernel's character device, ``/dev/xen/xenbus``: a guest's way, and dom0's where there is no socket."""

    kind = Kind.DEVICE
    payload_max = DEVICE_PAYLOAD_MAX
    joined = False  # the kernel takes a second message behind the first for garbage
    write_retry: float | None = 0.01  # Linux's xenbus never polls as writable

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the opened device, non-blocking, which is the transport's from here on."""
        self._descriptor = descriptor
        self._recv = partial(os.read, descriptor)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _GONE:
                raise lost_error(error.strerror) from error
            raise error_from_errno(error.errno or errno.EIO) from error

    def fileno(self) -> int:
        return self._descriptor

    def shut(self) -> None:
        """A device has no such thing: its stream ends as the descriptor is closed."""

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_device(path: str) -> DeviceTransport:
    """Open the device at `path`; raises OSError, with `path` as its filename, where that fails."""
    # Non-blocking, since a read must be; never a controlling terminal, if it is a terminal.
    return DeviceTransport(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def connect(path: str, timeout: float | None = None, check: Callable[[], object] | None = None) -> socket.socket:
    """A non-blocking connection to the unix socket at `path`, not inherited by programs that this one starts.

    A daemon that hangs accepts nobody, and only so many may wait for it: `timeout` is how many seconds to be one of
    them (None: for ever). `check` is called before each try: what it raises ends them. Raises OSError, with `path` as
    its filename, where it fails.
    """
    deadline = None if timeout is None else monotonic() + timeout
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            if check is not None:
                check()
            # There is nothing to poll for; and the kernel's wait, once a signal has ended it, looks to Python like
            # success.
            if _connected(connection, path):
                return connection
            if deadline is not None and monotonic() >= deadline:
                raise OSError(errno.ETIMEDOUT, "too many wait for the daemon to accept them")
            sleep(_CONNECT_RETRY)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError) and not isinstance(error, XenStoreError):
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from error
        raise


def _connected(connection: socket.socket, path: str) -> bool:
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True


def peer_of(connection: socket.socket) -> int:
    """The process id of the daemon at the other end of a unix socket, 0 where it is not to be seen from here.

    It stays the same when a daemon updates itself while it runs.
    """
    pid: int = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _PEER.size))[0]
    return pid
