"""The client for asyncio: the object through which a program uses the store."""

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
    """A connection to the store, for the tasks of one event loop: ``async with aio.Client() as xs``, or ``xs = await
    aio.connect()`` and finally ``await xs.close()``.

    Any number of tasks can share it; their requests are pipelined. Cancelling one task does not affect the others: a
    late reply is dropped, and a watch or transaction that was being set up is undone. It speaks the wire protocol over
    the daemon's socket or the kernel's device; libxenstore cannot be used, since its calls block.

    It belongs to the event loop that opened it, and raises RuntimeError in any other. A child process must open its own
    client: its parent's raises :class:`~xsffi.errors.ForkedError` there. Once the daemon is gone, every call raises
    :class:`~xsffi.errors.ConnectionLostError`, including those that are waiting.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        connections: int | None = None,
    ) -> None:
        """Does not connect yet: ``async with`` does.

        :param path: the daemon's unix socket or the kernel's device; by default, where libxenstore would look:
            ``XENSTORED_PATH``, ``XENSTORED_RUNDIR``, then the default places.
        :param timeout: how many seconds connecting, and each reply, may take before
            :class:`~xsffi.errors.WaitTimeoutError` is raised; None: no limit. (``asyncio.timeout`` limits whatever is
            inside it.)
        :param connections: accepted for the sake of :class:`xsffi.Client`. One connection is used: in one thread of
            Python, more would gain nothing.
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
        xs.transaction()``. Several may be open at once.

        Raises :class:`~xsffi.errors.QuotaExceededError` if a guest has too many open, and ConnectionLostError if the
        daemon is gone. If its start is cancelled, it is aborted.
        """
        return Opening(self._open_state.transactions.start(self))

    async def transact(self, function: Callable[[Transaction], Awaitable[T]], attempts: int = 10) -> T:
        """Await ``function(transaction)``, commit, and return its result; on a conflict, start over.

        `function` is async, and may be called several times. After `attempts` calls, the last
        :class:`~xsffi.errors.TransactionConflictError` is raised. Any other exception, including cancellation, aborts
        the transaction and propagates. From the second conflict on, it sleeps for up to 0.1 seconds before it retries.
        """
        return await self._open_state.transactions.repeat(function, attempts)

    # Many at once.

    def pipeline(self, transaction: bool = False, attempts: int = 1) -> Pipeline:
        """Pipeline many operations: ``async with xs.pipeline() as p: p.read(…); p.write(…)``, then ``p.results``.

        With `transaction`, either all of them take effect or none; on a conflict they are retried, up to `attempts`
        times in all. They are carried out in order. Raises ConnectionLostError if the daemon is gone.
        """
        validate_attempts(attempts)
        return Pipeline(self, self._any_domain, self._open_state.transactions if transaction else None, attempts)

    async def dump(self, top: str = "/", attempts: int = 10) -> list[Node]:
        """The whole tree from `top` down as it was at one moment, parents before children.

        What changes meanwhile is read again; after `attempts` rounds, :class:`~xsffi.errors.TransactionConflictError`
        is raised. Two temporary watches report those changes, one of them the release of domains; their events do not
        appear among this client's. For a guest that has used up its watches, it raises what :meth:`watch` does. See
        :meth:`xsffi.Client.dump` for what may be missing nevertheless.
        """
        validate(top)
        validate_attempts(attempts)
        return await snapshot(self.backend, top, attempts, self._timeout)

    async def load(self, nodes: Iterable[Node], *, allow_any_domain: bool = False) -> None:
        """Write nodes, as returned by :meth:`dump` and :meth:`xsffi.testing.EmbeddedStore.dump`, with their values and
        permissions. Other existing nodes are left alone.

        It is not a transaction: in xenstored that would take time quadratic in the number of nodes. Nodes are written
        some thousand at a time: if one of these is invalid, none of them is written; an error from the daemon is raised
        once all of them have been tried. `allow_any_domain` is that of :meth:`set_permissions`.
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
        """Watch `path` and everything below it: ``async with xs.watch(path) as events: async for event in events``, or
        ``watch = await xs.watch(path)``. One event arrives immediately, whether the node exists or not.

        :param path: a node, which need not exist, or ``@introduceDomain`` or ``@releaseDomain``. With a relative path,
            events have relative paths.
        :param token: any object; events carry that very object. It is compared by identity, and kept until the watch
            ends. By default, the watch itself.
        :param callback: a function, plain or async, called with each event of this watch, one at a time, in a task of
            the watch's own. An exception from it is logged in ``xsffi``, and the next event follows; so is cancellation
            of something it awaits, except before Python 3.11, where that looks like cancellation of the task itself.
            Without a callback, the watch is a stream of its events.
        :param depth: how many levels below `path` to include: 0 means only the node. Since Xen 4.22; raises
            NotSupportedError if the daemon is older, or does not grant it to this domain.
        :param try_depth: use the depth if the daemon supports it, otherwise none; ``depth`` of the watch tells which.

        Raises :class:`~xsffi.errors.WatchExistsError` if the same path is already watched with the same token,
        :class:`~xsffi.errors.QuotaExceededError` or TooBigError if a guest has set too many, and ConnectionLostError if
        the daemon is gone. If setting it fails or is cancelled, no watch is left behind.
        """
        return Opening(self._open_state.watches.add(path, token, callback, depth, try_depth, self))

    async def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Wait until a condition is true, and return its first true result.

        :param condition: a plain function of a :class:`~xsffi.protocol.conditions.View`, which has ``read``, ``get``,
            ``ls``, ``exists``, ``get_permissions``, ``view[path]`` and ``path in view``. Its result must depend only on
            what it reads there, and it must have no side effects. It runs again whenever any of that has changed,
            including a listing or the absence of a node, and sees nodes as they are at one moment; so a short-lived
            state may be missed, but never the last one. At first it runs several times, once for each node it comes to,
            until everything it reads is known. :mod:`xsffi.conditions` has common ones.
        :param timeout: how many seconds to wait (None: no limit) before :class:`~xsffi.errors.WaitTimeoutError` is
            raised. A check that has begun by then may take another second.

        An exception from the condition ends the wait; ValueError is raised if it looks at no node at all. The watches
        it needs are shared with other waits of this client, do not appear among its events, and are always removed in
        the end. Raises what :meth:`watch` does if one cannot be set, and ConnectionLostError if the daemon is gone.
        """
        return await self._open_state.waits.wait(condition, timeout)

    async def wait_for(self, path: str, value: Wanted, timeout: float | None = None) -> bytes | None:
        """Wait until a node has a value, and return that value.

        :param path: the node, which need not exist.
        :param value: bytes as they are, a str as UTF-8; None waits until there is no such node; or a function that is
            given the value, or None if there is no node, and returns whether to stop waiting.
        :param timeout: as for :meth:`wait`, on which this is based, and whose errors it raises.
        """
        return (await self.wait(conditions.value_of(path, value), timeout))[0]

    def mirror(self, top: str = "/", reconnect: bool = False) -> Opening[Mirror]:
        """A tree in memory, kept up to date by a watch: ``async with xs.mirror(top) as mirror: async for change in
        mirror.changes()``, or ``mirror = await xs.mirror(top)``.

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
        return Opening(self._open_state.mirrors.add(top, reconnect, self))

    async def unwatch(self, watch: Watch) -> None:
        """Remove a watch; events still in flight are not delivered. Raises NodeNotFoundError if it is not set, and
        ConnectionLostError if the daemon is gone."""
        await self._open_state.watches.remove(watch)

    async def reset_watches(self) -> None:
        """Remove all watches of this connection, whose streams end, and abort all its transactions."""
        await self._open_state.watches.reset()
        await self._open_state.waits.set_again()
        self._open_state.mirrors.set_again()

    def events(self, timeout: float | None = None) -> AsyncIterator[WatchEvent]:
        """The events of all watches of this client, including those with callbacks: from now on, preceded by those that
        are pending, watch by watch, and that no other such iterator has returned. Several iterators get the same
        events. An event returned here is not returned again by a watch that nobody has entered or iterated over.

        Like a watch (:class:`~xsffi.aio.Watch`), it must be read. It ends when no event has arrived for `timeout`
        seconds (None: never). Once the daemon is gone, it raises ConnectionLostError after all earlier events;
        ClientClosedError if the client is closed.
        """
        validate_timeout(timeout)
        return self._open_state.watches.events(timeout, self)

    # Closing.

    @property
    def backend(self) -> Backend:
        """Carries the requests; ``backend.name`` is "wire"."""
        return self._open_state.backend

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    async def close(self) -> None:
        """Close the connection: the daemon forgets its watches and transactions, and every waiting task gets a
        :class:`~xsffi.errors.ClientClosedError`. Idempotent. A running callback is not interrupted. It does not wait,
        and raises nothing if the daemon is gone. In a child process it leaves the parent's connection alone; in another
        event loop it raises RuntimeError, unless the client's loop is closed."""
        state = self._state
        if state is not None and not self._closed and state.is_own:
            state.check_loop()
            state.close()
        self._closed = True

    async def _open(self) -> Client:
        """Connect if that is not done; raises ClientClosedError if the client has been closed."""
        if self._closed:
            raise closed_error()
        if self._state is not None:
            self._state.check_loop()
        else:
            backend = await open_backend(self._path, self._timeout)
            if self._closed or self._state is not None:  # another task did it first
                backend.close()
                return await self._open()
            self._state = _State(backend, asyncio.get_running_loop(), self._timeout)
        return self

    async def __aenter__(self) -> Client:
        """Raises :class:`~xsffi.errors.BackendUnavailableError`, which lists what was tried, if it cannot connect, and
        :class:`~xsffi.errors.ClientClosedError` if the client was closed before."""
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
            state.close_from_anywhere()  # even if warnings are errors

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a client is a connection: it cannot be copied or pickled")

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
    def _any_domain(self) -> AnyDomain:  # type: ignore[override]  # available once the client is open
        return self._open_state.any_domain

    def _call(self, request: Request[T]) -> Awaitable[T]:
        return self._open_state.backend.call(request)

    def _call_many(self, requests: Sequence[Request[Any]]) -> Awaitable[list[Any]]:
        return self._open_state.backend.call_many(requests)


class _State:
    """The state of an open client."""

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
        """Whether this is the process that opened it, not a child."""
        return os.getpid() == self._pid

    def check_loop(self) -> None:
        """Raises RuntimeError in another event loop, unless the client's is closed."""
        if not self._loop.is_closed():
            self.watches.check_place()

    def close(self) -> None:
        """Close the connection, and forget the watches."""
        self.backend.close()
        self.watches.close()
        self.mirrors.close()

    def close_from_anywhere(self) -> None:
        """As :meth:`close`, from any thread, inside or outside an event loop."""
        try:
            self._loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop is closed
            self.close()


def connect(
    path: str | os.PathLike[str] | None = None, timeout: float | None = None, connections: int | None = None
) -> Opening[Client]:
    """An open client: ``xs = await aio.connect()``, to be closed with ``await xs.close()``; or ``async with
    aio.connect() as xs``. The parameters are those of :class:`Client`.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which lists what was tried, if it cannot connect.
    """
    return Opening(Client(path, timeout, connections)._open())
