"""How to notice a daemon's death, which no descriptor that libxenstore exposes shows.

Preferably by a duplicate of the handle's own socket: shutting it down also ends waits inside libxenstore. In every
version so far a handle starts with its descriptor, but no header says so; it is used only if it is a socket connected
to the right path. Otherwise by a second, idle connection to the same daemon. Not at all if the handle is of the
kernel's device, behind which the daemon may be replaced.
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

_SHUT_RDWR = 2  # from sys/socket.h


class Liveness:
    """See above. If there is nothing to monitor, every method reports that the daemon is alive.

    No method may be called after :meth:`close`.
    """

    def __init__(self, descriptor: int, path: str | None) -> None:
        """`descriptor`: presumably the handle's own socket, connected to `path`; `path` None: it has no socket.

        Raises XenStoreError if no descriptors are left.
        """
        self._handles = descriptor
        self._place = ffi.new("int *", -1)  # holds the descriptor, so that it is closed only once
        #: Whether it duplicates the handle's own.
        self.is_own = path is not None and bool(lib.xsffi_is_connected_to(descriptor, os.fsencode(path)))
        try:
            if self.is_own:
                self._place[0] = os.dup(descriptor)
            elif path is not None:
                self._place[0] = transports.connect(path).detach()
        except (ConnectionError, FileNotFoundError):
            pass  # it accepts no further connection
        except OSError as error:
            raise error_from_errno(error.errno or errno.EIO) from error

    def fileno(self) -> int:
        """A descriptor that hangs up when the daemon dies; -1 if there is none."""
        return int(self._place[0])

    def peer(self) -> int:
        """The process id of the daemon; 0 if unknown."""
        return int(lib.xsffi_peer(self._place[0]))

    def is_dead(self) -> bool:
        """Whether the daemon has hung up."""
        return bool(lib.xsffi_wait(-1, -1, self._place[0], 0))

    def shut(self) -> None:
        """Shut the stream down; if it is the handle's own, threads waiting inside libxenstore return."""
        lib.shutdown(self._place[0], _SHUT_RDWR)

    def close_leftover(self) -> None:
        """Close the socket of a freed handle if libxenstore left it open.

        Woken by the end of the stream, its reader thread clears the handle's descriptor and then closes it; xs_close
        sometimes cancels that thread in between. The socket is recognised by its identity, since its number may have
        been reused.
        """
        try:
            if self.is_own and os.path.sameopenfile(self._handles, self._place[0]):
                os.close(self._handles)
        except OSError:
            pass  # it is closed

    def close(self) -> None:
        """Close the descriptor."""
        lib.xsffi_close(self._place)
