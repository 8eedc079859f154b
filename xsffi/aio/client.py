"""The client that is awaited: the one object that a program talks to the store through."""

from __future__ import annotations

import asyncio
import errno
import os
import warnings

from ..addresses import Kind
from ..errors import ClientClosedError, closed_error
from ..options import connections_from, validate_attempts, validate_timeout
from ..paths import validate
from ..protocol import conditions, loading
from ..protocol.safeguards import AnyDomain
from ..protocol.watch_table import ITSELF
from .mirror import Mirrors
from .nodes import NodeOperations
from .opening import Opening
from .operations import DomainVerbs
from .pipeline import Pipeline
from .selection import open_backend
from .transaction import Transactions
from .trees import snapshot
from .waiting import Waits
from .watches import Watches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, SupportsIndex

    from ..protocol.conditions import Condition, Wanted
    from ..protocol.requests import Request
    from ..records import Node, WatchEvent
    from ..static_types import T
    from .backend import Backend
    from .mirror import Mirror
    from .transaction import Transaction
    from .watches import Callback, Watch

__all__ = ["Client", "connect"]


class Client(NodeOperations, DomainVerbs):
    """A connection to the store, for the tasks of one event loop: ``async with aio.Client() as xs``, or
    ``xs = await aio.connect()`` and in the end ``await xs.close()``.

    Any number of tasks share it: what they ask is on its way together. Cancelling one takes nothing from the others: a
    late reply is dropped, and a watch or a transaction that was being set up is taken back. It speaks the protocol
    itself, over the daemon's socket or the kernel's device, and never by libxenstore, which can only block.

    It belongs to the event loop that opened it, and raises RuntimeError elsewhere. A child process opens a client of
    its own: one of its parent's raises :class:`~xsffi.errors.ForkedError` there. Once the daemon is gone, everything
    raises :class:`~xsffi.errors.ConnectionLostError`, and whatever waits ends with it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        connections: int | None = None,
    ) -> None:
        """Nothing is opened yet: ``async with`` does that.

        :param path: the daemon's unix socket or the kernel's device; by default, where libxenstore would look:
            ``XENSTORED_PATH``, ``XENSTORED_RUNDIR``, the usual places.
        :param timeout: how many seconds connecting, and each reply, may take before
            :class:`~xsffi.errors.WaitTimeoutError` is raised; None: any time. (``asyncio.timeout`` bounds whatever is
            within it.)
        :param connections: over how many connections bulk work may go, as for :class:`xsffi.Client`. It goes over one:
            more would gain nothing in one thread of Python.
        """
        validate_timeout(timeout)
        connections_from(connections)
        self._path = None if path is None else os.fsdecode(path)
        self._timeout = timeout
        self._state: _State | None = None
        self._closed = False

    # Transactions.

    def transaction(self) -> Opening[Transaction]:
        """Start a transaction: ``async with xs.transaction() as t: await t.write(…)``, or ``t = await
        xs.transaction()``. There may be several at once.

        Raises :class:`~xsffi.errors.QuotaExceededError` where a guest has as many as it may, and ConnectionLostError
        where the daemon is gone. One whose start is cancelled is not left behind.
        """
        return Opening(self._open_state.transactions.start(self))

    async def transact(self, function: Callable[[Transaction], Awaitable[T]], attempts: int = 10) -> T:
        """Await ``function(transaction)``, commit, and return what it returned; on a conflict, all of it again.

        `function` is async, and may be called several times. After `attempts` calls the last
        :class:`~xsffi.errors.TransactionConflictError` is raised. Any other exception, also that of being cancelled,
        aborts the transaction and is raised. From the second conflict on it sleeps before it tries again, for up to 0.1
        seconds.
        """
        return await self._open_state.transactions.repeat(function, attempts)

    # Many at once.

    def pipeline(self, transaction: bool = False, attempts: int = 1) -> Pipeline:
        """Many operations at once: ``async with xs.pipeline() as p: p.read(…); p.write(…)``, then ``p.results``.

        With `transaction`, all of them take effect together or not at all, tried up to `attempts` times where others
        come in between. They are carried in order. Raises ConnectionLostError where the daemon is gone.
        """
        validate_attempts(attempts)
        return Pipeline(self, self._any_domain, self._open_state.transactions if transaction else None, attempts)

    async def dump(self, top: str = "/", attempts: int = 10) -> list[Node]:
        """The whole tree from `top` down as it was at one moment, parents before children.

        What others change meanwhile is read again; where that went on `attempts` times,
        :class:`~xsffi.errors.TransactionConflictError` is raised. A watch of its own tells of those changes, and one of
        the release of domains; their events do not show among those of this client. A guest that has set as many
        watches as it may gets what :meth:`watch` raises. What may be missing nevertheless is told at
        :meth:`xsffi.Client.dump`.
        """
        validate(top)
        validate_attempts(attempts)
        return await snapshot(self.backend, top, attempts, self._timeout)

    async def load(self, nodes: Iterable[Node], *, allow_any_domain: bool = False) -> None:
        """Write nodes, as :meth:`dump` and :meth:`xsffi.testing.EmbeddedStore.dump` give them, with their values and
        permissions. What is there beside them is left alone.

        It is no transaction: xenstored would take the square of the number of nodes for that. Some thousand go at a
        time: of those around one that breaks a rule none is written, and an error of the daemon's is raised once all of
        them were tried. `allow_any_domain` is that of :meth:`set_permissions`.
        """
        await self._do(loading.load(self._any_domain, nodes, allow_any_domain=allow_any_domain))

    # Watches.

    def watch(
        self,
        path: str,
        token: Any = ITSELF,
        callback: Callback | None = None,
        depth: int | None = None,
        try_depth: bool = False,
    ) -> Opening[Watch]:
        """Be told of every change at `path` and below it: ``async with xs.watch(path) as events: async for event in
        events``, or ``watch = await xs.watch(path)``. One event comes at once, whether there is a node or not.

        :param path: a node, there or not yet, or ``@introduceDomain`` or ``@releaseDomain``. With a relative path,
            events have relative paths.
        :param token: any object; events bring that very object. It is told apart by identity, and held until the watch
            ends. By default it is the watch itself.
        :param callback: a function, plain or async, that is called with each event of this watch, one after the other,
            in a task of the watch's own. What it raises is reported in the log ``xsffi``, and it goes on; so it does
            where something that it waits for is cancelled, but before Python 3.11, where that cannot be told from the
            end of the program. Without one the watch is a stream of its events.
        :param depth: how many levels below `path` count: 0 is the node alone. Since Xen 4.22; NotSupportedError before,
            and where the domain that asks may not use it.
        :param try_depth: have this depth where the daemon knows it, and else none; ``depth`` of the watch tells which.

        Raises :class:`~xsffi.errors.WatchExistsError` where the same path is watched with the same token already, and
        :class:`~xsffi.errors.QuotaExceededError` or TooBigError where a guest has set too many; ConnectionLostError
        where the daemon is gone. A watch whose setting fails, or is cancelled, is not left behind.
        """
        return Opening(self._open_state.watches.add(path, token, callback, depth, try_depth, self))

    async def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Wait until a condition is true, and give its first true result.

        :param condition: a plain function of a :class:`~xsffi.protocol.conditions.View`, which has ``read``, ``get``,
            ``ls``, ``exists``, ``get_permissions``, ``view[path]`` and ``path in view``: a function of what it reads
            there, without side effects. It is run again when any of that has changed, a listing or an absence too, and
            sees nodes as they are at one moment; so what lasts too short may be missed, the last state never. Until all
            that it reads is known it is run several times, once for each node that it comes to.
            :mod:`xsffi.conditions` has the commonest.
        :param timeout: how many seconds to wait (None: for ever); then :class:`~xsffi.errors.WaitTimeoutError` is
            raised. A look that was begun by then may take a second more.

        What the condition raises ends the wait, and so does ValueError where it looks at no node at all. Its watches
        are shared with other waits of this client, do not show among its events, and are taken away in the end, however
        that comes. Raises what :meth:`watch` does where one cannot be set, and ConnectionLostError where the daemon is
        gone.
        """
        return await self._open_state.waits.wait(condition, timeout)

    async def wait_for(self, path: str, value: Wanted, timeout: float | None = None) -> bytes | None:
        """Wait until a node has a value, and give that.

        :param path: the node, there or not.
        :param value: bytes as they are, a str as UTF-8; None waits until there is no such node; or a function that is
            given the value, None for no node, and tells whether that is it.
        :param timeout: as for :meth:`wait`, which this is.
        """
        return (await self.wait(conditions.value_of(path, value), timeout))[0]

    def mirror(self, top: str = "/", reconnect: bool = False) -> Opening[Mirror]:
        """A tree in memory that is kept true by a watch: ``async with xs.mirror(top) as mirror: async for change in
        mirror.changes()``, or ``mirror = await xs.mirror(top)``.

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
        return Opening(self._open_state.mirrors.add(top, reconnect, self))

    async def unwatch(self, watch: Watch) -> None:
        """Take a watch away; events of it that are on their way are not delivered. Raises NodeNotFoundError if it is
        not set, and ConnectionLostError where the daemon is gone."""
        await self._open_state.watches.remove(watch)

    async def reset_watches(self) -> None:
        """Take away all watches, whose streams end, and end all transactions, of this connection."""
        await self._open_state.watches.reset()
        await self._open_state.waits.set_again()
        self._open_state.mirrors.set_again()

    def events(self, timeout: float | None = None) -> AsyncIterator[WatchEvent]:
        """The events of all watches of this client, those with callbacks too: from here on, and before them those that
        wait to be read and that none such has given, watch by watch. Several at once give the same. What one gives is
        not given again by a watch that nobody has entered, or iterated over.

        It is there to be read, as a watch is (:class:`~xsffi.aio.Watch`). It ends when none came for `timeout` seconds
        (None: never). Once the daemon is gone it raises
        ConnectionLostError, when all that came before was given; ClientClosedError where the client is closed.
        """
        validate_timeout(timeout)
        return self._open_state.watches.events(timeout, self)

    # The end.

    @property
    def backend(self) -> Backend:
        """What carries the requests; ``backend.name`` is "wire"."""
        return self._open_state.backend

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    async def close(self) -> None:
        """Close the connection: the daemon forgets its watches and transactions, and every task that waits gets a
        :class:`~xsffi.errors.ClientClosedError`. Closing again does nothing. A callback that is under way goes on to
        its end. It waits for nobody, and raises nothing where the daemon is gone. In a child process it does nothing
        to the parent's connection; in another event loop it raises RuntimeError, unless that of the client is over."""
        state = self._state
        if state is not None and not self._closed and state.is_own:
            state.check_loop()
            state.close()
        self._closed = True

    async def _open(self) -> Client:
        """Connect, if that is not done; raises ClientClosedError where the client is closed by now."""
        if self._closed:
            raise closed_error()
        if self._state is not None:
            self._state.check_loop()
        else:
            backend = await open_backend(self._path, self._timeout)
            if self._closed or self._state is not None:  # another task was faster
                backend.close()
                return await self._open()
            self._state = _State(backend, asyncio.get_running_loop(), self._timeout)
        return self

    async def __aenter__(self) -> Client:
        """Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried, where there is no way to
        the store, and :class:`~xsffi.errors.ClientClosedError` where the client was closed before."""
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        state = getattr(self, "_state", None)
        if state is None or self._closed or not state.is_own:
            return
        try:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
        finally:
            state.close_from_anywhere()  # also where warnings are errors

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a client is a connection: it can be neither copied nor pickled")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not yet open" if self._state is None else "open"
        return f"<xsffi.aio.Client {state}>"

    @property
    def _open_state(self) -> _State:
        state = self._state
        if state is None:
            text = "the client is closed" if self._closed else "the client is not open yet: `async with` opens it"
            raise ClientClosedError(errno.EBADF, text)
        return state

    @property
    def _any_domain(self) -> AnyDomain:  # type: ignore[override]  # it is there once the client is open
        return self._open_state.any_domain

    def _call(self, request: Request[T]) -> Awaitable[T]:
        return self._open_state.backend.call(request)

    def _call_many(self, requests: Sequence[Request[Any]]) -> Awaitable[list[Any]]:
        return self._open_state.backend.call_many(requests)


