"""The byte stream to and from the daemon's socket or the kernel's device, on an event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from io import FileIO

from ..addresses import Kind, kind_of
from ..forks import tell_of_forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transport", "open_transport"]

_MSG_NOSIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0x4000)  # PyPy lacks the name; Linux's number
_RECEIVE_SIZE = 1 << 16  # bytes per iteration of the loop: a peer that never stops sending must not block others
_CONNECT_RETRY = 0.01  # seconds
_WRITE_RETRY = 0.01  # seconds: Linux's xenbus never polls as writable


class Transport:
    """A descriptor that is read when it becomes readable, and written without blocking."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: socket.socket | FileIO) -> None:
        """Takes ownership of `opened`: a connected socket, or the device, non-blocking."""
        self.kind = Kind.SOCKET if isinstance(opened, socket.socket) else Kind.DEVICE
        self._loop = loop
        self._opened = opened
        self._descriptor = opened.fileno()
        self._retry: asyncio.TimerHandle | None = None
        self._waits_for_room = False
        self._is_closed = False
        tell_of_forks(self)

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Call `readable` whenever there is input, and `writable` once there is room after :meth:`wait_for_room`."""
        self._writable = writable
        self._loop.add_reader(self._descriptor, readable)

    def receive(self) -> bytes | None:
        """The input; None if there is none, and empty once the other end is gone. Raises OSError."""
        if not isinstance(self._opened, socket.socket):
            return self._opened.read(_RECEIVE_SIZE)
        try:
            return self._opened.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Send as much as there is room for; return how many bytes. Raises OSError."""
        if not isinstance(self._opened, socket.socket):
            return self._opened.write(data) or 0
        try:
            # EPIPE, not SIGPIPE, even in a program where that has its default action.
            return self._opened.send(data, _MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def wait_for_room(self) -> None:
        """Have `writable` called when more can be sent."""
        if self.kind == Kind.DEVICE:
            if self._retry is None:
                self._retry = self._loop.call_later(_WRITE_RETRY, self._try_again)
        elif not self._waits_for_room:
            self._waits_for_room = True
            self._loop.add_writer(self._descriptor, self._writable)

    def has_room(self) -> None:
        """Nothing is left to send."""
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """Remove it from the loop, and close it. Idempotent."""
        if self._is_closed:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            self.has_room()
            if self._retry is not None:
                self._retry.cancel()
        self._release()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`. The loop is left alone: the child shares its epoll
        with the parent."""
        if not self._is_closed:
            self._release()

    def _release(self) -> None:
        self._is_closed = True
        self._opened.close()

    def _try_again(self) -> None:
        self._retry = None
        self._writable()


async def open_transport(path: str, timeout: float | None) -> Transport:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, on failure.
    `timeout`: how many seconds to wait for a hung daemon, which accepts no connections (None: no limit)."""
    loop = asyncio.get_running_loop()
    if kind_of(path) == Kind.DEVICE:
        # O_NOCTTY in case `path` is a terminal.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        return Transport(loop, FileIO(descriptor, "r+"))
    deadline = None if timeout is None else loop.time() + timeout
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        while not _connected(opened, path):
            if deadline is not None and loop.time() >= deadline:
                raise OSError(errno.ETIMEDOUT, "too many clients are waiting for the daemon to accept them")
            await asyncio.sleep(_CONNECT_RETRY)  # a full queue cannot be polled for
        return Transport(loop, opened)
    except BaseException as error:
        opened.close()
        if isinstance(error, OSError):
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from error
        raise


def _connected(opened: socket.socket, path: str) -> bool:
    try:
        opened.connect(path)
    except BlockingIOError:
        return False
    return True
