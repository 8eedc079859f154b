"""``xen.lowlevel.xs`` for programs written for it: the class :class:`xs` and the exception :class:`Error`.

It behaves as the C module does, with the same types, values and errors, over either backend (``XSFFI_BACKEND`` in the
environment chooses). It only deviates from faults of the C module that no program can rely on; docs/coming-from.md
lists each deviation.

Arguments are positional only, named as in each method's docstring, except those of ``transaction_end``.
"""

from __future__ import annotations

import errno
import os

from ..addresses import Kind
from ..backends.libxenstore.backend import LibraryBackend
from ..backends.libxenstore.reading import Reading
from ..backends.selection import open_backend
from ..errors import ClientClosedError, ConnectionLostError, ForkedError, NodeNotFoundError, XenStoreError, wire_name
from ..lazy import lazy_module
from ..protocol.safeguards import AnyDomain, names_any_domain
from ..protocol.watch_table import Watched
from ..sync.watching import Watching
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .. import permissions
    from ..permissions import Permission
    from ..protocol import programs
    from ..protocol import requests as r
    from ..records import WatchEvent
    from ..static_types import T
else:
    permissions = lazy_module("xsffi.permissions")
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["Error", "xs"]

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
    """The exception for every failure: ``args`` are the errno, an int, and its text, a str."""

    __module__ = "xen.lowlevel.xs"


class _Connection:
    """A connection to the daemon, with its watches and state."""

    def __init__(self) -> None:
        self.backend = open_backend()
        self.any_domain = AnyDomain(self.backend.kind == Kind.SOCKET)
        self.watching: Watching[Watched] = Watching(self.backend)
        self.successors: list[_Connection] = []  # in a child process, the first is the one to use


