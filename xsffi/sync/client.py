"""The client: the object through which a program uses the store."""

from __future__ import annotations

import os
import warnings

from ..addresses import Kind
from ..backends.selection import open_backend
from ..errors import closed_error
from ..lazy import lazy_module
from ..options import validate_attempts, validate_timeout
from ..paths import validate
from ..protocol.safeguards import AnyDomain
from ..protocol.watch_table import ITSELF
from .nodes import NodeOperations
from .operations import DomainVerbs
from .transaction import Transactions
from .watches import Watches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Any, SupportsIndex

    from ..backends.base import Backend
    from ..protocol import conditions, loading
    from ..protocol.conditions import Condition, Wanted
    from ..protocol.requests import Request
    from ..records import Node, WatchEvent
    from ..static_types import T
    from . import mirror as mirrors
    from . import pipeline, trees, waiting
    from .mirror import Mirror
    from .pipeline import Pipeline
    from .transaction import Transaction
    from .watches import Callback, Watch
else:
    conditions = lazy_module("xsffi.protocol.conditions")
    loading = lazy_module("xsffi.protocol.loading")
    mirrors = lazy_module("xsffi.sync.mirror")
    pipeline = lazy_module("xsffi.sync.pipeline")
    trees = lazy_module("xsffi.sync.trees")
    waiting = lazy_module("xsffi.sync.waiting")

__all__ = ["Client"]


