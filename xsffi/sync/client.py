"""The client: the one object that a program talks to the store through."""

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
    """A connection to the store. It may be shared by threads; it ends by :meth:`close` or with a ``with`` block.

    A child process opens a client of its own: one of its parent's raises :class:`~xsffi.errors.ForkedError` there. Once
    the daemon is gone, everything raises :class:`~xsffi.errors.ConnectionLostError`, and whatever waits ends with it.
    """

    backend: Backend  #: what carries the requests; ``backend.name`` is "libxenstore" or "wire"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        timeout: float | None = None,
        connections: int | None = None,
    ) -> None:
        """Connect.

        :param path: the daemon's unix socket or the kernel's device; by default, where libxenstore would look:
            ``XENSTORED_PATH``, ``XENSTORED_RUNDIR``, the usual places.
        :param backend: "libxenstore", "wire", or "auto": libxenstore where it loads, else the wire; ``XSFFI_BACKEND``
            decides for "auto".
        :param timeout: how many seconds a request may take before it raises :class:`~xsffi.errors.WaitTimeoutError`;
            None: any time. Only the wire can do this, so it decides for "auto" too.
        :param connections: over how many connections to the daemon's socket bulk work may go (:meth:`read_many`,
            :meth:`exists_many`, :meth:`walk`, :meth:`dump`, :meth:`load`), from 1 to 16. Further ones are opened when
            there are thousands of nodes to do, kept, and closed with the client; where they cannot be had, it is done
            with fewer. None: what ``XSFFI_CONNECTIONS`` says, or else 4, and 1 without the C extension.

        Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried, where there is no way to the
        store, and :class:`~xsffi.errors.NotSupportedError` where libxenstore is asked for by name and cannot do what
        `path` or `timeout` asks.
        """
        validate_timeout(timeout)
        self.backend = open_backend(backend, None if path is None else os.fsdecode(path), timeout, connections)
        self._closed = False
        self._owner = os.getpid()
        self._timeout = timeout
        self._any_domain = AnyDomain(self.backend.kind == Kind.SOCKET)
        self._watches = Watches(self.backend)
        self._transactions = Transactions(self.backend, self._any_domain)
        self._waits_opened: list[waiting.Waits] = []  # the first of them is that of all waits
        self._mirrors_opened: list[mirrors.Mirrors] = []  # the first of them is that of all mirrors
        self._connections = connections

    def read(self, path: str) -> bytes:  # noqa: D102 - NodeVerbs says it; this is its faster way
        return self.backend.read(path)

    # Transactions.

    def transaction(self) -> Transaction:
        """Start a transaction: ``with client.transaction() as t: t.write(…)``. There may be several at once.

        Raises :class:`~xsffi.errors.QuotaExceededError` where a guest has as many as it may, and ConnectionLostError
        where the daemon is gone. One whose start is interrupted is not left behind.
        """
        return self._transactions.start()

    def transact(self, function: Callable[[Transaction], T], attempts: int = 10) -> T:
        """Call ``function(transaction)``, commit, and return what it returned; on a conflict, all of it again.

        `function` may so be called several times. After `attempts` calls the last
        :class:`~xsffi.errors.TransactionConflictError` is raised. Any other exception aborts the transaction and is
        raised. From the second conflict on it sleeps before it tries again, for up to 0.1 seconds.
        """
        return self._transactions.repeat(function, attempts)

    # Many at once.

    def pipeline(self, transaction: bool = False, attempts: int = 1) -> Pipeline:
        """Many operations at once: ``with client.pipeline() as p: p.read(…); p.write(…)``, then ``p.results``.

        With `transaction`, all of them take effect together or not at all, tried up to `attempts` times where others
        come in between. They go over one connection, in order. On the libxenstore backend, which has one request on its
        way at a time, that is a wire connection of the client's own to the same daemon, as it is for
        :meth:`read_many`, :meth:`walk`, :meth:`dump` and :meth:`load`.

        Raises ConnectionLostError where the daemon is gone.
        """
        validate_attempts(attempts)
        if not transaction:
            return pipeline.Pipeline(self, self._any_domain)
        return pipeline.Pipeline(self, self._any_domain, Transactions(self.backend.bulk(), self._any_domain), attempts)

    def dump(self, top: str = "/", attempts: int = 10) -> list[Node]:
        """The whole tree from `top` down as it was at one moment, parents before children.

        What others change meanwhile is read again; where that went on `attempts` times,
        :class:`~xsffi.errors.TransactionConflictError` is raised. A watch of its own tells of those changes, and one of
        the release of domains; their events do not show among those of this client. A guest that has set as many
        watches as it may gets what :meth:`watch` raises.

        That nothing is torn rests on the daemon's telling of each change. It tells nobody of nodes that are made with
        one below them, where that is removed again within the same transaction: a dump at that moment may lack them.
        """
        validate(top)
        validate_attempts(attempts)
        return trees.snapshot(self.backend.bulk(), top, attempts, self._timeout)

    def load(self, nodes: Iterable[Node], *, allow_any_domain: bool = False) -> None:
        """Write nodes, as :meth:`dump` and :meth:`xsffi.testing.EmbeddedStore.dump` give them, with their values and
        permissions. What is there beside them is left alone.

        It is no transaction: xenstored would take the square of the number of nodes for that. Some thousand go at a
        time: of those around one that breaks a rule none is written, and an error of the daemon's is raised once all of
        them were tried. `allow_any_domain` is that of :meth:`set_permissions`.
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
        """Be told of every change at `path` and below it. One event comes at once, whether there is a node or not.

        :param path: a node, there or not yet, or ``@introduceDomain`` or ``@releaseDomain``. With a relative path,
            events have relative paths.
        :param token: any object; events bring that very object. It is told apart by identity, and held until the watch
            ends. By default it is the watch itself.
        :param callback: what :meth:`run` calls with each event of this watch.
        :param depth: how many levels below `path` count: 0 is the node alone. Since Xen 4.22; NotSupportedError before,
            and where the domain that asks may not use it.
        :param try_depth: have this depth where the daemon knows it, and else none; ``depth`` of the watch tells which.

        Raises :class:`~xsffi.errors.WatchExistsError` where the same path is watched with the same token already, and
        :class:`~xsffi.errors.QuotaExceededError` or TooBigError where a guest has set too many; ConnectionLostError
        where the daemon is gone. A watch whose setting fails, or is interrupted, is not left behind.
        """
        return self._watches.add(path, token, callback, depth, try_depth)

    def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Wait until a condition is true, and give its first true result.

        :param condition: a plain function of a :class:`~xsffi.protocol.conditions.View`, which has ``read``, ``get``,
            ``ls``, ``exists``, ``get_permissions``, ``view[path]`` and ``path in view``: a function of what it reads
            there, without side effects. It is run again when any of that has changed, a listing or an absence too, and
            sees nodes as they are at one moment; so what lasts too short may be missed, the last state never. Until all
            that it reads is known it is run several times, once for each node that it comes to.
            :mod:`xsffi.conditions` has the commonest.
        :param timeout: how many seconds to wait (None: for ever); then :class:`~xsffi.errors.WaitTimeoutError` is
            raised. A look that was begun by then may take a second more; over libxenstore, until the daemon replies.

        What the condition raises ends the wait, and so does ValueError where it looks at no node at all. Its watches
        are shared with other waits of this client, do not show among its events, and are taken away in the end, however
        that comes. Raises what :meth:`watch` does where one cannot be set, and ConnectionLostError where the daemon is
        gone.
        """
        return self._waits.wait(condition, timeout)

    def wait_for(self, path: str, value: Wanted, timeout: float | None = None) -> bytes | None:
        """Wait until a node has a value, and give that.

        :param path: the node, there or not.
        :param value: bytes as they are, a str as UTF-8; None waits until there is no such node; or a function that is
            given the value, None for no node, and tells whether that is it.
        :param timeout: as for :meth:`wait`, which this is.
        """
        return self.wait(conditions.value_of(path, value), timeout)[0]

    def mirror(self, top: str = "/", reconnect: bool = False) -> Mirror:
        """A tree in memory that is kept true by a watch: ``with xs.mirror(top) as mirror: mirror.update()``.

        :param top: the node from which on it has all nodes, there or not.
        :param reconnect: have the mirror outlive the connection, which this client does not: once the daemon is gone,
            the mirror opens a connection of its own to where this client was opened, as soon as one answers there, and
            tells the difference as changes.

        It is a mapping from paths to nodes, as :meth:`dump` would give them; a missing `top` is an empty mirror. The
        tree at the start is no change. Its watches, of `top` and of the release of domains, do not show among the
        events of this client. Raises as :meth:`dump` does: :class:`~xsffi.errors.AccessDeniedError` where a node may
        not be read, :class:`~xsffi.errors.TransactionConflictError` where it changed all the time, what :meth:`watch`
        raises for a guest that has set as many as it may, and ConnectionLostError where the daemon is gone.
        """
        validate(top)
        if not self._mirrors_opened:
            self._mirrors_opened.append(mirrors.Mirrors(self.backend, self._timeout, self._connections))
        return self._mirrors_opened[0].add(top, reconnect, self)  # of two threads that come at once, the first one's

    def unwatch(self, watch: Watch) -> None:
        """Take a watch away; events of it that are on their way are not delivered. Raises NodeNotFoundError if it is
        not set, and ConnectionLostError where the daemon is gone."""
        self._watches.remove(watch)

    def reset_watches(self) -> None:
        """Take away all watches, and end all transactions, of this connection. libxenstore has no call for this
        (NotSupportedError); the wire has."""
        self._watches.reset()
        for waits in self._waits_opened[:1]:
            waits.set_again()
        for opened in self._mirrors_opened[:1]:
            opened.set_again()

    def fileno(self) -> int:
        """A descriptor for select, poll, epoll or an event loop: it is readable whenever :meth:`check_watch` would
        return an event, and once the daemon is gone. It may be readable when there is none. It is not to be read from,
        nor closed. Raises ConnectionLostError where the daemon is gone before this is called first."""
        return self._watches.fileno()

    def check_watch(self) -> WatchEvent | None:
        """The next event, or None at once where there is none. Where the daemon is gone, raises ConnectionLostError
        once all that came before was given."""
        return self._watches.check()

    def read_watch(self, timeout: float | None = None) -> WatchEvent:
        """The next event; waits for `timeout` seconds (None: for ever), then raises
        :class:`~xsffi.errors.WaitTimeoutError`.

        Ctrl-C and :meth:`close` end the wait, and ConnectionLostError where the daemon is gone and all that came before
        was given. A callback is not called; requests of other threads are not held up.
        """
        validate_timeout(timeout)
        return self._watches.read(timeout)

    def events(self, timeout: float | None = None) -> Iterator[WatchEvent]:
        """Iterate over events, until none came for `timeout` seconds (None: for ever). Raises as :meth:`read_watch`
        does, but for the end of the time."""
        validate_timeout(timeout)
        return self._watches.events(timeout)

    def run(
        self, timeout: float | None = None, *, otherwise: Callback | None = None, raise_errors: bool = False
    ) -> None:
        """Read events and call the callbacks of their watches, until :meth:`stop` or for `timeout` seconds (None: for
        ever).

        It takes every event of this client: `otherwise` is called for those whose watch has no callback; without it
        they are dropped, with a warning in the log ``xsffi``. A callback runs in this thread, with no lock held, and
        may do anything. One that raises is reported in the log and the loop goes on, unless `raise_errors`. Raises
        RuntimeError where it is running already, ConnectionLostError where the daemon is gone, and ClientClosedError
        once the client is closed.
        """
        validate_timeout(timeout)
        self._watches.run(timeout, otherwise, raise_errors)

    def stop(self) -> None:
        """End :meth:`run` once the callback it is in returns, or the next run() if none is running. Any thread, any
        signal handler and any finalizer may call it; it takes no lock, and raises nothing."""
        self._watches.stop()

    # The end.

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Close the connection: the daemon forgets its watches and transactions, and every thread that waits gets a
        :class:`~xsffi.errors.ClientClosedError`. Closing again does nothing. Any thread, any signal handler and any
        finalizer may call it; it takes no lock, waits for nobody, and raises nothing where the daemon is gone."""
        self._closed = True
        self.backend.close()
        self._watches.close()
        for opened in self._mirrors_opened[:1]:
            opened.close()

    def __enter__(self) -> Client:
        """Raises :class:`~xsffi.errors.ClientClosedError` where it is closed already."""
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
            self.close()  # also where warnings are errors

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a client is a connection: it can be neither copied nor pickled")

    def __repr__(self) -> str:
        return f"<xsffi.Client {self.backend.name}{' closed' if self._closed else ''}>"

    @property
    def _waits(self) -> waiting.Waits:
        if not self._waits_opened:
            self._waits_opened.append(waiting.Waits(self.backend))
        return self._waits_opened[0]  # of two threads that come at once, the first one's

    def _call(self, request: Request[T]) -> T:
        return self.backend.call(request)

    def _call_many(self, requests: Sequence[Request[Any]]) -> list[Any]:
        return self.backend.bulk().call_many(requests)
