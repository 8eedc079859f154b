"""Mirrors: trees in memory that are kept true."""

from __future__ import annotations

import asyncio
import errno
import inspect
import itertools
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial

from .. import log
from ..errors import (
    BackendUnavailableError,
    ConnectionLostError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
    closed_error,
)
from ..options import validate_timeout
from ..protocol import conditions
from ..protocol.mirroring import BackOff, Replica, closed_mirror_error
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from ..records import Change, Node, WatchEvent
from .driver import run
from .events import EventStream
from .selection import open_backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Any

    from ..protocol.conditions import Condition
    from ..protocol.programs import Effect
    from ..static_types import T
    from .backend import Backend

    Callback = Callable[[Change], object]  # plain or async

__all__ = ["Mirror", "Mirrors"]

_numbers = itertools.count(1)
_PAUSE_MAX = 0.05  # seconds of sleep in one go, while there is no daemon: close() and stop() are noticed then
_WAITING_MAX = 32768  # events: where more wait, all is read again instead
_WAKEUP = WatchEvent("", "")  # the event of no watch


class Mirror(Mapping[str, Node]):
    """The nodes from a top down, by their paths, in memory: as they were, all at one moment, at the last
    :meth:`update`, and parents before their children. To read it costs no trip to the daemon, and is not awaited.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` keep it true, and tell of each change once; of what
    happens between two updates the last state is told. One of them at a time may be under way: RuntimeError else.
    Iterating over a mirror that another task updates meanwhile raises RuntimeError too. It ends by :meth:`close`, or
    with an ``async with`` block, and with its client.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """To be had from :meth:`xsffi.aio.Client.mirror`. `client`: what is not to be dropped while this is there."""
        self._mirrors = mirrors
        self._client = client
        self._reconnect = reconnect
        self._replica = Replica(top)
        self._nodes = self._replica.nodes
        self._link: _Link | None = None  # None: the daemon is away
        self._must_begin = True  # the watches are to be set
        self._back_off = BackOff()
        self._next_try = 0.0  # by the loop's clock; while the daemon is away
        self._is_lost = False  # which was told in the log
        self._is_updating = False
        self._is_running = False
        self._stopping = False
        self._closed = False

    async def open(self) -> Mirror:
        """Read it for the first time, on its client's connection."""
        try:
            self._link = self._mirrors.link(self._replica)
            with self._updating():
                await self._take_in(may_reconnect=False)
                self._replica.tell_nothing()
        except BaseException:
            self._end()
            raise
        return self

    # Reading it.

    def __getitem__(self, path: str) -> Node:
        return self._nodes[path]

    def __contains__(self, path: object) -> bool:
        return path in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return self._replica.iterate()

    def copy(self) -> dict[str, Node]:
        """The nodes by their paths as they are now, which no update changes."""
        return self._replica.copy()

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
        with self._updating():
            await self._advance(self._deadline_of(timeout), lambda: self._replica.has_changes)
            return self._replica.tell_all()

    def changes(self, timeout: float | None = None) -> AsyncIterator[Change]:
        """Iterate over changes, until none came for `timeout` seconds (None: for ever). Those of one update are given
        one after the other; where the iteration is left, the rest is told by whatever asks next. Raises as
        :meth:`update` does."""
        validate_timeout(timeout)
        return _Changes(self, timeout)

    async def wait(self, condition: Condition[T], timeout: float | None = None) -> T:
        """Update until a condition is true, and give its first true result: as :meth:`xsffi.aio.Client.wait`, but it
        looks at this mirror alone, and costs no trip. Raises :class:`~xsffi.errors.WaitTimeoutError` when `timeout`
        seconds are up (None: never), and what :meth:`update` does. A path outside of the mirror is an
        InvalidArgumentError. The changes meanwhile are told by whatever asks for them next.
        """
        conditions.check(condition)
        validate_timeout(timeout)
        deadline = self._deadline_of(timeout)
        judged: int | None = None
        while True:
            with self._updating():
                if not await self._advance(deadline, partial(self._is_news, judged)):
                    raise conditions.no_time_error(timeout)
                judged = self._replica.version
            result = self._replica.judge(condition)
            if result:
                return result

    async def run(self, callback: Callback, timeout: float | None = None) -> None:
        """Call ``callback(change)``, which may be plain or async, for each change, until :meth:`stop` or for `timeout`
        seconds (None: for ever).

        One that raises is reported in the log ``xsffi``, and the loop goes on. Raises RuntimeError where it is running
        already, and as :meth:`update` does.
        """
        if not callable(callback):
            raise TypeError(f"a callback is callable, not {type(callback).__name__}: {callback!r}")
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
    def top(self) -> str:
        """The path from which on it has the nodes."""
        return self._replica.top

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as the last update has seen."""
        return self._link is not None and not self._closed

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

    def __repr__(self) -> str:
        return f"<xsffi.aio.Mirror {self.top!r}, {len(self)} nodes{' closed' if self.closed else ''}>"

    # Inside.

    def _is_news(self, version: int | None) -> bool:
        return self._replica.version != version

    def _deadline_of(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._mirrors.loop.time() + timeout

    def _check(self) -> None:
        self._mirrors.backend.check_place()
        if self._mirrors.closed:
            raise closed_error()
        if self._closed:
            raise closed_mirror_error()

    def _end(self) -> None:
        self._closed = True
        self._mirrors.forget(self)
        if self._link is not None:
            self._link.close()

    def _set_again(self) -> None:
        self._must_begin = True
        self._wake()

    def _wake(self) -> None:
        """Have who waits look again."""
        if self._link is not None:
            self._link.receive(_WAKEUP)

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """No other task updates it meanwhile. After an exception that came from elsewhere nobody knows how far it got;
        being cancelled is none of those."""
        if self._is_updating:
            raise RuntimeError("the mirror is being updated already")
        self._is_updating = True
        try:
            self._check()
            yield
        except BaseException as error:
            if not isinstance(error, (XenStoreError, asyncio.CancelledError)):
                self._replica.doubt()
            raise
        finally:
            self._is_updating = False
            if self._closed:
                self._end()  # what may have been set up since

    async def _advance(
        self, deadline: float | None, is_enough: Callable[[], bool], is_over: Callable[[], bool] = lambda: False
    ) -> bool:
        """Take in what has happened, again and again, until that is enough, or it `is_over`, or the time is up: False
        then."""
        loop = self._mirrors.loop
        while True:
            conflict = None
            try:
                if await self._take_in() and is_enough():
                    return True
            except TransactionConflictError as error:
                conflict = error
            if is_over():
                return False
            if deadline is not None and loop.time() >= deadline:
                if conflict is not None:
                    raise conflict
                return False
            if conflict is None:
                await self._rest(None if deadline is None else max(0.0, deadline - loop.time()))

    async def _take_in(self, may_reconnect: bool = True) -> bool:
        """Take in all that has happened; False where the daemon is away."""
        self._check()
        try:
            link = self._link or await self._reopen()
            if link is None:
                return False
            if self._must_begin:
                await self._begin(link)
            await run(self._replica.update(), link.carry)
        except ConnectionLostError as error:
            self._check()
            if not self._reconnect or not may_reconnect:
                raise
            self._lose(error)
            # The first time it is tried again at once: perhaps this connection alone was cut.
            return self._mirrors.loop.time() >= self._next_try and await self._take_in()
        self._back_off.reset()
        if self._is_lost:
            self._is_lost = False
            log.info("the mirror of %s has found the store again", self.top)
        return True

    async def _begin(self, link: _Link) -> None:
        self._must_begin = False
        try:
            link.take_back()
            await run(self._replica.begin(link.queue.new_token(), link.queue.new_token()), link.carry)
        except BaseException:
            self._must_begin = True
            raise

    async def _rest(self, remaining: float | None) -> None:
        """Wait for the next event, or, while the daemon is away, until it is to be tried again; for a while at most."""
        link = self._link
        if link is None:
            pause = max(0.0, self._next_try - self._mirrors.loop.time())
            await asyncio.sleep(min(pause, _PAUSE_MAX) if remaining is None else min(pause, _PAUSE_MAX, remaining))
            return
        try:
            taken = await link.next(remaining)
        except ConnectionLostError:
            return  # which is found again at once
        if taken is not None:
            self._replica.note(taken[1])

    async def _reopen(self) -> _Link | None:
        loop = self._mirrors.loop
        if loop.time() < self._next_try:
            return None
        try:
            self._link = link = await self._mirrors.reopen(self._replica)
        except (BackendUnavailableError, ConnectionLostError, WaitTimeoutError) as error:
            self._next_try = loop.time() + self._back_off.next_delay()
            log.debug("the mirror of %s finds no store: %s", self.top, error)
            return None
        self._must_begin = True
        self._check()  # it may have been closed meanwhile
        return link

    def _lose(self, error: ConnectionLostError) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._next_try = self._mirrors.loop.time() + self._back_off.next_delay()
        if not self._is_lost:
            self._is_lost = True
            log.warning("the mirror of %s has lost the store, and tries again: %s", self.top, error.strerror)

    async def _next_change(self, deadline: float | None, is_over: Callable[[], bool] = lambda: False) -> Change | None:
        replica = self._replica
        with self._updating():
            if not replica.has_changes:
                await self._advance(deadline, lambda: replica.has_changes, is_over)
            return replica.tell_next()

    async def _run(self, callback: Callback, timeout: float | None) -> None:
        deadline = self._deadline_of(timeout)
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
            # No time at all is enough for what is there.
            if timeout and deadline is not None and self._mirrors.loop.time() >= deadline:
                return


class _Changes:
    """See :meth:`Mirror.changes`."""

    def __init__(self, mirror: Mirror, timeout: float | None) -> None:
        self._mirror = mirror
        self._timeout = timeout

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> Change:
        change = await self._mirror._next_change(self._mirror._deadline_of(self._timeout))
        if change is None:
            raise StopAsyncIteration
        return change


class Mirrors:
    """The mirrors of one client."""

    def __init__(
        self, backend: Backend, loop: asyncio.AbstractEventLoop, path: str | None, timeout: float | None
    ) -> None:
        """`backend`: the client's; and what that was opened with."""
        self.backend = backend
        self.loop = loop
        self.closed = False
        self._path = path
        self._timeout = timeout
        self._open: dict[int, Mirror] = {}

    async def add(self, top: str, reconnect: bool, client: object) -> Mirror:
        """A mirror (see :meth:`xsffi.aio.Client.mirror`)."""
        mirror = Mirror(self, top, reconnect, client)
        self._open[id(mirror)] = mirror
        return await mirror.open()

    def forget(self, mirror: Mirror) -> None:
        """It is closed."""
        self._open.pop(id(mirror), None)

    def link(self, replica: Replica) -> _Link:
        """The client's connection, for a mirror."""
        return _Link(self.loop, self.backend, self._timeout, replica, is_own=False)

    async def reopen(self, replica: Replica) -> _Link:
        """A connection of a mirror's own, since the client's is lost."""
        backend = await open_backend(self._path, self._timeout)
        return _Link(self.loop, backend, self._timeout, replica, is_own=True)

    def set_again(self) -> None:
        """The daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror._set_again()

    def close(self) -> None:
        """Close all of them: the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror._end()