class xs(Reading):
    """A connection to XenStore: ``xs(readonly=0)``; the argument no longer has any effect.

    A path is a str, a transaction what ``transaction_start`` returned, or ``""`` for none; a value is bytes, and may be
    written as a str. Every method, and ``xs()`` if there is no daemon, raises :class:`Error`: with the daemon's errno;
    with EINVAL after ``close``; with EBADF once the daemon is gone, or EINVAL if that ends a wait for events. Wrong
    arguments raise TypeError, ValueError or OverflowError. A child process gets a connection of its own, without
    watches and transactions.
    """

    __module__ = "xen.lowlevel.xs"
    __slots__ = ("_closed", "_connection")

    _closed: bool
    _connection: _Connection | None  # None until it is open

    def __new__(cls, *args: Any, **keywords: Any) -> xs:  # noqa: D102 - see __init__
        self = super().__new__(cls)
        self._closed = False
        self._connection = None
        return self

    def __init__(self, *args: Any, **keywords: Any) -> None:
        parse_keywords(_OPEN, args, keywords)
        before = self._connection
        try:
            self._use_from_here(_Connection())
        except XenStoreError as error:
            raise _error(error) from error
        self._closed = False
        if before is not None:
            _end(before)

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'xen.lowlevel.xs.xs' is not an acceptable base type")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("cannot pickle 'xen.lowlevel.xs.xs' object")

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.backend.close()

    # Nodes.

    def _read(self, *args: Any, **keywords: Any) -> bytes | None:
        # read() is the base class's; it calls this for every case that it does not handle itself.
        if self._closed and self._connection is not None:
            self._connection.backend.close()  # again: a read in C during close() may have been the last user
        tx_id, path = self._parse(_READ, args, keywords)
        return self._find_node(r.Read(path), tx_id)

    def write(self, *args: Any, **keywords: Any) -> None:
        """write(transaction, path, data): set the value of a node, which is created if it does not exist."""
        tx_id, path, value = self._parse(_WRITE, args, keywords)
        self._call(r.Write(path, value), tx_id)

    def ls(self, *args: Any, **keywords: Any) -> list[str] | None:
        """ls(transaction, path): the names of a node's children, or None if there is no such node."""
        tx_id, path = self._parse(_LS, args, keywords)
        try:
            return self._run(programs.directory(path), tx_id)
        except NodeNotFoundError:
            return None
        except XenStoreError as error:
            raise _error(error) from None

    def mkdir(self, *args: Any, **keywords: Any) -> None:
        """mkdir(transaction, path): create a node. An existing one is left as it is."""
        tx_id, path = self._parse(_MKDIR, args, keywords)
        self._call(r.Mkdir(path), tx_id)

    def rm(self, *args: Any, **keywords: Any) -> None:
        """rm(transaction, path): remove a node and everything below it, if it exists."""
        tx_id, path = self._parse(_RM, args, keywords)
        if path == b"/":  # oxenstored would wipe the whole store
            raise _errno_error(errno.EINVAL)
        self._find_node(r.Rm(path), tx_id)

    def get_permissions(self, *args: Any, **keywords: Any) -> list[dict[str, int]]:
        """get_permissions(transaction, path): a list of dicts with ``dom``, ``read`` (0 or 1), ``write`` (0 or 2)."""
        tx_id, path = self._parse(_GET_PERMISSIONS, args, keywords)
        entries = self._call(r.GetPermissions(path), tx_id)
        return [{"dom": _signed(p.domid), "read": int(p.readable), "write": 2 * p.writable} for p in entries]

    def set_permissions(self, *args: Any, **keywords: Any) -> None:
        """set_permissions(transaction, path, permissions): a list of dicts, as ``get_permissions`` returns.

        ``read`` and ``write`` may be missing. The first entry names the owner, who may do everything: if that is a
        domain other than 0 and the entry grants access, domain 0 becomes the owner.
        """
        tx_id, path, wanted = self._parse(_SET_PERMISSIONS, args, keywords)
        if not isinstance(wanted, list):
            raise _errno_error(errno.EINVAL)
        entries = [_permission(entry) for entry in wanted]
        if entries and entries[0].access != "n" and entries[0].domid:
            entries.insert(0, permissions.Permission(0, "n"))
        if names_any_domain(entries) and self._ask(_is_any_domain_deadly):
            raise _errno_error(errno.EINVAL)
        self._call(r.SetPermissions(path, entries), tx_id)

    # Watches.

    def watch(self, *args: Any, **keywords: Any) -> None:
        """watch(path, token): an event for every change of the node and of those below it, and one immediately.

        The token may be any object, and is compared by identity.
        """
        path, token = self._parse(_WATCH, args, keywords)

        def watch(connection: _Connection) -> bool:
            watching = connection.watching
            watched = Watched(_text(path), token, watching.new_token())
            return watching.set(watched, r.Watch(path, watched.wire_token, None))

        if not self._ask(watch):
            raise _errno_error(errno.EEXIST)

    def unwatch(self, *args: Any, **keywords: Any) -> None:
        """unwatch(path, token): remove a watch; none of its events is delivered any more."""
        path, token = self._parse(_UNWATCH, args, keywords)

        def unwatch(connection: _Connection) -> None:
            for watched in connection.watching.table.find(_text(path), token):
                try:
                    connection.watching.remove(watched, path)
                except NodeNotFoundError:
                    continue  # its path is another one
                return
            connection.backend.call(r.Unwatch(path, _NO_WATCH))  # raises the daemon's error

        self._ask(unwatch)

    def read_watch(self, *args: Any, **keywords: Any) -> tuple[str, Any]:
        """read_watch(): wait for an event; returns the path that changed, and the token of the watch."""
        self._parse(_READ_WATCH, args, keywords)
        while True:
            event = self._next_event(None)
            if event is not None:
                return event.path, event.token

    def check_watch(self, *args: Any, **keywords: Any) -> tuple[str, Any] | None:
        """check_watch(): the next event, as from ``read_watch``, or None if there is none now."""
        self._parse(_CHECK_WATCH, args, keywords)
        event = self._next_event(0.0)
        return None if event is None else (event.path, event.token)

    def fileno(self, *args: Any, **keywords: Any) -> int:
        """fileno(): a descriptor that is readable while there are events; do not read from it or close it."""
        self._parse(_FILENO, args, keywords)
        return self._ask(lambda connection: connection.watching.fileno())

    # Transactions.

    def transaction_start(self, *args: Any, **keywords: Any) -> str:
        """transaction_start(): the id of a new transaction, for the methods that take one."""
        self._parse(_TRANSACTION_START, args, keywords)
        return f"{self._call(r.TransactionStart()):X}"

    def transaction_end(self, *args: Any, **keywords: Any) -> bool:
        """transaction_end(transaction, abort=0): commit, unless `abort`; False if it must be retried."""
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
        """introduce_domain(dom, page, port): introduce a domain with its store page and its event channel."""
        domid, page, port = self._parse(_INTRODUCE_DOMAIN, args, keywords)
        self._call(r.Introduce(domid & _UINT_MAX, page & _ULONG_MAX, port & _UINT_MAX))

    def set_target(self, *args: Any, **keywords: Any) -> None:
        """set_target(dom, target): let a domain act on another domain's nodes."""
        domid, target = self._parse(_SET_TARGET, args, keywords)
        self._call(r.SetTarget(domid & _UINT_MAX, target & _UINT_MAX))

    def resume_domain(self, *args: Any, **keywords: Any) -> None:
        """resume_domain(dom): tell the daemon that a domain runs again, so that it notices its next shutdown."""
        (domid,) = self._parse(_RESUME_DOMAIN, args, keywords)
        self._call(r.Resume(domid & _UINT_MAX))

    def release_domain(self, *args: Any, **keywords: Any) -> None:
        """release_domain(dom): tell the daemon that a domain is gone."""
        (domid,) = self._parse(_RELEASE_DOMAIN, args, keywords)
        if domid == 0:  # oxenstored would remove some of its nodes
            raise _errno_error(errno.EINVAL)
        try:
            self._run(programs.release_domain(domid & _UINT_MAX))
        except XenStoreError as error:
            raise _error(error) from None

    def get_domain_path(self, *args: Any, **keywords: Any) -> str:
        """get_domain_path(dom): the path of a domain's nodes, whether the domain exists or not."""
        (domid,) = self._parse(_GET_DOMAIN_PATH, args, keywords)
        return self._call(r.GetDomainPath(domid & _UINT_MAX))

    # Closing.

    def close(self, *args: Any, **keywords: Any) -> None:
        """close(): close the connection; its watches end. Later calls raise ``Error(22, 'Invalid argument')``."""
        self._parse(_CLOSE, args, keywords)
        connection = self._current()
        self._closed = True
        self._read_through(None)
        _end(connection)

    # Sending requests.

    def _parse(self, signature: Signature, args: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
        signature.check_call(args, keywords)
        self._current()
        return signature.parse(args)

    def _current(self) -> _Connection:
        connection = self._connection
        if connection is None or self._closed:
            raise _errno_error(errno.EINVAL)
        return connection

    def _call(self, request: r.Request[T], tx_id: int = 0) -> T:
        return self._ask(lambda connection: connection.backend.call(request, tx_id))

    def _find_node(self, request: r.Request[T], tx_id: int) -> T | None:
        """:meth:`_call`, but None if there is no such node."""
        try:
            return self._carry(request, tx_id)
        except NodeNotFoundError:
            return None
        except XenStoreError as error:
            raise _error(error) from None

    def _run(self, program: programs.Program[T], tx_id: int = 0) -> T:
        return programs.run(program, lambda request: self._carry(request, tx_id))

    def _carry(self, request: r.Request[T], tx_id: int) -> T:
        return self._use(lambda connection: connection.backend.call(request, tx_id))

    def _ask(self, use: Callable[[_Connection], T]) -> T:
        """:meth:`_use`, with errors converted to the C module's."""
        try:
            return self._use(use)
        except XenStoreError as error:
            raise _error(error) from None

    def _use(self, use: Callable[[_Connection], T]) -> T:
        """Call `use` with the connection; in a child process, with one of the child's own."""
        connection = self._current()
        while True:
            try:
                return use(connection)
            except ForkedError:
                connection = self._successor_of(connection)

    def _next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event of a watch that is still set; None if none arrived in time."""
        try:
            found = self._use(lambda connection: connection.watching.next_event(timeout))
        except ConnectionLostError:
            raise _errno_error(errno.EINVAL) from None
        except XenStoreError as error:
            raise _error(error) from None
        return None if found is None else found[0]

    def _successor_of(self, before: _Connection) -> _Connection:
        """A connection of this child process's own, in place of its parent's; it has no watches or transactions."""
        if not before.successors:
            # If two threads race, the first to append its connection wins.
            after = _Connection()
            before.successors.append(after)
            if before.successors[0] is after:
                self._use_from_here(after)
            else:
                after.backend.close()
        if self._closed:  # by another thread meanwhile
            _end(before.successors[0])
        return before.successors[0]

    def _use_from_here(self, connection: _Connection) -> None:
        self._connection = connection
        backend = connection.backend
        self._read_through(backend.reader if isinstance(backend, LibraryBackend) else None)


def _end(connection: _Connection) -> None:
    connection.backend.close()
    connection.watching.clear()


def _permission(entry: object) -> Permission:
    if not isinstance(entry, dict):
        raise TypeError(f"a permission must be dict, not {type(entry).__name__}")
    domid, read, write = parse_keywords(_PERMISSION, (), entry)
    return permissions.Permission(domid & _UINT_MAX, "nrwb"[bool(read) + 2 * bool(write)])


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _signed(domid: int) -> int:
    """A domid as a C int."""
    return domid if domid <= _INT_MAX else domid - _UINT_MAX - 1


def _is_any_domain_deadly(connection: _Connection) -> bool:
    return programs.run(connection.any_domain.is_deadly(), connection.backend.bulk().call_many)


def _error(error: XenStoreError) -> Error:
    """The exception that the C module raises in the case of `error`."""
    if isinstance(error, ConnectionLostError):
        return _errno_error(errno.EBADF)  # in the C module, the first call after the daemon's death says EPIPE
    number = error.errno
    if number is None or isinstance(error, ClientClosedError):
        number = errno.EINVAL
    elif number == errno.EDQUOT or error.wire_name not in (None, wire_name(number)):
        number = errno.EINVAL  # as libxenstore does with a name that it does not know
    return _errno_error(number)


def _errno_error(number: int) -> Error:
    return Error(number, os.strerror(number))
