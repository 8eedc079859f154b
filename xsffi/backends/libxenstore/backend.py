"""The backend over libxenstore: each request becomes a call of one of its functions.

A request runs inside libxenstore from start to end. :meth:`LibraryBackend.close` and the daemon's death end it, but
Ctrl-C takes effect only once the daemon has replied.
"""

from __future__ import annotations

from _thread import get_ident

from ...addresses import Kind
from ...errors import XenStoreError, error_from_errno, reentered_error
from ...forks import tell_of_forks
from ...lazy import lazy_module
from ...paths import encode
from .connection import SAYS_LOST, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ...protocol import lookups
    from ...protocol import requests as r
    from ...static_types import T
    from ..base import Backend, Events, Outcome
    from ..wire import backend as wire
    from . import calls, events
    from .opening import Place
else:
    lookups = lazy_module("xsffi.protocol.lookups")
    r = lazy_module("xsffi.protocol.requests")
    wire = lazy_module("xsffi.backends.wire.backend")
    calls = lazy_module("xsffi.backends.libxenstore.calls")
    events = lazy_module("xsffi.backends.libxenstore.events")

__all__ = ["LibraryBackend"]


class LibraryBackend:
    """One handle of libxenstore (see :class:`~xsffi.backends.base.Backend`)."""

    name = "libxenstore"

    def __init__(self, place: Place, connections: int | None = None) -> None:
        """Open one of :func:`~xsffi.backends.libxenstore.opening.places`.

        `connections`: see :func:`~xsffi.backends.wire.backend.open_wire`. Raises OSError or XenStoreError on failure;
        NotSupportedError if libxenstore would open a different place.
        """
        self._connection = connection = Connection(place)
        self.kind = connection.kind
        self.path = place.path
        self.description = f"libxenstore at {place.path}"
        self._connections = connections
        # Calls into C run no bytecode that could be interrupted. They return an errno instead of a value when the
        # general path must find out what is wrong.
        self._handle = connection.handle
        #: What the drop-in reads through (see :class:`~xsffi.backends.libxenstore.reading.Reading`); None on PyPy.
        self.reader: Any = connection.xs.shortcut
        # Each is created on first use; if several threads race, the first to store its own wins.
        self._routers: list[events.Router] = []
        self._bulk: dict[str, wire.WireBackend] = {}
        tell_of_forks(self)

    def read(self, path: str) -> bytes:
        value = self._handle.read(path)
        if type(value) is bytes:
            return value
        encoded = encode(path)
        if value is not None:
            self._raise_refusal(value, encoded)
        return self.call(r.Read(encoded))

    def call(self, request: r.Request[T], tx_id: int = 0) -> T:
        if type(request) is r.Read:
            value: Any = self._handle.value(tx_id, request.path)
            if type(value) is bytes:
                return value  # type: ignore[return-value]  # T is bytes here
            self._raise_refusal(value, request.path)
        carry = calls.call_of(request, self.kind)
        connection = self._connection

        def step() -> T:
            connection.check()
            if type(request) is r.Watch:
                connection.has_reader = True
            try:
                result: T = carry(connection.xs, tx_id, request)
                return result
            except XenStoreError as error:
                if connection.is_lost(error):
                    connection.check()
                raise

        return connection.call(step)

    def call_many(
        self, requests: Sequence[r.Request[Any]], tx_id: int = 0, within: float | None = None
    ) -> list[Outcome]:
        connection = self._connection
        if get_ident() in connection.users:
            raise reentered_error()
        outcomes: list[Outcome] = []
        for request in requests:
            try:
                outcomes.append(self.call(request, tx_id))
            except XenStoreError as error:
                connection.check()
                outcomes.append(error)
        return requests.combine(outcomes) if isinstance(requests, lookups.Lookups) else outcomes

    def post(self, request: r.Request[Any], tx_id: int = 0) -> None:
        try:
            self.call(request, tx_id)
        except XenStoreError:
            pass  # gone with the connection, or never set up

    def events(self, prefix: str = "", limit: int = 0) -> Events:
        if not self._routers:
            self._routers.append(events.Router(self._connection))
        return self._routers[0].open(prefix, limit)

    def bulk(self) -> Backend:
        connection = self._connection
        connection.check()
        if self.kind == Kind.DEVICE:
            return self  # the device allows only one connection
        bulk = self._bulk.get("bulk")
        if bulk is None:
            bulk = self._open_bulk()
        return bulk

    def close(self) -> None:
        self._connection.close()
        for bulk in list(self._bulk.values()):
            bulk.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self._connection.after_fork_in_child()

    def __del__(self) -> None:
        if hasattr(self, "_bulk"):
            self.close()

    def _raise_refusal(self, number: int, path: bytes) -> None:
        """Raise the error of a read in C if the daemon sent it; otherwise return, and the general path finds out."""
        connection = self._connection
        if connection.ended is not None:
            connection.left()  # it may have been the last user
        elif number not in SAYS_LOST:
            raise error_from_errno(number, path.decode("utf-8", "surrogateescape"))

    def _open_bulk(self) -> wire.WireBackend:
        """Open it without a lock: if two threads race, or a signal handler intervenes, one of the two is closed."""
        connection = self._connection
        user = object()
        try:
            connection.enter(user)  # keeps open the descriptor that shows the daemon's death
            connection.check_alive()
            opened = wire.open_beside(self.path, connection.liveness.peer(), connection.check_alive, self._connections)
        finally:
            connection.users.pop(user, None)
            connection.left()
        bulk = self._bulk.setdefault("bulk", opened)
        if bulk is not opened:
            opened.close()
        elif connection.ended is not None:
            opened.close()  # close() may have run before it was stored
            connection.check()
        return bulk
