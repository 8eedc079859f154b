"""Processes the requests of one connection: what each type of message does."""

from __future__ import annotations

import errno

from ..errors import XenStoreError, error_from_errno, error_from_wire
from ..protocol import requests as rq
from ..protocol.wire import PAYLOAD_MAX, Feature, MessageType
from . import nodes
from .control import control
from .domains import DOMID_SELF, Domain
from .store import Store, canonical
from .transactions import Transaction
from .views import View
from .watches import Listener, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Dispatcher"]

_OK = b"OK\0"
_SPECIAL_PATH_MAX = 2048
_INT_MAX = 0x7FFFFFFF  # a depth is a C int


class Dispatcher:
    """Answers the requests of one connection, and keeps its watches and transactions."""

    def __init__(self, store: Store, domain: Domain, listener: Listener) -> None:
        self._store = store
        self._domain = domain
        self._xen = store.xen
        self._listener = listener
        self._path_bound = domain.privileged and store.xen.path_quota_binds_dom0
        self._transactions: dict[int, Transaction] = {}
        self._last_transaction = 0
        self.new_watch: Watch | None = None  # the one that the last request set; its first event follows the answer

    def answer(self, type: int, tx_id: int, payload: bytes) -> bytes:
        """The payload of the reply to a request; raises XenStoreError if that is an error."""
        handler = _HANDLERS.get(type)
        if handler is None or type in self._xen.unknown_messages:
            raise error_from_errno(errno.ENOSYS)
        if type in _FOR_DOM0 and not self._domain.privileged:
            raise error_from_errno(errno.EACCES)
        view: View = self._store.direct
        if tx_id and type not in _WITHOUT_TRANSACTION:
            transaction = self._transactions.get(tx_id)
            if transaction is None:
                raise error_from_errno(errno.ENOENT)
            view = transaction
        request = rq.parse_request(type, payload)
        if self._store.faults.refusals:
            self._refuse(type, request)
        reply = handler(self, request, view, tx_id)
        if len(reply) > PAYLOAD_MAX:
            raise error_from_errno(errno.E2BIG)
        return reply

    def reset(self) -> None:
        """Remove the watches and abort the transactions of the connection."""
        self._store.watches.remove_all(self._listener)
        self._domain.count("transactions", -len(self._transactions))
        self._transactions.clear()

    # Nodes.

    def _read(self, request: rq.Read, view: View, tx_id: int) -> bytes:
        return nodes.read(view, self._domain, self._path(request.path)).value

    def _directory(self, request: rq.Directory, view: View, tx_id: int) -> bytes:
        return nodes.read(view, self._domain, self._path(request.path)).children.listing()

    def _directory_part(self, request: rq.DirectoryPart, view: View, tx_id: int) -> bytes:
        node = nodes.read(view, self._domain, self._path(request.path))
        listing = node.children.listing()
        head = b"%d\0" % node.generation
        start = request.offset
        if start >= len(listing):
            return head + b"\0"
        end = listing.rfind(b"\0", start, start + PAYLOAD_MAX - len(head) - 1) + 1
        return head + listing[start:end] + (b"\0" if end == len(listing) else b"")

    def _write(self, request: rq.Write, view: View, tx_id: int) -> bytes:
        nodes.write(view, self._domain, self._path(request.path), request.value)
        return _OK

    def _mkdir(self, request: rq.Mkdir, view: View, tx_id: int) -> bytes:
        nodes.mkdir(view, self._domain, self._path(request.path))
        return _OK

    def _rm(self, request: rq.Rm, view: View, tx_id: int) -> bytes:
        nodes.remove(view, self._domain, self._path(request.path))
        return _OK

    def _get_permissions(self, request: rq.GetPermissions, view: View, tx_id: int) -> bytes:
        path = self._path(request.path, special=self._xen.special_nodes)
        return nodes.read(view, self._domain, path).permissions.payload()

    def _set_permissions(self, request: rq.SetPermissions, view: View, tx_id: int) -> bytes:
        domain = self._domain
        if not domain.allows("node-permissions", len(request.permissions)):
            raise error_from_errno(errno.ENOSPC)
        permissions = self._store.permissions(domain, request.permissions)
        if request.path.startswith(b"@") and not self._xen.special_nodes:
            self._store.set_special_permissions(domain, _text(request.path), permissions)
        else:
            nodes.set_permissions(view, domain, self._path(request.path, self._xen.special_nodes), permissions)
        return _OK

    # Watches.

    def _watch(self, request: rq.Watch, view: View, tx_id: int) -> bytes:
        domain = self._domain
        depth = request.depth
        if depth is not None and (not domain.features & Feature.WATCH_DEPTH or depth > _INT_MAX):
            raise error_from_errno(errno.EINVAL)
        path = self._watched_path(request.path)
        watches = self._store.watches
        if watches.has(self._listener, path, request.token):
            raise error_from_errno(errno.EEXIST)
        if not domain.allows("watches", domain.watches + 1):
            raise error_from_errno(self._xen.watch_quota_error)
        prefix = 0 if request.path.startswith((b"/", b"@")) else len(domain.home) + 1
        watch = Watch(self._listener, path, prefix, request.token, request.depth)
        watches.add(watch)
        self.new_watch = watch
        return _OK

    def _unwatch(self, request: rq.Unwatch, view: View, tx_id: int) -> bytes:
        try:
            path = self._watched_path(request.path)
        except XenStoreError:
            raise error_from_errno(self._xen.unwatch_error) from None
        self._store.watches.remove(self._listener, path, request.token)
        return _OK

    def _reset_watches(self, request: rq.ResetWatches, view: View, tx_id: int) -> bytes:
        self.reset()
        return _OK

    # Transactions.

    def _transaction_start(self, request: rq.TransactionStart, view: View, tx_id: int) -> bytes:
        domain = self._domain
        if tx_id:
            raise error_from_errno(errno.EBUSY)
        if not domain.allows("transactions", domain.transactions + 1):
            raise error_from_errno(errno.ENOSPC)
        number = self._last_transaction
        while number == 0 or number in self._transactions:
            number = (number + 1) & 0xFFFFFFFF
        self._last_transaction = (number + 1) & 0xFFFFFFFF
        self._transactions[number] = Transaction(domain, self._store.tree, self._store.domains, self._xen)
        domain.count("transactions", 1)
        return b"%d\0" % number

    def _transaction_end(self, request: rq.TransactionEnd, view: View, tx_id: int) -> bytes:
        transaction = self._transactions.pop(tx_id, None)
        if transaction is None:
            raise error_from_errno(errno.ENOENT)
        self._domain.count("transactions", -1)
        if request.commit:
            if self._store.faults.take_conflict():
                raise error_from_errno(errno.EAGAIN)
            transaction.commit(self._store.watches)
        return _OK

    # Domains and the daemon.

    def _introduce(self, request: rq.Introduce, view: View, tx_id: int) -> bytes:
        if request.port == 0:
            raise error_from_errno(errno.EINVAL)
        self._store.introduce(self._domid(request.domid))
        return _OK

    def _release(self, request: rq.Release, view: View, tx_id: int) -> bytes:
        self._store.release(self._guest(request.domid))
        return _OK

    def _resume(self, request: rq.Resume, view: View, tx_id: int) -> bytes:
        self._store.domains.introduced(self._guest(request.domid))
        return _OK

    def _set_target(self, request: rq.SetTarget, view: View, tx_id: int) -> bytes:
        domid, target = self._domid(request.domid), self._domid(request.target)
        domain = self._store.domains.introduced(domid)
        domain.target = self._store.domains.introduced(target)
        return _OK

    def _get_domain_path(self, request: rq.GetDomainPath, view: View, tx_id: int) -> bytes:
        return b"/local/domain/%d\0" % self._domid(request.domid)

    def _is_domain_introduced(self, request: rq.IsDomainIntroduced, view: View, tx_id: int) -> bytes:
        domain = self._store.domains.find(self._domid(request.domid))
        introduced = request.domid == DOMID_SELF or (domain is not None and domain.introduced)
        return b"T\0" if introduced else b"F\0"

    def _control(self, request: rq.Control, view: View, tx_id: int) -> bytes:
        return control(self._store, [_text(argument) for argument in request.arguments]).encode("latin-1") + b"\0"

    def _get_features(self, request: rq.GetFeatures, view: View, tx_id: int) -> bytes:
        if request.domid is None:
            return b"%d\0" % self._domain.features
        if not self._domain.privileged:
            raise error_from_errno(errno.EACCES)
        return b"%d\0" % self._known(request.domid).features

    def _set_features(self, request: rq.SetFeatures, view: View, tx_id: int) -> bytes:
        domain = self._known(request.domid)
        if domain.introduced:
            raise error_from_errno(errno.EBUSY)
        if request.bits & ~int(self._xen.features):
            raise error_from_errno(errno.EINVAL)
        domain.features = Feature(request.bits)
        return _OK

    def _get_quota(self, request: rq.GetQuota | rq.GetQuotaNames, view: View, tx_id: int) -> bytes:
        if isinstance(request, rq.GetQuotaNames):
            return " ".join([quota.wire_name for quota in self._xen.quotas]).encode("ascii") + b"\0"
        quotas = self._store.domains.quotas if request.domid is None else self._known(request.domid).quotas
        return b"%d\0" % quotas[_text(request.name)]

    def _set_quota(self, request: rq.SetQuota, view: View, tx_id: int) -> bytes:
        if request.value >= 0xFFFFFFFF:
            raise error_from_errno(errno.EINVAL)
        quotas = self._store.domains.quotas if request.domid is None else self._known(request.domid).quotas
        quotas[_text(request.name)] = request.value
        return _OK

    # Inside.

    def _path(self, raw: bytes, special: bool = False) -> str:
        domain = self._domain
        path, length = canonical(raw, domain.home, special)
        longest = self._xen.path_max
        if (
            (longest is not None and len(path) > longest)
            or not domain.allows("path-max", length)
            or (self._path_bound and not domain.quotas.allows("path-max", length))
        ):
            raise error_from_errno(errno.EINVAL)
        return path

    def _watched_path(self, raw: bytes) -> str:
        if self._xen.special_paths_checked or not raw.startswith(b"@"):
            return self._path(raw, special=True)
        if len(raw) > _SPECIAL_PATH_MAX:
            raise error_from_errno(errno.EINVAL)
        return _text(raw)

    def _domid(self, domid: int) -> int:
        if domid > self._xen.domid_max:
            raise error_from_errno(errno.EINVAL)
        return domid

    def _guest(self, domid: int) -> int:
        if domid == 0:
            raise error_from_errno(errno.EINVAL)
        return self._domid(domid)

    def _known(self, domid: int) -> Domain:
        return self._store.domains.know(self._domid(domid), self._store.tree.generation)

    def _refuse(self, type: int, request: rq.Request[Any] | None) -> None:
        """Raise an injected error if one applies to this request."""
        path = None
        if request is not None and request.path is not None:
            try:
                path = self._watched_path(request.path)
            except XenStoreError:
                pass  # it gets its own error
        name = self._store.faults.take_refusal(type, path)
        if name is not None:
            raise error_from_wire(name, path)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


