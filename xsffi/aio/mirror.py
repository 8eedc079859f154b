"""Mirrors: trees in memory that are kept up to date."""

from __future__ import annotations

import asyncio
import inspect
import os
import warnings
from contextlib import suppress
from weakref import WeakValueDictionary

from .. import log
from ..errors import ClientClosedError, ConnectionLostError, closed_error
from ..options import validate_callable, validate_timeout
from ..protocol import conditions
from ..protocol.mirroring import MirroredTree, Replica, closed_mirror_error
from ..protocol.upkeep import PATIENCE, Pause, Reopen, Rest, Upkeep, never
from ..records import Change
from .driver import run
from .mirror_links import Link
from .selection import open_backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import Any

    from ..protocol.conditions import Condition
    from ..protocol.upkeep import Course
    from ..static_types import T
    from .backend import Backend

    Callback = Callable[[Change], object]  # plain or async

__all__ = ["Mirror", "Mirrors"]


class Mirror(MirroredTree):
    """The nodes from `top` down, in memory, by path: all as they were at one moment, that of the last :meth:`update`,
    with parents before their children. Reading it needs no round trip to the daemon, and is not awaited.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` update it, and report each change once; of several
    changes to a node between two updates, only the final state is reported. Only one of these calls may be in progress
    at a time, otherwise RuntimeError is raised. Iterating over a mirror while another task updates it also raises
    RuntimeError. It ends with :meth:`close`, with an ``async with`` block, or with its client.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """Created by :meth:`xsffi.aio.Client.mirror`. `client` is kept alive as long as this is."""
        super().__init__(Replica(top))
        self._mirrors = mirrors
        self._client = client
        self._upkeep: Upkeep[Link] = Upkeep(self._replica, reconnect, mirrors.loop.time)
        self._is_updating = False
        self._is_running = False
        self._stopping = False
        self._closed = False

    async def open(self) -> Mirror:
        """Read everything for the first time, on the client's connection."""
        try:
            self._upkeep.link = self._mirrors.link()
            await self._carry_through(self._upkeep.open())
        except BaseException:
            self._end()
            raise
        return self

    # Updating.

    async def update(self, timeout: float | None = 0.0) -> list[Change]:
        """Apply everything that happened before this call, and return the changes: each node that differs from what was
        last reported, with its old and new state, parents before their children. If there are none, wait for one for
        `timeout` seconds (None: no limit) before returning an empty list.

        Creating or removing a child also changes its parent, whose list of children it is in. `timeout` only limits the
        wait for changes; the client's timeout limits each reply.

        Raises :class:`~xsffi.errors.TransactionConflictError` if the tree kept changing, so that no consistent state
        was found, :class:`~xsffi.errors.AccessDeniedError` if a node may not be read, and ConnectionLostError if the
        daemon is gone; with `reconnect`, it retries within the time instead, and there are no changes until it has
        reconnected. If an update fails or is cancelled, the mirror stays as it was, and the next update continues from
        there.
        """
        validate_timeout(timeout)
        return await self._carry_through(self._upkeep.changes(self._upkeep.deadline_of(timeout)))

    def changes(self, timeout: float | None = None) -> AsyncIterator[Change]:
        """Iterate over changes until none has arrived for `timeout` seconds (None: no limit). The changes of one update
        are returned one by one; if the iteration is left early, the next call that reports changes gets the rest. Each
        step updates the mirror if no changes are left, and raises as :meth:`update` does."""
        validate_timeout(timeout)
        return _Changes(self, timeout)

    async def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Update until a condition is true, and return its first true result: as :meth:`xsffi.aio.Client.wait`, but it
        sees only this mirror, and needs no round trips. Raises :class:`~xsffi.errors.WaitTimeoutError` after `timeout`
        seconds (None: no limit), and what :meth:`update` does. A path outside the mirror raises InvalidArgumentError.
        The next call that reports changes gets those made meanwhile.
        """
        conditions.check(condition)
        validate_timeout(timeout)
        deadline = self._upkeep.deadline_of(timeout)
        judged: int | None = None
        while True:
            judged = await self._carry_through(self._upkeep.next_version(deadline, judged))
            if judged is None:
                raise conditions.no_time_error(timeout)
            result = self._replica.judge(condition)
            if result:
                return result

    async def run(self, callback: Callback, timeout: float | None = None) -> None:
        """Call ``callback(change)``, which may be plain or async, for each change, until :meth:`stop` is called or
        `timeout` seconds have passed (None: no limit).

        An exception from the callback is logged in ``xsffi``, and the loop continues. Raises RuntimeError if it is
        already running, and what :meth:`update` does.
        """
        validate_callable(callback, "a callback")
        validate_timeout(timeout)
        if self._is_running:
            raise RuntimeError("run() is already running on this mirror")
        self._is_running = True
        try:
            await self._run(callback, timeout)
        finally:
            self._is_running = self._stopping = False

    def stop(self) -> None:
        """End :meth:`run` once the current callback returns, or the next run() if none is running."""
        self._stopping = True
        self._wake()

    async def resync(self) -> None:
        """Have the next update, or the one in progress, set the watches anew and read everything again: a guest that
        was resumed or migrated needs this, since its watches may be lost. The differences are reported as changes."""
        self._set_again()

    # Closing.

    @property
    def connected(self) -> bool:
        """Whether it was connected at the last update."""
        return self._upkeep.link is not None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether it, or its client, was closed."""
        return self._closed or self._mirrors.closed

    async def close(self) -> None:
        """Remove its watches, without waiting for the daemon; what was read stays available. Pending calls raise
        :class:`~xsffi.errors.ClientClosedError`. Idempotent."""
        if not self.closed:
            self._mirrors.backend.check_place()
        self._end()

    async def __aenter__(self) -> Mirror:
        """Raises :class:`~xsffi.errors.ClientClosedError` if it is already closed."""
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_closed", True) or not self._mirrors.is_own or self._mirrors.closed:
            return
        try:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
        finally:  # even if warnings are errors
            link = self._upkeep.link
            if link is not None:
                self._mirrors.call_soon(link.close)

    def __repr__(self) -> str:
        return f"<xsffi.aio.Mirror {self.top!r}, {len(self)} nodes{' closed' if self.closed else ''}>"

    # Inside.

    def _check(self) -> None:
        self._mirrors.backend.check_place()
        if self._mirrors.closed:
            raise closed_error()
        if self._closed:
            raise closed_mirror_error()

    def _end(self) -> None:
        self._closed = True
        self._mirrors.forget(self)
        if self._upkeep.link is not None:
            self._upkeep.link.close()

    def _set_again(self) -> None:
        self._upkeep.begin_again()
        self._wake()

    def _wake(self) -> None:
        """Make waiting calls check again."""
        if self._upkeep.link is not None:
            self._upkeep.link.wake()

    async def _carry_through(self, course: Course[T]) -> T:
        """Run a program to its end, while no other task updates the mirror."""
        self._check()
        if self._is_updating:
            raise RuntimeError("the mirror is already being updated")
        self._is_updating = True
        try:
            return await run(course, self._carry)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):  # cancellation leaves everything as it is
                self._upkeep.fail(error)
            if isinstance(error, (ConnectionLostError, ClientClosedError)):
                self._check()  # the reason may be that the mirror was closed
            raise
        finally:
            self._is_updating = False
            if self._closed:
                self._end()  # undoes what may have been set up since

    async def _carry(self, effect: Any) -> Any:
        """The outcome of an effect."""
        self._check()
        if isinstance(effect, Reopen):
            self._upkeep.link = await self._mirrors.reopen()
            return None
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds)
        link = self._upkeep.link
        assert link is not None
        return await (link.next_event(effect.seconds) if isinstance(effect, Rest) else link.carry(effect))

    async def _next_change(self, deadline: float | None, is_over: Callable[[], bool] = never) -> Change | None:
        return await self._carry_through(self._upkeep.next_change(deadline, is_over))

    async def _run(self, callback: Callback, timeout: float | None) -> None:
        deadline = self._upkeep.deadline_of(timeout)
        while not self._stopping:
            change = await self._next_change(deadline, lambda: self._stopping)
            if change is None:
                return
            try:
                result = callback(change)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                log.exception("the callback of the mirror of %s raised", self.top)
            if timeout and self._upkeep.is_up(deadline):  # a timeout of 0 still delivers what is available
                return


