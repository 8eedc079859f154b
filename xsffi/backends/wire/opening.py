"""Further connections to the daemon of one that is open."""

from __future__ import annotations

import errno

from ...errors import ConnectionLostError, WaitTimeoutError, XenStoreError, error_from_errno
from ..base import lost_error
from .native import open_connection
from .transports import peer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .native import Opened

__all__ = ["open_further"]


def open_further(path: str, timeout: float | None, peer: int, check: Callable[[], object]) -> Opened:
    """A further connection to the daemon at the socket `path`, whose process is `peer`.

    `check` raises what is to be raised once the first connection is over, or its daemon is gone. It is called before
    each try and once connected, so that another daemon, which has taken the place of the first, is never used. Raises
    XenStoreError where it fails: ConnectionLostError where that daemon is gone.
    """

    def accept(connection: socket.socket | None) -> None:
        check()
        if connection is not None and peer_of(connection) != peer:
            raise lost_error("another daemon has taken its place")

    try:
        return open_connection(path, timeout, accept)
    except XenStoreError:
        raise
    except OSError as error:
        check()
        text = f"no further connection to the store can be opened: {error.strerror}"
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            raise ConnectionLostError(errno.ECONNRESET, text) from error
        if error.errno == errno.ETIMEDOUT:
            raise WaitTimeoutError(errno.ETIMEDOUT, text) from error
        raise error_from_errno(error.errno or errno.EIO, None, text) from error
