"""Mirrors: trees in memory that are kept true."""

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
    """The nodes from a top down, by their paths, in memory: as they were, all at one moment, at the last
    :meth:`update`, and parents before their children. To read it costs no trip to the daemon, and is not awaited.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` keep it true, and tell of each change once; of what
    happens between two updates the last state is told. One of them at a time may be under way: RuntimeError else.
    Iterating over a mirror that another task updates meanwhile raises RuntimeError too. It ends by :meth:`close`, or
    with an ``async with`` block, and with its client.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """To be had from :meth:`xsffi.aio.Client.mirror`. `client`: what is not to be dropped while this is there."""
        super().__init__(Replica(top))
        self._mirrors = mirrors
        self._client = client
        self._upkeep: Upkeep[Link] = Upkeep(self._replica, reconnect, mirrors.loop.time)
        self._is_updating = False
        self._is_running = False
        self._stopping = False
        self._closed = False

    async def open(self) -> Mirror:
        """Read it for the first time, on its client's connection."""
        try:
            self._upkeep.link = self._mirrors.link()
            await self._carry_through(self._upkeep.open())
        except BaseException:
            self._end()
            raise
        return self

    # Keeping it true.

    async def update(self, timeout: float | None = 0.0) -> list[Change]:
        """Take in all that has happened before this call, and give the changes: each node that is not as it was told
        last, with what it was and what it is, a parent that comes before its children. Where there is none, wait for
        one for `timeout` seconds (None: for ever); then there are none.

        A child that comes or goes is a change of its parent too, whose list of children it is in. The seconds are those
        that it waits for changes; how long each reply may take is the client's timeout.

        Raises :class:`~xsffi.errors.TransactionConflictError` where so much changed all the time that no moment was
        found, :class:`~xsffi.errors.AccessDeniedError` where a node may not be read, and ConnectionLostError where the
        daemon is gone; with `reconnect` it is tried again within the time, and there are no changes until it is back.
        Where an update fails, or is cancelled, the mirror is as before, and the next goes on from there.
        """
        validate_timeout(timeout)
        return await self._carry_through(self._upkeep.changes(self._upkeep.deadline_of(timeout)))

    def changes(self, timeout: float | None = None) -> AsyncIterator[Change]:
        """Iterate over changes, until none came for `timeout` seconds (None: for ever). Those of one update are given
        one after the other; where the iteration is left, the rest is told by whatever asks next. Each step updates the
        mirror where none is left, and raises as :meth:`update` does."""
        validate_timeout(timeout)
        return _Changes(self, timeout)

    async def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Update until a condition is true, and give its first true result: as :meth:`xsffi.aio.Client.wait`, but it
        looks at this mirror alone, and costs no trip. Raises :class:`~xsffi.errors.WaitTimeoutError` when `timeout`
        seconds are up (None: never), and what :meth:`update` does. A path outside of the mirror is an
        InvalidArgumentError. The changes meanwhile are told by whatever asks for them next.
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
        """Call ``callback(change)``, which may be plain or async, for each change, until :meth:`stop` or for `timeout`
        seconds (None: for ever).

        One that raises is reported in the log ``xsffi``, and the loop goes on. Raises RuntimeError where it is running
        already, and as :meth:`update` does.
        """
        validate_callable(callback, "a callback")
        validate_timeout(timeout)
        if self._is_running:
            raise RuntimeError("run() is running already on this mirror")
        self._is_running = True
        try:
            await self._run(callback, timeout)
        finally:
            self._is_running = self._stopping = False

    def stop(self) -> None:
        """End :meth:`run` once the callback it is in returns, or the next run() if none is running."""
        self._stopping = True
        self._wake()

    async def resync(self) -> None:
        """Have the next update, or the one that waits, set the watches anew and read all again: as a guest must that
        was resumed, or migrated, where they may be lost. The difference is told as changes."""
        self._set_again()

    # The end.

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as the last update has seen."""
        return self._upkeep.link is not None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its client."""
        return self._closed or self._mirrors.closed

    async def close(self) -> None:
        """Take its watches away, without waiting for the daemon; what was read stays. Whoever waits for it gets a
        :class:`~xsffi.errors.ClientClosedError`. Closing again does nothing."""
        if not self.closed:
            self._mirrors.backend.check_place()
        self._end()

    async def __aenter__(self) -> Mirror:
        """Raises :class:`~xsffi.errors.ClientClosedError` where it is closed already."""
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
        finally:  # also where warnings are errors
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
        """Have who waits look again."""
        if self._upkeep.link is not None:
            self._upkeep.link.wake()

    async def _carry_through(self, course: Course[T]) -> T:
        """Carry a program through, while no other task updates the mirror."""
        self._check()
        if self._is_updating:
            raise RuntimeError("the mirror is being updated already")
        self._is_updating = True
        try:
            return await run(course, self._carry)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):  # which leaves all as it is
                self._upkeep.fail(error)
            if isinstance(error, (ConnectionLostError, ClientClosedError)):
                self._check()  # the mirror was closed, and that is why
            raise
        finally:
            self._is_updating = False
            if self._closed:
                self._end()  # what may have been set up since

    async def _carry(self, effect: Any) -> Any:
        """What an effect comes to."""
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
            if timeout and self._upkeep.is_up(deadline):  # no time at all is enough for what is there
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
        """`backend`: the client's; and what that was opened with."""
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
        """It is closed."""
        self._open.pop(id(mirror), None)

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the client, and no child."""
        return os.getpid() == self._pid

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the event loop call a function, from any thread, unless it is over."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def link(self) -> Link:
        """The client's connection, for a mirror."""
        return Link(self.loop, self.backend, self._timeout, is_own=False)

    async def reopen(self) -> Link:
        """A connection of a mirror's own to the same place, since the client's is lost."""
        backend = await open_backend(self.backend.path, self._timeout, PATIENCE)
        return Link(self.loop, backend, self._timeout, is_own=True)

    def set_again(self) -> None:
        """The daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror._set_again()

    def close(self) -> None:
        """Close all of them: the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror._end()
