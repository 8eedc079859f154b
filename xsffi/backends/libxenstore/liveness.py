"""How a daemon's death is noticed, which no descriptor of libxenstore's shows.

By a duplicate of the handle's own socket, where that can be found: shutting it down ends, too, what waits inside
libxenstore. A handle begins with its descriptor in every version so far, but no header says so, and it is taken only if
it is a socket connected to the path. Else by a second connection, idle, to the same daemon; and not at all where the
handle is of the kernel's device, behind which the daemon may change.
"""

from __future__ import annotations

import errno
import os

from ...errors import error_from_errno
from ...lazy import lazy_module
from .extension import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..wire import transports
else:
    transports = lazy_module("xsffi.backends.wire.transports")

__all__ = ["Liveness"]

_SHUT_RDWR = 2  # of socket.h


class Liveness:
    """See above. Each method may be called where there is nothing to notice it by, and says that nothing is wrong then.

    None is to be called once :meth:`close` was.
    """

    def __init__(self, descriptor: int, path: str | None) -> None:
        """`descriptor`: what should be that of the handle's own socket, connected to `path`; None: it has no socket.

        Raises XenStoreError where there are no descriptors left.
        """
        self._handles = descriptor
        self._place = ffi.new("int *", -1)  # which keeps the descriptor, so that it is closed once
        #: Whether it is the handle's own.
        self.is_own = path is not None and bool(lib.xsffi_is_connected_to(descriptor, os.fsencode(path)))
        try:
            if self.is_own:
                self._place[0] = os.dup(descriptor)
            elif path is not None:
                self._place[0] = transports.connect(path).detach()
        except (ConnectionError, FileNotFoundError):
            pass  # it accepts no other
        except OSError as error:
            raise error_from_errno(error.errno or errno.EIO) from error

    def fileno(self) -> int:
        """What hangs up when the daemon dies; -1 where there is nothing."""
        return int(self._place[0])

    def peer(self) -> int:
        """The process id of the daemon; 0 where that is not to be seen."""
        return int(lib.xsffi_peer(self._place[0]))

    def is_dead(self) -> bool:
        """Whether the daemon has hung up."""
        return bool(lib.xsffi_wait(-1, -1, self._place[0], 0))

    def shut(self) -> None:
        """End the stream; a thread that waits inside libxenstore comes back from there, if it is the handle's own."""
        lib.shutdown(self._place[0], _SHUT_RDWR)

    def close_leftover(self) -> None:
        """Close the socket of a handle that was freed, where libxenstore left it open.

        Its reader thread, woken by the end of the stream, forgets the descriptor and then closes it; xs_close cancels
        that thread, in between at times. It is told by what it is, since its number may be anybody's by now.
        """
        try:
            if self.is_own and os.path.sameopenfile(self._handles, self._place[0]):
                os.close(self._handles)
        except OSError:
            pass  # there is no such descriptor

    def close(self) -> None:
        """Give the descriptor back."""
        lib.xsffi_close(self._place)