class Client(NodeOperations, DomainVerbs):
    """A connection to the store. Threads may share it; it ends with :meth:`close` or with a ``with`` block.

    A child process must open its own client: its parent's raises :class:`~xsffi.errors.ForkedError` there. Once the
    daemon is gone, every call raises :class:`~xsffi.errors.ConnectionLostError`, including those that are waiting.
    """

    backend: Backend  #: carries the requests; ``backend.name`` is "libxenstore" or "wire"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        timeout: float | None = None,
        connections: int | None = None,
    ) -> None:
        """Connect.

        :param path: the daemon's unix socket or the kernel's device; by default, where libxenstore would look:
            ``XENSTORED_PATH``, ``XENSTORED_RUNDIR``, then the default places.
        :param backend: "libxenstore", "wire", or "auto": libxenstore if it loads, otherwise the wire; ``XSFFI_BACKEND``
            overrides "auto".
        :param timeout: how many seconds a request may take before it raises :class:`~xsffi.errors.WaitTimeoutError`;
            None: no limit. Only the wire supports this, so "auto" then means the wire.
        :param connections: the most connections to the daemon's socket to use for bulk work (:meth:`read_many`,
            :meth:`exists_many`, :meth:`walk`, :meth:`dump`, :meth:`load`), from 1 to 16. Further ones are opened once
            thousands of nodes are involved, and are kept until the client is closed; if they cannot be opened, fewer
            are used. None: ``XSFFI_CONNECTIONS``, by default 4, or 1 without the C extension.

        Raises :class:`~xsffi.errors.BackendUnavailableError`, which lists what was tried, if it cannot connect, and
        :class:`~xsffi.errors.NotSupportedError` if libxenstore is requested by name and does not support the given
        `path` or `timeout`.
        """
        validate_timeout(timeout)
        self.backend = open_backend(backend, None if path is None else os.fsdecode(path), timeout, connections)
        self._closed = False
        self._owner = os.getpid()
        self._timeout = timeout
        self._any_domain = AnyDomain(self.backend.kind == Kind.SOCKET)
        self._watches = Watches(self.backend)
        self._transactions = Transactions(self.backend, self._any_domain)
        self._waits_opened: list[waiting.Waits] = []  # the first is used; others lost a race
        self._mirrors_opened: list[mirrors.Mirrors] = []  # the first is used; others lost a race
        self._connections = connections

    def read(self, path: str) -> bytes:  # noqa: D102 - as in NodeVerbs, but faster
        return self.backend.read(path)

    # Transactions.

    def transaction(self) -> Transaction:
        """Start a transaction: ``with client.transaction() as t: t.write(…)``. Several may be open at once.

        Raises :class:`~xsffi.errors.QuotaExceededError` if a guest has too many open, and ConnectionLostError if the
        daemon is gone. If its start is interrupted, it is aborted.
        """
        return self._transactions.start()

    def transact(self, function: Callable[[Transaction], T], attempts: int = 10) -> T:
        """Call ``function(transaction)``, commit, and return its result; on a conflict, start over.

        So `function` may be called several times. After `attempts` calls, the last
        :class:`~xsffi.errors.TransactionConflictError` is raised. Any other exception aborts the transaction and
        propagates. From the second conflict on, it sleeps for up to 0.1 seconds before it retries.
        """
        return self._transactions.repeat(function, attempts)

    # Many at once.

    def pipeline(self, transaction: bool = False, attempts: int = 1) -> Pipeline:
        """Pipeline many operations: ``with client.pipeline() as p: p.read(…); p.write(…)``, then ``p.results``.

        With `transaction`, either all of them take effect or none; on a conflict they are retried, up to `attempts`
        times in all. They go over one connection, in order. With the libxenstore backend, which has only one request in
        flight at a time, that is a wire connection of the client to the same daemon, as for :meth:`read_many`,
        :meth:`walk`, :meth:`dump` and :meth:`load`.

        Raises ConnectionLostError if the daemon is gone.
        """
        validate_attempts(attempts)
        if not transaction:
            return pipeline.Pipeline(self, self._any_domain)
        return pipeline.Pipeline(self, self._any_domain, Transactions(self.backend.bulk(), self._any_domain), attempts)

    def dump(self, top: str = "/", attempts: int = 10) -> list[Node]:
        """The whole tree from `top` down as it was at one moment, parents before children.

        What changes meanwhile is read again; after `attempts` rounds, :class:`~xsffi.errors.TransactionConflictError`
        is raised. Two temporary watches report those changes, one of them the release of domains; their events do not
        appear among this client's. For a guest that has used up its watches, it raises what :meth:`watch` does.

        Consistency relies on the daemon reporting every change. There is one that it does not report: nodes created
        implicitly above a new node that is removed again within the same transaction. A dump at that moment may lack
        them.
        """
        validate(top)
        validate_attempts(attempts)
        return trees.snapshot(self.backend.bulk(), top, attempts, self._timeout)

    def load(self, nodes: Iterable[Node], *, allow_any_domain: bool = False) -> None:
        """Write nodes, as returned by :meth:`dump` and :meth:`xsffi.testing.EmbeddedStore.dump`, with their values and
        permissions. Other existing nodes are left alone.

        It is not a transaction: in xenstored that would take time quadratic in the number of nodes. Nodes are written
        some thousand at a time: if one of these is invalid, none of them is written; an error from the daemon is raised
        once all of them have been tried. `allow_any_domain` is that of :meth:`set_permissions`.
        """
        self._do(loading.load(self._any_domain, nodes, allow_any_domain=allow_any_domain))

    # Watches.

    def watch(
        self,
        path: str,
        token: Any = ITSELF,
        callback: Callback | None = None,
        depth: int | None = None,
        try_depth: bool = False,
    ) -> Watch:
        """Watch `path` and everything below it. One event arrives immediately, whether the node exists or not.

        :param path: a node, which need not exist, or ``@introduceDomain`` or ``@releaseDomain``. With a relative path,
            events have relative paths.
        :param token: any object; events carry that very object. It is compared by identity, and kept until the watch
            ends. By default, the watch itself.
        :param callback: what :meth:`run` calls with each event of this watch.
        :param depth: how many levels below `path` to include: 0 means only the node. Since Xen 4.22; raises
            NotSupportedError if the daemon is older, or does not grant it to this domain.
        :param try_depth: use the depth if the daemon supports it, otherwise none; ``depth`` of the watch tells which.

        Raises :class:`~xsffi.errors.WatchExistsError` if the same path is already watched with the same token,
        :class:`~xsffi.errors.QuotaExceededError` or TooBigError if a guest has set too many, and ConnectionLostError if
        the daemon is gone. If setting it fails or is interrupted, no watch is left behind.
        """
        return self._watches.add(path, token, callback, depth, try_depth)

    def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Wait until a condition is true, and return its first true result.

        :param condition: a plain function of a :class:`~xsffi.protocol.conditions.View`, which has ``read``, ``get``,
            ``ls``, ``exists``, ``get_permissions``, ``view[path]`` and ``path in view``. Its result must depend only on
            what it reads there, and it must have no side effects. It runs again whenever any of that has changed,
            including a listing or the absence of a node, and sees nodes as they are at one moment; so a short-lived
            state may be missed, but never the last one. At first it runs several times, once for each node it comes to,
            until everything it reads is known. :mod:`xsffi.conditions` has common ones.
        :param timeout: how many seconds to wait (None: no limit) before :class:`~xsffi.errors.WaitTimeoutError` is
            raised. A check that has begun by then may take another second; over libxenstore, until the daemon replies.

        An exception from the condition ends the wait; ValueError is raised if it looks at no node at all. The watches
        it needs are shared with other waits of this client, do not appear among its events, and are always removed in
        the end. Raises what :meth:`watch` does if one cannot be set, and ConnectionLostError if the daemon is gone.
        """
        return self._waits.wait(condition, timeout)

    def wait_for(self, path: str, value: Wanted, timeout: float | None = None) -> bytes | None:
        """Wait until a node has a value, and return that value.

        :param path: the node, which need not exist.
        :param value: bytes as they are, a str as UTF-8; None waits until there is no such node; or a function that is
            given the value, or None if there is no node, and returns whether to stop waiting.
        :param timeout: as for :meth:`wait`, on which this is based, and whose errors it raises.
        """
        return self.wait(conditions.value_of(path, value), timeout)[0]

    def mirror(self, top: str = "/", reconnect: bool = False) -> Mirror:
        """A tree in memory, kept up to date by a watch: ``with xs.mirror(top) as mirror: mirror.update()``.

        :param top: the topmost node to mirror, which need not exist.
        :param reconnect: let the mirror outlive the connection, unlike this client: once the daemon is gone, the mirror
            opens its own connection to the same place as soon as a daemon answers there, and reports the differences as
            changes.

        It is a mapping from paths to nodes, as :meth:`dump` would return them; if `top` does not exist, it is empty.
        The initial tree is not reported as changes. Its watches, of `top` and of the release of domains, do not appear
        among the events of this client. Raises as :meth:`dump` does: :class:`~xsffi.errors.AccessDeniedError` if a node
        may not be read, :class:`~xsffi.errors.TransactionConflictError` if the tree kept changing, what :meth:`watch`
        raises for a guest that has used up its watches, and ConnectionLostError if the daemon is gone.
        """
        validate(top)
        if not self._mirrors_opened:
            self._mirrors_opened.append(mirrors.Mirrors(self.backend, self._timeout, self._connections))
        return self._mirrors_opened[0].add(top, reconnect, self)  # if threads race, the first one's

    def unwatch(self, watch: Watch) -> None:
        """Remove a watch; events still in flight are not delivered. Raises NodeNotFoundError if it is not set, and
        ConnectionLostError if the daemon is gone."""
        self._watches.remove(watch)

    def reset_watches(self) -> None:
        """Remove all watches, and abort all transactions, of this connection. Only the wire backend supports this; over
        libxenstore it raises NotSupportedError."""
        self._watches.reset()
        for waits in self._waits_opened[:1]:
            waits.set_again()
        for opened in self._mirrors_opened[:1]:
            opened.set_again()

    def fileno(self) -> int:
        """A descriptor for select, poll, epoll or an event loop: readable whenever :meth:`check_watch` would return an
        event, and once the daemon is gone; sometimes also when there is no event. Do not read from it or close it.
        Raises ConnectionLostError if the daemon is gone before the first call."""
        return self._watches.fileno()

    def check_watch(self) -> WatchEvent | None:
        """The next event, or None immediately if there is none. If the daemon is gone, raises ConnectionLostError after
        all earlier events."""
        return self._watches.check()

    def read_watch(self, timeout: float | None = None) -> WatchEvent:
        """Wait for the next event; after `timeout` seconds (None: no limit), raise
        :class:`~xsffi.errors.WaitTimeoutError`.

        Ctrl-C and :meth:`close` end the wait; if the daemon is gone, ConnectionLostError is raised after all earlier
        events. Callbacks are not called; requests of other threads are not delayed.
        """
        validate_timeout(timeout)
        return self._watches.read(timeout)

    def events(self, timeout: float | None = None) -> Iterator[WatchEvent]:
        """Iterate over events until none has arrived for `timeout` seconds (None: no limit). Raises as
        :meth:`read_watch` does, except for the timeout."""
        validate_timeout(timeout)
        return self._watches.events(timeout)

    def run(
        self, timeout: float | None = None, *, otherwise: Callback | None = None, raise_errors: bool = False
    ) -> None:
        """Read events and call the callbacks of their watches, until :meth:`stop` is called or `timeout` seconds have
        passed (None: no limit).

        It takes every event of this client: `otherwise` is called for those whose watch has no callback; without it
        they are dropped, with a warning in the log ``xsffi``. Callbacks run in this thread, with no lock held, and may
        do anything. An exception from one is logged and the loop continues, unless `raise_errors` is set. Raises
        RuntimeError if it is already running, ConnectionLostError if the daemon is gone, and ClientClosedError once the
        client is closed.
        """
        validate_timeout(timeout)
        self._watches.run(timeout, otherwise, raise_errors)

    def stop(self) -> None:
        """End :meth:`run` once the current callback returns, or the next run() if none is running. Safe in any thread,
        signal handler and finalizer; takes no lock, and raises nothing."""
        self._watches.stop()

    # Closing.

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Close the connection: the daemon forgets its watches and transactions, and every waiting thread gets a
        :class:`~xsffi.errors.ClientClosedError`. Idempotent. Safe in any thread, signal handler and finalizer; takes no
        lock, does not wait, and raises nothing if the daemon is gone."""
        self._closed = True
        self.backend.close()
        self._watches.close()
        for opened in self._mirrors_opened[:1]:
            opened.close()

    def __enter__(self) -> Client:
        """Raises :class:`~xsffi.errors.ClientClosedError` if it is already closed."""
        if self._closed:
            raise closed_error()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_closed", True) or self._owner != os.getpid():
            return
        try:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
        finally:
            self.close()  # even if warnings are errors

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a client is a connection: it cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<xsffi.Client {self.backend.name}{' closed' if self._closed else ''}>"

    @property
    def _waits(self) -> waiting.Waits:
        if not self._waits_opened:
            self._waits_opened.append(waiting.Waits(self.backend))
        return self._waits_opened[0]  # if threads race, the first one's

    def _call(self, request: Request[T]) -> T:
        return self.backend.call(request)

    def _call_many(self, requests: Sequence[Request[Any]]) -> list[Any]:
        return self.backend.bulk().call_many(requests)
