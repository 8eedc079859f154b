"""The door to the wire's connection in C, the module ``xsffi._wire``; and which connection is opened.

``XSFFI_CONNECTION=python`` in the environment has it left alone, as ``XSFFI_EXTENSION=no`` does with all that is in C.
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
    """What a connection does, in C or in Python. Its requests are messages; nothing here knows what they mean."""

    def read(self, path: str) -> Reply | None:
        """The reply to READ; None where the path is one to look at first."""

    def carry(self, type: int, payload: bytes, tx_id: int = 0) -> Reply:
        """Send a request, and wait for its reply. Where that wait ends before, a watch or a transaction that was to be
        set up is taken back."""

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Send a request for whose reply nobody waits; nothing is done where the connection is over."""

    def send_many(self, messages: Sequence[Message], tx_id: int = 0) -> Any:
        """Send requests; gives what :meth:`replies` takes."""

    def replies(self, exchange: Any, within: float | None = None) -> list[Reply]:
        """Wait for the replies to what was sent; they are in the order of the requests. `within`: how many seconds they
        may take, if that is less than the timeout of the connection."""

    def forget(self, exchange: Any) -> None:
        """Nobody waits for these replies any more; what was not yet sent, is not."""

    def events(self, prefix: str, limit: int = 0) -> Events:
        """See :meth:`~xsffi.backends.base.Backend.events`."""

    # And, in C alone, see fetch.c:
    # fetch(others, paths, tx_id, encode, node_type, permissions): lookups over this connection and others.

    def close(self) -> None:
        """See :meth:`~xsffi.backends.base.Backend.close`."""

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""


class Opened:
    """A connection that was opened, and what is known of it."""

    def __init__(self, connection: Connection, kind: str, description: str, peer: int = 0) -> None:
        self.connection = connection
        self.kind = kind
        self.description = description  # for people
        self.peer = peer  # the daemon's process, see peer_of()


def _choice() -> str:
    choice = os.environ.get("XSFFI_CONNECTION") or "c"
    if choice not in ("c", "python"):
        raise InvalidArgumentError(errno.EINVAL, f"XSFFI_CONNECTION is c or python, not {choice!r}")
    return choice


open_in_c: Callable[..., Connection] | None = None  #: a connection over a socket, in C; None: it is not to be had
_why_in_python = "as the environment asks for"
if os.environ.get("XSFFI_EXTENSION") != "no" and _choice() == "c":
    try:
        from ..._wire import open as open_in_c
    except ImportError as error:
        # It was not built, or this interpreter has no use for it: PyPy, or one with a GIL of its own.
        _why_in_python = f"since the one in C cannot be imported: {error}"


def made() -> str:
    """How a connection over a socket is made here, for people."""
    return "in C" if open_in_c is not None else f"in Python, {_why_in_python}"


def open_connection(
    path: str,
    timeout: float | None,
    accept: Callable[[socket.socket | None], object] | None = None,
    patience: float | None = None,
) -> Opened:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where that
    fails.

    `timeout`: how many seconds a reply, and connecting, may take (None: any time). `accept` may refuse by raising: it
    is called with None before each try, and with what is connected in the end. `patience`: how many seconds connecting
    may take, if not as many.
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
    connection.close()  # it has a duplicate of its own, so that no exception can come between two owners
    return Opened(in_c, kind, made(), peer)


def _explain(timeout: float | None) -> Callable[[str, str, int], XenStoreError]:
    """What makes an exception of what a connection in C tells: a word, a text, and an errno, where there are such."""

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