class _Changes:
    """See :meth:`Mirror.changes`."""

    def __init__(self, mirror: Mirror, timeout: float | None) -> None:
        self._mirror = mirror
        self._timeout = timeout

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> Change:
        change = await self._mirror._next_change(self._mirror._upkeep.deadline_of(self._timeout))
        if change is None:
            raise StopAsyncIteration
        return change


class Mirrors:
    """The mirrors of one client."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        """`backend`, `timeout`: the client's."""
        self.backend = backend
        self.loop = loop
        self.closed = False
        self._pid = os.getpid()
        self._timeout = timeout
        self._open: WeakValueDictionary[int, Mirror] = WeakValueDictionary()  # by their ids

    async def add(self, top: str, reconnect: bool, client: object) -> Mirror:
        """A mirror (see :meth:`xsffi.aio.Client.mirror`)."""
        mirror = Mirror(self, top, reconnect, client)
        self._open[id(mirror)] = mirror
        return await mirror.open()

    def forget(self, mirror: Mirror) -> None:
        """Forget a closed mirror."""
        self._open.pop(id(mirror), None)

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the client, not a child."""
        return os.getpid() == self._pid

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the event loop call a function, from any thread, unless the loop is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def link(self) -> Link:
        """The client's connection, for a mirror."""
        return Link(self.loop, self.backend, self._timeout, is_own=False)

    async def reopen(self) -> Link:
        """A new connection to the same place, for a mirror alone, since the client's is lost."""
        backend = await open_backend(self.backend.path, self._timeout, PATIENCE)
        return Link(self.loop, backend, self._timeout, is_own=True)

    def set_again(self) -> None:
        """Call after the daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror._set_again()

    def close(self) -> None:
        """Close all of them, since the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror._end()
