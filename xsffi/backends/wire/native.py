"""The single place that imports the wire's connection in C, the module ``xsffi._wire``; chooses between C and Python.

``XSFFI_CONNECTION=python`` in the environment disables it, as ``XSFFI_EXTENSION=no`` does everything in C.
"""

from __future__ import annotations

import errno
import os

from ...addresses import Kind, kind_of
from ...errors import (
    InvalidArgumentError,
    ProtocolError,
    closed_error,
    error_from_errno,
    forked_error,
    lost_error,
    timeout_error,
)
from ...lazy import lazy_module
from ...records import WatchEvent
from ...static_types import Protocol
from .polling import one_wait
from .spin import spin_limit
from .transports import SocketTransport, connect, open_device, peer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from ...errors import XenStoreError
    from ...protocol.session import Message, Reply
    from ..base import Events
    from . import connection as in_python
else:
    in_python = lazy_module("xsffi.backends.wire.connection")

__all__ = ["Connection", "Opened", "made", "open_connection"]


class Connection(Protocol):
    """The interface of a connection, in C or in Python. It carries messages, and knows nothing of what they mean."""

    def read(self, path: str) -> Reply | None:
        """The reply to READ; None if the path needs a closer look first."""

    def carry(self, type: int, payload: bytes, tx_id: int = 0) -> Reply:
        """Send a request, and wait for its reply. If the wait is cut short, a watch or transaction it was to set up is
        undone."""

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Send a request whose reply is ignored; does nothing on a closed or lost connection."""

    def send_many(self, messages: Sequence[Message], tx_id: int = 0) -> Any:
        """Send requests; returns what :meth:`replies` takes."""

    def replies(self, exchange: Any, within: float | None = None) -> list[Reply]:
        """Wait for the replies to what was sent; they are in the order of the requests. `within`: how many seconds they
        may take, if less than the timeout of the connection."""

    def forget(self, exchange: Any) -> None:
        """Ignore the replies to an exchange; requests not yet sent are dropped."""

    def events(self, prefix: str, limit: int = 0) -> Events:
        """See :meth:`~xsffi.backends.base.Backend.events`."""

    # In C only, see fetch.c:
    # fetch(others, paths, tx_id, encode, node_type, permissions): lookups over this connection and others.

    def close(self) -> None:
        """See :meth:`~xsffi.backends.base.Backend.close`."""

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""


class Opened:
    """An open connection, and what is known about it."""

    def __init__(self, connection: Connection, kind: str, description: str, peer: int = 0) -> None:
        self.connection = connection
        self.kind = kind
        self.description = description  # human-readable
        self.peer = peer  # the daemon's process, see peer_of()


def _choice() -> str:
    choice = os.environ.get("XSFFI_CONNECTION") or "c"
    if choice not in ("c", "python"):
        raise InvalidArgumentError(errno.EINVAL, f"XSFFI_CONNECTION must be c or python, not {choice!r}")
    return choice


open_in_c: Callable[..., Connection] | None = None  #: opens a connection over a socket, in C; None if not available
_why_in_python = "as the environment requests"
if os.environ.get("XSFFI_EXTENSION") != "no" and _choice() == "c":
    try:
        from ..._wire import open as open_in_c
    except ImportError as error:
        # Not built, or this interpreter cannot use it: PyPy, or a subinterpreter with a GIL of its own.
        _why_in_python = f"since the C module cannot be imported: {error}"


def made() -> str:
    """How connections over a socket are implemented here, human-readable."""
    return "in C" if open_in_c is not None else f"in Python, {_why_in_python}"


def open_connection(
    path: str,
    timeout: float | None,
    accept: Callable[[socket.socket | None], object] | None = None,
    patience: float | None = None,
) -> Opened:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, on failure.

    `timeout`: how many seconds connecting, and each reply, may take (None: no limit). `accept` may refuse by raising:
    it is called with None before each try, and finally with the connected socket. `patience`: how many seconds
    connecting may take, if not `timeout`.
    """
    kind = kind_of(path)
    if kind == Kind.DEVICE:
        device = open_device(path)
        try:
            return Opened(in_python.Connection(device, timeout), kind, "a device, in Python")
        except BaseException:
            device.close()
            raise
    connection = connect(
        path, timeout if patience is None else patience, None if accept is None else lambda: accept(None)
    )
    try:
        if accept is not None:
            accept(connection)
        peer = peer_of(connection)
        if open_in_c is None:
            return Opened(in_python.Connection(SocketTransport(connection), timeout), kind, made(), peer)
        in_c = open_in_c(connection.fileno(), timeout, spin_limit(), one_wait(None), _explain(timeout), WatchEvent)
    except BaseException:
        connection.close()
        raise
    connection.close()  # the C object has its own duplicate, so that ownership never changes hands
    return Opened(in_c, kind, made(), peer)


def _explain(timeout: float | None) -> Callable[[str, str, int], XenStoreError]:
    """Makes the exception for what a connection in C reports: a word, a text and an errno, each if there is one."""

    def explain(what: str, text: str, number: int) -> XenStoreError:
        if what == "closed":
            return closed_error()
        if what == "forked":
            return forked_error()
        if what == "timeout":
            return timeout_error(timeout)
        if what == "protocol":
            return ProtocolError(errno.EPROTO, text)
        if what == "failed":
            return error_from_errno(number)
        return lost_error(text or (os.strerror(number) if number else None))

    return explain
