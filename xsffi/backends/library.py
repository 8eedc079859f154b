"""The backend over libxenstore: the binding, and what libxenstore leaves to its caller.

That is: the handle is freed only when no thread is inside it; a daemon's death is noticed, which libxenstore's own
descriptor does not show; waiting for events can be interrupted and ended; a child process leaves the handle alone.

A request is libxenstore's affair from its start to its end: it can be ended by :meth:`close`, and by the daemon's
death, but Ctrl-C takes effect only once the daemon has answered.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar, cast

from ..addresses import Kind, default_socket, kind_of
from ..errors import ClientClosedError, ConnectionLostError, NotSupportedError, XenStoreError, error_from_errno
from ..paths import encode
from ..protocol import requests as r
from ..protocol.requests import Request
from ..protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, check_payload_size
from ..records import WatchEvent
from .base import Backend, Outcome, closed_error, forked_error, tell_of_forks
from .bell import Bell, one_wait
from .extension import ffi, lib, shortcuts
from .libxenstore import LibXenStore
from .line import Line
from .transports import lost_error
from .wire import WireBackend, open_further

__all__ = ["LibraryBackend"]

T = TypeVar("T")

# What libxenstore says when it has lost the daemon, or given up the connection itself; the last is said of requests
# too.
_SAYS_LOST = (errno.EBADF, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EINVAL)
# How long, in seconds, the reader thread of libxenstore may take to hand on what came before the end of the stream.
_LAST_EVENTS = 0.1

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
    r.GetFeatures: lambda xs, tx, q: (
        xs.xs_get_features_supported() if q.domid is None else xs.xs_get_features_domain(q.domid)
    ),
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

_opening = threading.RLock()  # to open at a path of one's own changes the environment for that time


class LibraryBackend:
    """One handle of libxenstore (see :class:`~xsffi.backends.base.Backend`)."""

    name = "libxenstore"

    def __init__(self, path: str) -> None:
        """Open `path`, a socket or a device; raises OSError or XenStoreError where that fails."""
        self.kind = kind = kind_of(path)
        self._path = path
        self._bulk: WireBackend | None = None
        with _opening:
            self._xs = _open(path, kind)
        self._payload_max = PAYLOAD_MAX if kind is Kind.SOCKET else DEVICE_PAYLOAD_MAX
        self._line = Line(_own_descriptor(self._xs), path if kind is Kind.SOCKET else None)
        self._watched = False  # libxenstore has a reader thread
        self._bell = Bell()  # rung when it is over
        self._lock = threading.RLock()  # of the end, and of what is made when first wanted
        self._inside: set[object] = set()  # whoever uses the handle or a descriptor now
        self._calling: set[object] = set()  # those of them that may wait inside libxenstore
        self._over: Callable[[], XenStoreError] | None = None  # makes what every call raises, once there is something
        self._let_go = False  # the handle was freed
        self._readers = ffi.new("struct xsffi_use *")  # those that read in C alone
        self._readers.handle = self._xs.handle
        # What is in C has no step of Python; it gives an errno instead of a value, and False instead of an event, where
        # the usual way is to find out what is wrong.
        self._reader: Any = _NoReader() if shortcuts is None else shortcuts.Reader(self.use, self._readers)
        #: read() of the client starts with this (see :meth:`~xsffi.backends.base.Backend.finish_read`).
        self.try_read: Callable[[str], Any] = self._reader.read
        self._events: int | None = None
        self._readiness: select.epoll | None = None
        tell_of_forks(self)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if type(request) is r.Read:
            value = self._reader.value(tx_id, request.path)
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
        if type(request) is r.Watch:
            self._watched = True
        me = object()
        inside = self._inside
        calling = self._calling
        try:
            inside.add(me)
            calling.add(me)
            if self._over is not None:
                raise self._over()
            result: T = carry(self._xs, tx_id, request)
            return result
        except XenStoreError as error:
            if error.errno in _SAYS_LOST and not isinstance(error, ClientClosedError) and self._is_lost(error):
                raise self._reason() from error
            raise
        finally:
            calling.discard(me)
            inside.discard(me)
            if self._over is not None:
                self._let_go_if_unused()

    def finish_read(self, path: str, tried: Any) -> bytes:
        encoded = encode(path)
        if tried is not None:
            self._raise_refusal(tried, encoded)
        return self.call(r.Read(encoded))

    def _raise_refusal(self, number: int, path: bytes) -> None:
        """Raise the error that a read in C came to, if the daemon said it; else the usual way is to find out."""
        if self._over is not None:
            self._let_go_if_unused()  # it may have been the last one inside
        elif number not in _SAYS_LOST:
            raise error_from_errno(number, path.decode("utf-8", "surrogateescape"))

    @property
    def use(self) -> int:
        """What an object that reads in C is told (see :class:`~xsffi.backends.reading.Reading`)."""
        return int(ffi.cast("uintptr_t", self._readers))

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for request in requests:
            try:
                outcomes.append(self.call(request, tx_id))
            except XenStoreError as error:
                if self._over is not None:
                    raise
                outcomes.append(error)
        return outcomes

    def bulk(self) -> Backend:
        """libxenstore has one request on its way at a time: a wire connection of our own, opened when first wanted."""
        with self._lock:
            if self._over is not None:
                raise self._over()
            if self._bulk is None:
                self._bulk = self.sibling()
            return self._bulk

    def sibling(self) -> WireBackend:
        with self._lock:
            if self._over is not None:
                raise self._over()
        return open_further(self._path)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        event = self._reader.check_watch()
        if self._over is not None:
            self._let_go_if_unused()  # it may have been the last one inside
        if event:
            return WatchEvent(*event)
        if event is None and timeout == 0 and self._over is None and not self._line.is_dead():
            return None
        return self._wait_for_event(timeout)

    def _wait_for_event(self, timeout: float | None) -> WatchEvent | None:
        deadline = None if timeout is None else monotonic() + timeout
        with self._use():
            events = self._events_descriptor()
            while True:
                event = self._check_watch()
                if event is not None:
                    return event
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    return None
                self._poll(events, remaining)
                if self._over is not None:
                    raise self._over()

    def fileno(self) -> int:
        with self._use(), self._lock:
            if self._readiness is None:
                readiness = select.epoll()
                readiness.register(self._events_descriptor(), select.EPOLLIN)
                readiness.register(self._bell.fileno(), select.EPOLLIN)
                self._line.watch(readiness)
                self._readiness = readiness
            return self._readiness.fileno()

    def close(self) -> None:
        with self._lock:
            if self._over is not closed_error and self._over is not forked_error:
                self._end(closed_error)
                if self._bulk is not None:
                    self._bulk.close()
        self._let_go_if_unused()  # also when closed again: what reads in C may have been inside at the first time

    def after_fork_in_child(self) -> None:
        self._over = forked_error
        self._lock = threading.RLock()  # another thread of the parent may have had it
        if not self._let_go:
            self._let_go = True
            lib.xsffi_end_use(self._readers)
            self._xs.xs_daemon_destroy_postfork()
            self._close_descriptors()

    # Events.

    def _check_watch(self) -> WatchEvent | None:
        if self._over is closed_error:
            raise closed_error()
        try:
            event = self._xs.xs_check_watch()
            if event is None and self._line.is_dead():
                event = self._last_event()
        except XenStoreError as error:
            self._lose()
            raise self._reason() from error
        return event

    def _last_event(self) -> WatchEvent | None:
        """The daemon is gone, and libxenstore's reader may not yet have handed on all that came before: raises if it
        has."""
        deadline = monotonic() + _LAST_EVENTS
        while monotonic() < deadline:
            event = self._xs.xs_check_watch()  # once all is handed on, this says EINVAL
            if event is not None:
                return event
            select.select((), (), (), 0.001)
        raise lost_error()

    def _poll(self, events: int, timeout: float | None) -> None:
        poll = select.poll()
        poll.register(events, select.POLLIN)
        poll.register(self._bell.fileno(), select.POLLIN)
        self._line.watch(poll)
        poll.poll(one_wait(timeout) * 1000)

    def _events_descriptor(self) -> int:
        with self._lock:
            if self._events is None:
                self._events = self._xs.xs_fileno()
            return self._events

    # The end.

    @contextmanager
    def _use(self) -> Iterator[None]:
        """Keep the handle and the descriptors alive meanwhile; raises where it is over already."""
        me = object()
        try:
            self._inside.add(me)
            if self._over is closed_error or self._over is forked_error:
                raise self._over()
            yield  # where it is lost, there may be events still
        finally:
            self._inside.discard(me)
            if self._over is not None:
                self._let_go_if_unused()

    def _reason(self) -> XenStoreError:
        return self._over() if self._over is not None else lost_error()

    def _is_lost(self, error: XenStoreError) -> bool:
        """Whether a request failed because the connection is lost or closed; it is over then."""
        if self._over is not None:
            return True
        if error.errno == errno.EINVAL and not self._line.is_dead():
            # Once its reader thread has seen the end of the stream, libxenstore says EINVAL to everything; the daemon
            # says it to a bad request. A good one tells.
            path = lib.xs_get_domain_path(self._xs.handle, 0)
            lib.free(path)
            if path:
                return False
        self._lose()
        return True

    def _lose(self) -> None:
        with self._lock:
            if self._over is None:
                self._end(_given_up_error if self._line.is_there and not self._line.is_dead() else lost_error)

    def _end(self, over: Callable[[], XenStoreError]) -> None:
        with self._lock:
            self._over = over
            self._bell.ring()
            reading = lib.xsffi_end_use(self._readers)
            if self._calling or reading:
                self._line.shut()  # a thread that waits inside libxenstore comes back from there

    def _let_go_if_unused(self) -> None:
        """Free the handle where it is closed and nobody is inside; whoever leaves last does it."""
        with self._lock:
            if self._let_go or self._inside or self._over is not closed_error:
                return
            if lib.xsffi_end_use(self._readers):
                return
            self._let_go = True
        self._end_reader()
        self._xs.xs_close()
        self._line.close_leftover()
        self._close_descriptors()

    def _end_reader(self) -> None:
        """Have libxenstore's reader thread, which the first watch starts, see the end of the stream and go.

        xs_close cancels it where it is, and what it had allocated for the next message is lost then.
        """
        if not self._watched or not self._line.is_own:
            return
        self._line.shut()
        deadline = monotonic() + _LAST_EVENTS
        try:
            while monotonic() < deadline:
                if self._xs.xs_check_watch() is None:
                    select.select((), (), (), 0.0002)
        except XenStoreError:
            pass  # EINVAL: it has gone

    def _close_descriptors(self) -> None:
        self._bell.close()
        if self._readiness is not None:
            self._readiness.close()
        self._line.close()


class _NoReader:
    """In the place of a reader in C: the usual way is to find out."""

    def read(self, path: str) -> None:
        return None

    def value(self, tx_id: int, path: bytes) -> int:
        return errno.EBADF

    def check_watch(self) -> bool:
        return False


def _given_up_error() -> ConnectionLostError:
    return ConnectionLostError(
        errno.ECONNRESET,
        "libxenstore gave up the connection; it does so where a reply has more than 4096 bytes, "
        "as oxenstored sends them for long directories (the wire backend takes them)",
    )


def _open(path: str, kind: Kind) -> LibXenStore:
    # Not XS_UNWATCH_FILTER: with it, xs_unwatch of 4.17 loses the text of each event that it drops.
    flags = lib.XS_OPEN_SOCKETONLY if kind is Kind.SOCKET else 0
    if kind is Kind.SOCKET and path == default_socket() and not os.environ.get("XENSTORED_PATH"):
        return LibXenStore(None, flags)
    return LibXenStore(os.fsencode(path), flags)


def _own_descriptor(xs: LibXenStore) -> int:
    """What should be the descriptor of the handle's own socket: see :class:`~xsffi.backends.line.Line`."""
    return int(ffi.cast("int *", xs.handle)[0])
