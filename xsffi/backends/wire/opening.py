"""Further connections to the daemon of an open connection."""

from __future__ import annotations

import errno
from time import monotonic

from ...errors import ConnectionLostError, WaitTimeoutError, XenStoreError, error_from_errno, lost_error
from ...protocol.wire import MessageType, PacketReader, encode_packet
from .native import open_connection
from .polling import Poller, one_wait
from .transports import peer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .native import Opened

__all__ = ["open_further"]


def open_further(
    path: str, timeout: float | None, peer: int, check: Callable[[], object], patience: float | None = None
) -> Opened:
    """A further connection to the daemon at the socket `path`, whose process id is `peer`.

    `check` raises if the first connection has ended or its daemon is gone. It is called before each try and once
    connected, so that a daemon that has replaced the first is never used. `patience`: how many seconds the daemon may
    take to accept the connection and answer on it (None: no limit, and no request is made to check). Raises
    XenStoreError on failure: ConnectionLostError if that daemon is gone.
    """

    def accept(connection: socket.socket | None) -> None:
        check()
        if connection is not None and peer_of(connection) != peer:
            raise lost_error("another daemon has replaced it")
        if connection is not None and patience is not None:
            _see_it_answered(connection, patience)

    try:
        return open_connection(path, timeout, accept, patience)
    except XenStoreError:
        raise
    except OSError as error:
        check()
        text = f"cannot open a further connection to the store: {error.strerror}"
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            raise ConnectionLostError(errno.ECONNRESET, text) from error
        if error.errno == errno.ETIMEDOUT:
            raise WaitTimeoutError(errno.ETIMEDOUT, text) from error
        raise error_from_errno(error.errno or errno.EIO, None, text) from error


def _see_it_answered(connection: socket.socket, patience: float) -> None:
    """Make a request, since a connected socket may not be accepted yet; raises WaitTimeoutError if no reply arrives in
    time."""
    deadline = monotonic() + patience
    connection.send(encode_packet(MessageType.READ, 1, 0, b"/\0"))
    reader = PacketReader()
    while not list(reader.packets()):
        left = deadline - monotonic()
        if left <= 0:
            raise WaitTimeoutError(errno.ETIMEDOUT, "the daemon does not accept a further connection")
        if Poller(connection.fileno()).wait(one_wait(left)):
            data = connection.recv(4096)
            if not data:
                raise lost_error()
            reader.receive_data(data)
