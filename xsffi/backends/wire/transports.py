"""The byte streams of the connection in Python: the daemon's unix socket, or the kernel's device; and how to connect to
the socket."""

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

# PyPy lacks these names; the numbers are Linux's on every architecture that Xen supports.
_MSG_NOSIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0x4000)
_SO_PEERCRED: int = getattr(socket, "SO_PEERCRED", 17)
_RECEIVE_SIZE = (65536,)  # the most bytes to read in one call
_CONNECT_RETRY = 0.01  # seconds
_PEER = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid
# The errnos of a device that is gone, as opposed to those about one message.
_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.EBADF)


class Transport(Protocol):
    """A stream of bytes, both ways. It never blocks, and raises ConnectionLostError if the other end is gone."""

    kind: str
    payload_max: int  # the longest payload of a request
    joined: bool  # whether several messages may be sent in one write
    write_retry: float | None  # if it cannot be polled for writing: seconds until the next try

    def send(self, data: bytes | memoryview) -> int:
        """Send what can be sent without blocking; return its length. Raises another XenStoreError if the kernel refuses
        this particular message."""

    def receive(self, into: list[bytes]) -> bool:
        """Append input that has arrived; False if there is none."""

    def fileno(self) -> int:
        """The descriptor."""

    def shut(self) -> None:
        """Shut the stream down, so that the other end notices, but keep the descriptor."""

    def close(self) -> None:
        """Close the descriptor; in a child process this does not end the parent's stream."""


class _Receiving:
    """What both transports share."""

    _recv: Callable[[int], bytes]  # given the most bytes to receive

    def receive(self, into: list[bytes]) -> bool:
        try:
            # One call, so that no exception can come between receiving and storing.
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
        """Takes ownership of `connection`, connected and non-blocking."""
        self._socket = connection
        self._recv = connection.recv
        self._send = connection.send

    def send(self, data: bytes | memoryview) -> int:
        try:
            # EPIPE, not SIGPIPE, even in a program where that has its default action.
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
            pass  # the other end shut it first

    def close(self) -> None:
        self._socket.close()


class DeviceTransport(_Receiving):
    """The kernel's character device, ``/dev/xen/xenbus``: a guest's way, and dom0's where there is no socket."""

    kind = Kind.DEVICE
    payload_max = DEVICE_PAYLOAD_MAX
    joined = False  # the kernel rejects a second message in the same write
    write_retry: float | None = 0.01  # Linux's xenbus never polls as writable

    def __init__(self, descriptor: int) -> None:
        """Takes ownership of `descriptor`, of the opened device, non-blocking."""
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
        """Nothing: a device's stream ends when the descriptor is closed."""

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_device(path: str) -> DeviceTransport:
    """Open the device at `path`; raises OSError, with `path` as its filename, on failure."""
    # Non-blocking, since receive() must be; O_NOCTTY in case `path` is a terminal.
    return DeviceTransport(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def connect(path: str, timeout: float | None = None, check: Callable[[], object] | None = None) -> socket.socket:
    """A non-blocking connection to the unix socket at `path`, not inherited by child programs.

    A hung daemon accepts no connections, and only a limited number may be queued: `timeout` is how many seconds to try
    to be queued (None: no limit). `check` is called before each try, and may end them by raising. Raises OSError, with
    `path` as its filename, on failure.
    """
    deadline = None if timeout is None else monotonic() + timeout
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            if check is not None:
                check()
            # A full queue cannot be polled for; and when a signal interrupts the kernel's own wait, Python takes it for
            # success.
            if _connected(connection, path):
                return connection
            if deadline is not None and monotonic() >= deadline:
                raise OSError(errno.ETIMEDOUT, "too many clients are waiting for the daemon to accept them")
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
    """The process id of the daemon at the other end of a unix socket, 0 if it is not visible from here.

    A live update of the daemon does not change it.
    """
    pid: int = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _PEER.size))[0]
    return pid