class _State:
    """What an open client has."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        self.backend = backend
        self.any_domain = AnyDomain(backend.kind == Kind.SOCKET)
        self.transactions = Transactions(backend, self.any_domain)
        self.watches = Watches(backend, loop)
        self.waits = Waits(backend, loop)
        self.mirrors = Mirrors(backend, loop, timeout)
        self._loop = loop
        self._pid = os.getpid()

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened it, and no child."""
        return os.getpid() == self._pid

    def check_loop(self) -> None:
        """Raises RuntimeError in another event loop, unless that of the client is over."""
        if not self._loop.is_closed():
            self.watches.check_place()

    def close(self) -> None:
        """Close the connection, and forget the watches."""
        self.backend.close()
        self.watches.close()
        self.mirrors.close()

    def close_from_anywhere(self) -> None:
        """The same, from any thread, in or out of an event loop."""
        try:
            self._loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop is over
            self.close()


def connect(
    path: str | os.PathLike[str] | None = None, timeout: float | None = None, connections: int | None = None
) -> Opening[Client]:
    """A client that is open: ``xs = await aio.connect()``, which ends by ``await xs.close()``; or ``async with
    aio.connect() as xs``. The parameters are those of :class:`Client`.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried, where there is no way to the
    store.
    """
    return Opening(Client(path, timeout, connections)._open())