class _Link(EventStream):
    """A connection, as one mirror uses it, and the events of that."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, backend: Backend, timeout: float | None, replica: Replica, is_own: bool
    ) -> None:
        """`is_own`: it is to be closed with this."""
        super().__init__(loop)
        self._backend = backend
        self._timeout = timeout
        self._replica = replica
        self._is_own = is_own
        self._watches: list[Watch] = []  # that are set
        self.queue = backend.open_queue(f"mirror:{next(_numbers)}:", self)

    def put(self, wire_token: str, event: WatchEvent) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.clear()
            event = self._replica.flood()
        super().put(event.token, event)

    async def carry(self, effect: Effect) -> Any:
        """What an effect comes to."""
        if isinstance(effect, NextEvent):
            return await self._next_event(effect.wait)
        outcome = await (self._backend.call(effect) if isinstance(effect, Request) else self._backend.call_many(effect))
        if isinstance(effect, Watch):
            self._watches.append(effect)
        return outcome

    def take_back(self) -> None:
        """Take the watches away, without waiting: perhaps the daemon does not answer."""
        for watch in self._watches:
            self._backend.post(Unwatch(watch.path, watch.token))
        self._watches.clear()

    def close(self) -> None:
        """End it. Again does nothing, but to what was set up since."""
        self.take_back()
        self._backend.close_queue(self.queue)
        self.end_with(closed_mirror_error)
        if self._is_own:
            self._backend.close()

    async def _next_event(self, is_waiting: bool) -> WatchEvent | None:
        taken = await self.next(self._timeout) if is_waiting else self.take()
        if taken is None and is_waiting:
            raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch came for {self._timeout} seconds")
        return None if taken is None else taken[1]
