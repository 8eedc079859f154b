"""The line under a handle of libxenstore: it hangs up when the daemon dies, which no descriptor of libxenstore's does.

It is a duplicate of the handle's own socket, where that can be found: shutting it down ends, too, what waits inside
libxenstore. A handle begins with its descriptor in every version so far, but no header says so, and it is taken only if
it is a socket connected to the path. Else it is a second connection, idle, to the same daemon; and none where the
handle is of the kernel's device.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import Union

from .transports import connect

__all__ = ["Line"]

Poller = Union[select.poll, select.epoll]


class Line:
    """See above. Each method may be called where there is no line, and says that nothing is wrong then."""

    def __init__(self, descriptor: int, path: str | None) -> None:
        """`descriptor`: what should be that of the handle's own socket, connected to `path`; None: it has no socket."""
        self._descriptor = descriptor
        self._socket = None if path is None else _duplicate(descriptor, path) or _second(path)
        #: Whether there is one.
        self.is_there = self._socket is not None
        #: Whether it is the handle's own.
        self.is_own = self._is_same_file()

    def watch(self, poller: Poller) -> None:
        """Have this tell that the line hangs up."""
        if self._socket is not None:
            poller.register(self._socket, 0)  # that is told whatever one asks for

    def is_dead(self) -> bool:
        """Whether it has hung up."""
        poll = select.poll()
        self.watch(poll)
        return bool(poll.poll(0))

    def shut(self) -> None:
        """End the stream; a thread that waits inside libxenstore comes back from there, if the line is its own."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the daemon was faster

    def close_leftover(self) -> None:
        """Close the socket of a handle that was freed, where libxenstore left it open.

        Its reader thread, woken by the end of the stream, forgets the descriptor and then closes it; xs_close cancels
        that thread, in between at times. It is told by what it is, since its number may be anybody's by now.
        """
        if self._is_same_file():
            os.close(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._socket is not None:
            self._socket.close()

    def _is_same_file(self) -> bool:
        if self._socket is None:
            return False
        try:
            return os.path.sameopenfile(self._descriptor, self._socket.fileno())
        except (OSError, OverflowError):
            return False  # it is none


def _duplicate(descriptor: int, path: str) -> socket.socket | None:
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            own = socket.socket(fileno=os.dup(descriptor))
            own.setblocking(True)  # whatever socket.setdefaulttimeout() says: libxenstore's descriptor is the same file
            if own.family == socket.AF_UNIX and os.path.samefile(own.getpeername(), path):
                return own
            own.close()
    except (OSError, OverflowError, ValueError):
        pass
    return None


def _second(path: str) -> socket.socket | None:
    try:
        return connect(path)
    except OSError:
        return None
