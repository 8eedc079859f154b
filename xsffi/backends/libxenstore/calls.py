"""Maps requests to C functions; the backend itself handles plain reads."""

from __future__ import annotations

import errno

from ...addresses import Kind
from ...errors import AccessDeniedError, NotSupportedError
from ...protocol import requests as r
from ...protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, Feature, check_payload_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .binding import LibXenStore

    Call = Callable[[LibXenStore, int, Any], Any]

__all__ = ["call_of"]


def _own_features(xs: LibXenStore) -> Feature:
    """What the daemon supports for this domain. libxenstore caches the answer of the first daemon that the process
    asked, so domain 0 asks by its own domid instead."""
    try:
        return xs.xs_get_features_domain(0)
    except AccessDeniedError:
        return xs.xs_get_features_supported()


_CALLS: dict[type[r.Request[Any]], Call] = {
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
# The requests that may exceed the size of a message; a path alone never does.
_MAY_BE_TOO_LONG = (r.Write, r.SetPermissions, r.Watch, r.Control, r.GetQuota, r.SetQuota)


def call_of(request: r.Request[Any], kind: str) -> Call:
    """The function that carries out a request over a socket or device, given a handle, a transaction id and the
    request.

    Raises NotSupportedError if libxenstore has no function for it, TooBigError if it is too long.
    """
    call = _CALLS.get(type(request))
    if call is None:
        raise NotSupportedError(
            errno.ENOSYS, f"libxenstore has no function for {request.type.name}; the wire backend supports it"
        )
    if isinstance(request, _MAY_BE_TOO_LONG):
        limit = PAYLOAD_MAX if kind == Kind.SOCKET else DEVICE_PAYLOAD_MAX
        check_payload_size(len(request.payload()), request.path, limit)
    return call
