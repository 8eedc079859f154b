"""The backend over libxenstore: requests become calls of its functions.

A request is libxenstore's affair from its start to its end: it can be ended by :meth:`LibraryBackend.close`, and by the
daemon's death, but Ctrl-C takes effect only once the daemon has answered.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, TypeVar, cast

from ...addresses import Kind
from ...errors import AccessDeniedError, NotSupportedError, XenStoreError, error_from_errno
from ...paths import encode
from ...protocol import requests as r
from ...protocol.requests import Request
from ...protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, Feature, check_payload_size
from ..base import Backend, Events, Outcome, reentered_error, tell_of_forks
from ..wire.backend import WireBackend, open_further
from .binding import LibXenStore
from .connection import SAYS_LOST, Connection
from .events import Router
from .opening import Place

__all__ = ["LibraryBackend"]

T = TypeVar("T")


def _own_features(xs: LibXenStore) -> Feature:
    """What the daemon can do for this domain. libxenstore's own answer is that of the first daemon which the process
    asked, so domain 0 asks of itself by its number."""
    try:
        return xs.xs_get_features_domain(0)
    except AccessDeniedError:
        return xs.xs_get_features_supported()


# Which C function carries which request.
_CALLS: dict[type[Request[Any]], Callable[[LibXenStore, int, Any], Any]] = {
    r.Read: lambda xs, tx, q: xs.xs_read(tx, q.path),
    r.Write: lambda xs, tx, q: xs.xs_write(tx, q.path, q.value),
    r.Mkdir: lambda xs, tx, q: xs.xs_mkdir(tx, q.path),
    r.Rm: lambda xs, tx, q: xs.xs_rm(tx, q.path),
    r.Directory: lambda xs, tx, q: xs.xs_directory(tx, q.path),
    r.GetPermissions: lambda xs, tx, q: xs.xs_get_permissions(tx, q.path),
    r.SetPermissions: lambda xs, tx, q: xs.xs_set_permissions(tx, q.path, q.permissions),
    r.Watch: lambda xs, tx, q: (
        xs.xs_watch(q.path, q.token) if q.depth is None else xs.xs_watch_depth(q.path, q.token, q.depth)
    ),
    r.Unwatch: lambda xs, tx, q: xs.xs_unwatch(q.path, q.token),
    r.TransactionStart: lambda xs, tx, q: xs.xs_transaction_start(),
    r.TransactionEnd: lambda xs, tx, q: xs.xs_transaction_end(tx, not q.commit),
    r.Introduce: lambda xs, tx, q: xs.xs_introduce_domain(q.domid, q.gfn, q.port),
    r.Release: lambda xs, tx, q: xs.xs_release_domain(q.domid),
    r.Resume: lambda xs, tx, q: xs.xs_resume_domain(q.domid),
    r.SetTarget: lambda xs, tx, q: xs.xs_set_target(q.domid, q.target),
    r.GetDomainPath: lambda xs, tx, q: xs.xs_get_domain_path(q.domid),
    r.IsDomainIntroduced: lambda xs, tx, q: xs.xs_is_domain_introduced(q.domid),
    r.Control: lambda xs, tx, q: xs.xs_control_command(q.arguments[0], b"".join([a + b"\0" for a in q.arguments[1:]])),
    r.GetFeatures: lambda xs, tx, q: _own_features(xs) if q.domid is None else xs.xs_get_features_domain(q.domid),
    r.SetFeatures: lambda xs, tx, q: xs.xs_set_features_domain(q.domid, q.bits),
    r.GetQuotaNames: lambda xs, tx, q: xs.xs_get_quota_names(),
    r.GetQuota: lambda xs, tx, q: (
        xs.xs_get_global_quota(q.name) if q.domid is None else xs.xs_get_domain_quota(q.domid, q.name)
    ),
    r.SetQuota: lambda xs, tx, q: (
        xs.xs_set_global_quota(q.name, q.value) if q.domid is None else xs.xs_set_domain_quota(q.domid, q.name, q.value)
    ),
}
# The requests that may be longer than a message; the path alone never is.
_MAY_BE_TOO_LONG = (r.Write, r.SetPermissions, r.Watch, r.Control, r.GetQuota, r.SetQuota)


class LibraryBackend:
    """One handle of libxenstore (see :class:`~xsffi.backends.base.Backend`)."""

    name = "libxenstore"

    def __init__(self, place: Place) -> None:
        """Open one of :func:`~xsffi.backends.libxenstore.opening.places`.

        Raises OSError or XenStoreError where that fails: NotSupportedError where libxenstore would open another.
        """
        self._connection = connection = Connection(place)
        self.kind = connection.kind
        self._path = place.path
        self._payload_max = PAYLOAD_MAX if self.kind is Kind.SOCKET else DEVICE_PAYLOAD_MAX
        # What is in C has no step of Python; it gives an errno instead of a value where the usual way is to find out
        # what is wrong.
        self._handle = connection.handle
        #: What the drop-in reads through (see :class:`~xsffi.backends.libxenstore.reading.Reading`), None on PyPy.
        self.reader: Any = connection.xs.shortcut
        self._router = Router(connection)
        self._bulk: dict[str, WireBackend] = {}
        tell_of_forks(self)

    def read(self, path: str) -> bytes:
        value = self._handle.read(path)
        if type(value) is bytes:
            return value
        encoded = encode(path)
        if value is not None:
            self._raise_refusal(value, encoded)
        return self.call(r.Read(encoded))

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if type(request) is r.Read:
            value = self._handle.value(tx_id, request.path)
            if type(value) is bytes:
                return cast(T, value)
            self._raise_refusal(value, request.path)
        carry = _CALLS.get(type(request))
        if carry is None:
            raise NotSupportedError(
                errno.ENOSYS, f"libxenstore has no call for {request.type.name}; the wire backend carries it"
            )
        if isinstance(request, _MAY_BE_TOO_LONG):
            check_payload_size(len(request.payload()), request.path, self._payload_max)
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

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
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
        return outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        try:
            self.call(request, tx_id)
        except XenStoreError:
            pass  # with the connection all that was set up is gone; else there was nothing

    def events(self, prefix: str = "") -> Events:
        return self._router.open(prefix)

    def bulk(self) -> Backend:
        connection = self._connection
        connection.check()
        if self.kind is Kind.DEVICE:
            return self  # the kernel gives one connection only
        bulk = self._bulk.get("bulk")
        if bulk is None:
            bulk = self._open_bulk()
        return bulk

    def close(self) -> None:
        self._connection.close()
        for bulk in list(self._bulk.values()):
            bulk.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.backends.base.Forkable.after_fork_in_child`."""
        self._connection.after_fork_in_child()

    def __del__(self) -> None:
        if hasattr(self, "_bulk"):
            self.close()

    def _raise_refusal(self, number: int, path: bytes) -> None:
        """Raise the error that a read in C came to, if the daemon said it; else the usual way is to find out."""
        connection = self._connection
        if connection.ended is not None:
            connection.left()  # it may have been the last one inside
        elif number not in SAYS_LOST:
            raise error_from_errno(number, path.decode("utf-8", "surrogateescape"))

    def _open_bulk(self) -> WireBackend:
        """Open it, without a lock: where two threads do so, or a signal handler comes in between, one is closed."""
        connection = self._connection
        user = object()
        try:
            connection.enter(user)  # so that the descriptor which shows the daemon's death stays open
            connection.check_alive()
            opened = open_further(self._path, None, connection.liveness.peer(), connection.check_alive)
        finally:
            connection.users.pop(user, None)
            connection.left()
        bulk = self._bulk.setdefault("bulk", opened)
        if bulk is not opened:
            opened.close()
        elif connection.ended is not None:
            opened.close()  # close() may have looked before it was there
            connection.check()
        return bulk
