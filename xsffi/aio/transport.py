"""Bytes to and from the daemon's socket or the kernel's device, by an event loop."""

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

_MSG_NOSIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0x4000)  # PyPy has no name for Linux's number
_RECEIVE_SIZE = 1 << 16  # bytes at once, and in one turn of the loop: a peer that never stops must hold up nobody
_CONNECT_RETRY = 0.01  # seconds
_WRITE_RETRY = 0.01  # seconds: Linux's xenbus never polls as writable


class Transport:
    """A descriptor that is read from as it becomes readable, and written to as far as it goes at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: socket.socket | FileIO) -> None:
        """`opened`: a connected socket, or the device, non-blocking; it is the transport's from here on."""
        self.kind = Kind.SOCKET if isinstance(opened, socket.socket) else Kind.DEVICE
        self._loop = loop
        self._opened = opened
        self._descriptor = opened.fileno()
        self._retry: asyncio.TimerHandle | None = None
        self._waits_for_room = False
        self._is_closed = False
        tell_of_forks(self)

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Call `readable` whenever there is something to be received, and `writable` once there is room after
        :meth:`wait_for_room`."""
        self._writable = writable
        self._loop.add_reader(self._descriptor, readable)

    def receive(self) -> bytes | None:
        """What has come; None where nothing has, and nothing at all once the other end is gone. Raises OSError."""
        if not isinstance(self._opened, socket.socket):
            return self._opened.read(_RECEIVE_SIZE)
        try:
            return self._opened.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Send what there is room for: so many bytes. Raises OSError."""
        if not isinstance(self._opened, socket.socket):
            return self._opened.write(data) or 0
        try:
            # A daemon that died is an error, also in a program that lets SIGPIPE end it.
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
        """Nothing waits to be sent any more."""
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """Take it from the loop, and close it. Again does nothing."""
        if self._is_closed:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            self.has_room()
            if self._retry is not None:
                self._retry.cancel()
        self._release()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`. The loop is left alone: what it polls with is the
        parent's too."""
        if not self._is_closed:
            self._release()

    def _release(self) -> None:
        self._is_closed = True
        self._opened.close()

    def _try_again(self) -> None:
        self._retry = None
        self._writable()


async def open_transport(path: str, timeout: float | None) -> Transport:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where that
    fails. `timeout`: how many seconds a daemon that hangs, and accepts nobody, is waited for (None: any time)."""
    loop = asyncio.get_running_loop()
    if kind_of(path) == Kind.DEVICE:
        # Never a controlling terminal, if it is a terminal.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        return Transport(loop, FileIO(descriptor, "r+"))
    deadline = None if timeout is None else loop.time() + timeout
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        while not _connected(opened, path):
            if deadline is not None and loop.time() >= deadline:
                raise OSError(errno.ETIMEDOUT, "too many wait for the daemon to accept them")
            await asyncio.sleep(_CONNECT_RETRY)  # there is nothing to poll for
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