_M = MessageType
_HANDLERS: dict[int, Callable[[Dispatcher, Any, View, int], bytes]] = {
    _M.READ: Dispatcher._read,
    _M.WRITE: Dispatcher._write,
    _M.DIRECTORY: Dispatcher._directory,
    _M.DIRECTORY_PART: Dispatcher._directory_part,
    _M.GET_PERMS: Dispatcher._get_permissions,
    _M.SET_PERMS: Dispatcher._set_permissions,
    _M.MKDIR: Dispatcher._mkdir,
    _M.RM: Dispatcher._rm,
    _M.WATCH: Dispatcher._watch,
    _M.UNWATCH: Dispatcher._unwatch,
    _M.RESET_WATCHES: Dispatcher._reset_watches,
    _M.TRANSACTION_START: Dispatcher._transaction_start,
    _M.TRANSACTION_END: Dispatcher._transaction_end,
    _M.INTRODUCE: Dispatcher._introduce,
    _M.RELEASE: Dispatcher._release,
    _M.RESUME: Dispatcher._resume,
    _M.SET_TARGET: Dispatcher._set_target,
    _M.GET_DOMAIN_PATH: Dispatcher._get_domain_path,
    _M.IS_DOMAIN_INTRODUCED: Dispatcher._is_domain_introduced,
    _M.CONTROL: Dispatcher._control,
    _M.GET_FEATURE: Dispatcher._get_features,
    _M.SET_FEATURE: Dispatcher._set_features,
    _M.GET_QUOTA: Dispatcher._get_quota,
    _M.SET_QUOTA: Dispatcher._set_quota,
}
_FOR_DOM0 = frozenset(
    int(type)
    for type in (
        _M.CONTROL, _M.INTRODUCE, _M.RELEASE, _M.RESUME, _M.SET_TARGET, _M.IS_DOMAIN_INTRODUCED,
        _M.SET_FEATURE, _M.GET_QUOTA, _M.SET_QUOTA,
    )
)  # fmt: skip
_WITHOUT_TRANSACTION = frozenset((int(_M.WATCH), int(_M.UNWATCH)))  # their tx_id is ignored
