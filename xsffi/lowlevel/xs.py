"""``xen.lowlevel.xs``, for programs that were written for it: the class :class:`xs` and the exception :class:`Error`.

It does what the C module does, in the same types, values and errors, over either backend (``XSFFI_BACKEND`` in the
environment chooses). Where the C module has a fault that no program can want, it does better; docs/coming-from.md lists
each such difference.

A method's arguments are positional only, as its docstring names them, but for those of ``transaction_end``.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..backends.base import Backend
from ..backends.library import LibraryBackend
from ..backends.reading import Reading
from ..backends.selection import open_backend
from ..errors import ClientClosedError, ConnectionLostError, ForkedError, NodeNotFoundError, XenStoreError, wire_name
from ..permissions import Permission
from ..protocol import programs
from ..protocol import requests as r
from ..protocol.programs import Program
from ..protocol.requests import Request
from ..safeguards import AnyDomain, names_any_domain
from .arguments import (
    Parameter,
    Signature,
    anything,
    data,
    integer,
    long_integer,
    parse_keywords,
    text,
    transaction,
)
from .tokens import TokenTable

__all__ = ["Error", "xs"]

T = TypeVar("T")

_INT_MAX = 0x7FFFFFFF
_UINT_MAX = 0xFFFFFFFF
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF
_NO_WATCH = b"0"  # a token that no watch has

_READ = Signature("read", (transaction, text))
_WRITE = Signature("write", (transaction, text, data))
_LS = Signature("ls", (transaction, text))
_MKDIR = Signature("mkdir", (transaction, text))
_RM = Signature("rm", (transaction, text))
_GET_PERMISSIONS = Signature("get_permissions", (transaction, text))
_SET_PERMISSIONS = Signature("set_permissions", (transaction, text, anything))
_WATCH = Signature("watch", (text, anything))
_UNWATCH = Signature("unwatch", (text, anything))
_READ_WATCH = Signature("read_watch", ())
_CHECK_WATCH = Signature("check_watch", ())
_FILENO = Signature("fileno", ())
_TRANSACTION_START = Signature("transaction_start", ())
_INTRODUCE_DOMAIN = Signature("introduce_domain", (integer, long_integer, integer))
_SET_TARGET = Signature("set_target", (integer, integer))
_RESUME_DOMAIN = Signature("resume_domain", (integer,))
_RELEASE_DOMAIN = Signature("release_domain", (integer,))
_GET_DOMAIN_PATH = Signature("get_domain_path", (integer,))
_CLOSE = Signature("close", ())

_OPEN = (Parameter("readonly", integer, 0),)
_TRANSACTION_END = (Parameter("transaction", transaction, required=True), Parameter("abort", integer, 0))
_PERMISSION = (Parameter("dom", integer, required=True), Parameter("read", integer, 0), Parameter("write", integer, 0))


class Error(RuntimeError):
    """What every failure raises: ``args`` are the errno and its text."""

    __module__ = "xen.lowlevel.xs"


class xs(Reading):
    """A connection to XenStore: ``xs(readonly=0)``; the argument has no effect any more.

    Raises :class:`Error` where there is no daemon.
    """

    __module__ = "xen.lowlevel.xs"
    __slots__ = ("_any_domain", "_backend", "_opened", "_opening", "_watches")

    _any_domain: AnyDomain  # of the backend
    _backend: Backend | None  # None before it is open, and once it is closed
    _opened: list[Backend]  # all there ever were: a thread may still be reading in C, through one that was closed
    _opening: threading.Lock
    _watches: TokenTable

    def __new__(cls, *args: Any, **keywords: Any) -> xs:
        self = super().__new__(cls)
        self._backend = None
        self._opened = []
        self._opening = threading.Lock()
        self._watches = TokenTable()
        return self

    def __init__(self, *args: Any, **keywords: Any) -> None:
        parse_keywords(_OPEN, args, keywords)
        before = self._backend
        self._open()
        if before is not None:
            before.close()
            self._watches.clear()

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'xen.lowlevel.xs.xs' is not an acceptable base type")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("cannot pickle 'xen.lowlevel.xs.xs' object")

    def __del__(self) -> None:
        self._let_go()

    # Nodes.

    def _read(self, *args: Any, **keywords: Any) -> bytes | None:
        # read() is of the base class, which comes here with all that it cannot do, or do well.
        if self._backend is None:
            self._let_go()
        tx_id, path = self._parse(_READ, args, keywords)
        return self._find_node(r.Read(path), tx_id)

    def write(self, *args: Any, **keywords: Any) -> None:
        """write(transaction, path, data): set the value of a node, which is made where it is missing."""
        tx_id, path, value = self._parse(_WRITE, args, keywords)
        self._call(r.Write(path, value), tx_id)

    def ls(self, *args: Any, **keywords: Any) -> list[str] | None:
        """ls(transaction, path): the names of a node's children, or None where there is no such node."""
        tx_id, path = self._parse(_LS, args, keywords)
        try:
            return self._run(programs.directory(path), tx_id)
        except NodeNotFoundError:
            return None
        except XenStoreError as error:
            raise _error(error) from None

    def mkdir(self, *args: Any, **keywords: Any) -> None:
        """mkdir(transaction, path): make a node. One that is there is left as it is."""
        tx_id, path = self._parse(_MKDIR, args, keywords)
        self._call(r.Mkdir(path), tx_id)

    def rm(self, *args: Any, **keywords: Any) -> None:
        """rm(transaction, path): remove a node and all below it, if it is there."""
        tx_id, path = self._parse(_RM, args, keywords)
        if path == b"/":  # oxenstored would wipe the whole store
            raise _errno_error(errno.EINVAL)
        self._find_node(r.Rm(path), tx_id)

    def get_permissions(self, *args: Any, **keywords: Any) -> list[dict[str, int]]:
        """get_permissions(transaction, path): a list of dicts with ``dom``, ``read`` (0 or 1), ``write`` (0 or 2)."""
        tx_id, path = self._parse(_GET_PERMISSIONS, args, keywords)
        permissions = self._call(r.GetPermissions(path), tx_id)
        return [{"dom": _signed(p.domid), "read": int(p.readable), "write": 2 * p.writable} for p in permissions]

    def set_permissions(self, *args: Any, **keywords: Any) -> None:
        """set_permissions(transaction, path, permissions): a list of dicts, as ``get_permissions`` gives.

        ``read`` and ``write`` may be missing. The first names the owner, who may do everything: where it is a domain
        other than 0 and grants something, domain 0 becomes the owner.
        """
        tx_id, path, wanted = self._parse(_SET_PERMISSIONS, args, keywords)
        if not isinstance(wanted, list):
            raise _errno_error(errno.EINVAL)
        permissions = [_permission(entry) for entry in wanted]
        if permissions and permissions[0].access != "n" and permissions[0].domid:
            permissions.insert(0, Permission(0, "n"))
        if names_any_domain(permissions) and self._is_any_domain_deadly():
            raise _errno_error(errno.EINVAL)
        self._call(r.SetPermissions(path, permissions), tx_id)

    # Watches.

    def watch(self, *args: Any, **keywords: Any) -> None:
        """watch(path, token): an event for every change of the node and of those below it, and one at once.

        The token is any object, and told by identity.
        """
        path, token = self._parse(_WATCH, args, keywords)
        watched = self._watches.add(path, token)
        if watched is None:
            raise _errno_error(errno.EEXIST)
        try:
            self._call(r.Watch(path, watched.name, None))
        except BaseException:
            self._watches.remove(watched)
            raise

    def unwatch(self, *args: Any, **keywords: Any) -> None:
        """unwatch(path, token): take a watch away; none of its events is delivered any more."""
        path, token = self._parse(_UNWATCH, args, keywords)
        for watched in self._watches.find(path, token):
            try:
                self._call(r.Unwatch(path, watched.name))
            except Error as error:
                if error.args[0] != errno.ENOENT:
                    raise
            else:
                self._watches.remove(watched)
                return
        self._call(r.Unwatch(path, _NO_WATCH))  # the daemon's refusal is the answer

    def read_watch(self, *args: Any, **keywords: Any) -> tuple[str, Any]:
        """read_watch(): wait for an event; the path that changed, and the token of the watch."""
        self._parse(_READ_WATCH, args, keywords)
        while True:
            found = self._next_event(None)
            if found is not None:
                return found

    def check_watch(self, *args: Any, **keywords: Any) -> tuple[str, Any] | None:
        """check_watch(): the next event, as ``read_watch`` gives it, or None where there is none now."""
        self._parse(_CHECK_WATCH, args, keywords)
        return self._next_event(0.0)

    def fileno(self, *args: Any, **keywords: Any) -> int:
        """fileno(): a descriptor that is readable while there are events."""
        self._parse(_FILENO, args, keywords)
        try:
            return self._use(lambda backend: backend.fileno())
        except XenStoreError as error:
            raise _error(error) from None

    # Transactions.

    def transaction_start(self, *args: Any, **keywords: Any) -> str:
        """transaction_start(): the id of a new transaction, for the methods that take one."""
        self._parse(_TRANSACTION_START, args, keywords)
        return f"{self._call(r.TransactionStart()):X}"

    def transaction_end(self, *args: Any, **keywords: Any) -> bool:
        """transaction_end(transaction, abort=0): commit, unless `abort`; False where it is to be tried again."""
        self._current()
        tx_id, abort = parse_keywords(_TRANSACTION_END, args, keywords)
        try:
            self._call(r.TransactionEnd(commit=not abort), tx_id)
        except Error as error:
            if error.args[0] == errno.EAGAIN:
                return False
            raise
        return True

    # Domains.

    def introduce_domain(self, *args: Any, **keywords: Any) -> None:
        """introduce_domain(dom, page, port): tell the daemon of a domain, its store page and its event channel."""
        domid, page, port = self._parse(_INTRODUCE_DOMAIN, args, keywords)
        self._call(r.Introduce(domid & _UINT_MAX, page & _ULONG_MAX, port & _UINT_MAX))

    def set_target(self, *args: Any, **keywords: Any) -> None:
        """set_target(dom, target): let a domain act on the nodes of another."""
        domid, target = self._parse(_SET_TARGET, args, keywords)
        self._call(r.SetTarget(domid & _UINT_MAX, target & _UINT_MAX))

    def resume_domain(self, *args: Any, **keywords: Any) -> None:
        """resume_domain(dom): tell the daemon that a domain runs again, so that its next shutdown is seen."""
        (domid,) = self._parse(_RESUME_DOMAIN, args, keywords)
        self._call(r.Resume(domid & _UINT_MAX))

    def release_domain(self, *args: Any, **keywords: Any) -> None:
        """release_domain(dom): tell the daemon that a domain is gone."""
        (domid,) = self._parse(_RELEASE_DOMAIN, args, keywords)
        if domid == 0:  # oxenstored would remove nodes of it
            raise _errno_error(errno.EINVAL)
        try:
            self._run(programs.release_domain(domid & _UINT_MAX))
        except XenStoreError as error:
            raise _error(error) from None

    def get_domain_path(self, *args: Any, **keywords: Any) -> str:
        """get_domain_path(dom): where the nodes of a domain are, whether there is such a domain or not."""
        (domid,) = self._parse(_GET_DOMAIN_PATH, args, keywords)
        return self._call(r.GetDomainPath(domid & _UINT_MAX))

    # The end.

    def close(self, *args: Any, **keywords: Any) -> None:
        """close(): end the connection and its watches. Every later call raises ``Error(22, 'Invalid argument')``."""
        self._parse(_CLOSE, args, keywords)
        backend = self._current()
        self._backend = None
        self._read_through(0)
        backend.close()
        self._watches.clear()

    def _let_go(self) -> None:
        """End all connections; one is not over as long as somebody reads through it."""
        for backend in self._opened:
            backend.close()

    # How requests are carried.

    def _parse(self, signature: Signature, args: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
        signature.check_call(args, keywords)
        self._current()
        return signature.parse(args)

    def _current(self) -> Backend:
        backend = self._backend
        if backend is None:
            raise _errno_error(errno.EINVAL)
        return backend

    def _call(self, request: Request[T], tx_id: int = 0) -> T:
        try:
            return self._carry(request, tx_id)
        except XenStoreError as error:
            raise _error(error) from None

    def _find_node(self, request: Request[T], tx_id: int) -> T | None:
        """:meth:`_call`, but None where there is no such node."""
        try:
            return self._carry(request, tx_id)
        except NodeNotFoundError:
            return None
        except XenStoreError as error:
            raise _error(error) from None

    def _run(self, program: Program[T], tx_id: int = 0) -> T:
        return programs.run(program, lambda request: self._carry(request, tx_id))

    def _is_any_domain_deadly(self) -> bool:
        """Whether permissions for DOMID_ANY would end the daemon."""
        try:
            return self._use(lambda backend: self._any_domain.is_deadly())
        except XenStoreError as error:
            raise _error(error) from None

    def _carry(self, request: Request[T], tx_id: int) -> T:
        return self._use(lambda backend: backend.call(request, tx_id))

    def _use(self, use: Callable[[Backend], T]) -> T:
        """Let `use` have the backend: in a child process, one of the child's own."""
        backend = self._current()
        try:
            return use(backend)
        except ForkedError:
            return use(self._reopen(backend))

    def _next_event(self, timeout: float | None) -> tuple[str, Any] | None:
        """The next event of a watch that is set; None where none came in time."""
        try:
            while True:
                event = self._use(lambda backend: backend.next_event(timeout))
                if event is None:
                    return None
                watched = self._watches.by_name(event.token)
                if watched is not None:
                    return event.path, watched.token
        except ConnectionLostError:
            raise _errno_error(errno.EINVAL) from None
        except XenStoreError as error:
            raise _error(error) from None

    # Opening.

    def _open(self) -> Backend:
        try:
            backend = open_backend()
        except XenStoreError as error:
            raise _error(error) from error
        self._opened.append(backend)
        self._any_domain = AnyDomain(backend)
        self._backend = backend
        self._read_through(backend.use if isinstance(backend, LibraryBackend) else 0)
        return backend

    def _reopen(self, before: Backend) -> Backend:
        """A connection of this process's own, where `before` is its parent's; it has no watches and no transactions."""
        with self._opening:
            current = self._current()
            if current is not before:
                return current  # another thread was faster
            self._watches = TokenTable()
            return self._open()


def _permission(entry: object) -> Permission:
    if not isinstance(entry, dict):
        raise TypeError(f"a permission must be dict, not {type(entry).__name__}")
    domid, read, write = parse_keywords(_PERMISSION, (), entry)
    return Permission(domid & _UINT_MAX, "nrwb"[bool(read) + 2 * bool(write)])


def _signed(domid: int) -> int:
    """A domid as a C int."""
    return domid if domid <= _INT_MAX else domid - _UINT_MAX - 1


def _error(error: XenStoreError) -> Error:
    """What the C module raises in the case of `error`."""
    if isinstance(error, ConnectionLostError):
        return _errno_error(errno.EBADF)  # the first call after the daemon's death says EPIPE there
    number = error.errno
    if number is None or isinstance(error, ClientClosedError):
        number = errno.EINVAL
    elif number == errno.EDQUOT or error.wire_name not in (None, wire_name(number)):
        number = errno.EINVAL  # as libxenstore reads a name that it does not know
    return _errno_error(number)


def _errno_error(number: int) -> Error:
    return Error(number, os.strerror(number))
