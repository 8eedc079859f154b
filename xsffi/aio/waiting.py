"""Waiting for conditions: waiting tasks share their watches."""

from __future__ import annotations

import asyncio

from ..errors import WaitTimeoutError, WatchExistsError, XenStoreError
from ..options import validate_timeout
from ..protocol import conditions
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from ..protocol.shared_watches import SharedWatches
from ..records import WatchEvent
from .driver import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..protocol.conditions import Condition
    from ..protocol.programs import Effect
    from ..protocol.session import EventQueue
    from ..protocol.shared_watches import SharedWatch
    from ..static_types import T
    from .backend import Backend

__all__ = ["Waits"]


class _Wait:
    """One wait, in one task."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        self.deadline = None if timeout is None else loop.time() + timeout
        self.changed: dict[str, None] = {}  # the watched paths that had an event, in order
        self.sleeper: asyncio.Future[None] | None = None  # what it waits for
        self.is_up = False  # whether its time is up

    def wake(self) -> None:
        """End its sleep."""
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(None)

    def end(self) -> None:
        """Its time is up."""
        self.is_up = True
        self.wake()


class Waits:
    """The waits of one client."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop) -> None:
        self._backend = backend
        self._loop = loop
        self._queue: EventQueue | None = None
        self._watches: SharedWatches[_Wait] = SharedWatches()
        self._over: Callable[[], XenStoreError] | None = None

    async def wait(self, condition: Condition[T | None], timeout: float | None) -> T:
        """See :meth:`xsffi.aio.Client.wait`."""
        conditions.check(condition)
        validate_timeout(timeout)
        self._backend.check()
        wait = _Wait(self._loop, timeout)
        timer = None if timeout is None else self._loop.call_later(timeout, wait.end)
        try:
            return await run(conditions.wait(condition), lambda effect: self._carry(wait, effect))
        except conditions.TimeIsUp:
            raise conditions.no_time_error(timeout) from None
        finally:
            if timer is not None:
                timer.cancel()
            for watch in self._watches.of_wait(wait):
                self._leave(watch, wait)

    async def set_again(self) -> None:
        """Call after the daemon was told to forget all watches of the connection."""
        for watch in self._watches:
            if not watch.waits:
                continue  # removed meanwhile
            try:
                await self._backend.call(watch.request())
            except WatchExistsError:
                pass  # another task has just set it again
            if watch.waits:
                self._tell(watch)  # something may have changed meanwhile
            else:
                self._take_away(watch)

    def receive(self, event: WatchEvent) -> None:
        """See :class:`~xsffi.aio.connection.Receiver`."""
        watch = self._watches.of(event.token)
        if watch is not None:
            self._tell(watch)

    def end(self, error: Callable[[], XenStoreError]) -> None:
        """See :class:`~xsffi.aio.connection.Receiver`."""
        self._over = error
        for watch in self._watches:
            for wait in watch.waits:
                wait.wake()

    async def _carry(self, wait: _Wait, effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            return await self._next_event(wait, effect.wait)
        if isinstance(effect, Watch):
            return await self._set(wait, effect)
        if isinstance(effect, Unwatch):
            return self._part(wait, effect)
        return await (self._call(wait, effect) if isinstance(effect, Request) else self._call_many(wait, effect))

    async def _call(self, wait: _Wait, request: Request[Any]) -> Any:
        (outcome,) = await self._call_many(wait, [request])
        if isinstance(outcome, XenStoreError):
            raise outcome
        return outcome

    async def _call_many(self, wait: _Wait, requests: Sequence[Request[Any]]) -> list[Any]:
        try:
            within = conditions.time_for_a_reply(wait.deadline, self._loop.time())
            return await self._backend.call_many(requests, within=within)
        except WaitTimeoutError:
            if wait.is_up:
                raise conditions.TimeIsUp from None
            raise

    async def _set(self, wait: _Wait, request: Watch) -> None:
        """Add the wait to the watch at a path, setting it if needed. If another task is setting it, wait for that."""
        path = request.path.decode("ascii")
        while not (watch := self._watches.join(path, wait, self._new_token)).is_set:
            if watch.setter is not None:
                await self._sleep(wait)
                continue
            watch.setter = wait
            try:
                await self._call(wait, watch.request())
                watch.is_set = True
            except WatchExistsError:
                watch.is_set = True  # by set_again()
            finally:
                watch.setter = None
                for other in watch.waits:
                    other.wake()

    def _part(self, wait: _Wait, request: Unwatch) -> None:
        """Remove the wait from the watch at a path."""
        path = request.path.decode("ascii")
        self._leave(self._watches.at(path), wait)
        wait.changed.pop(path, None)

    def _leave(self, watch: SharedWatch[_Wait], wait: _Wait) -> None:
        if self._watches.part(watch, wait) and watch.is_set:
            self._take_away(watch)

    def _take_away(self, watch: SharedWatch[_Wait]) -> None:
        self._backend.post(watch.unwatch_request())

    async def _next_event(self, wait: _Wait, is_waiting: bool) -> WatchEvent | None:
        """The next event at a watched path, with that path as its token; None if there is none and `is_waiting` is
        false."""
        while True:
            if wait.changed:
                path, _ = wait.changed.popitem()
                return WatchEvent(path, path)
            if not is_waiting:
                return None
            await self._sleep(wait)

    async def _sleep(self, wait: _Wait) -> None:
        """Sleep until the wait is woken; raises what ends it."""
        if self._over is not None:
            raise self._over()
        if wait.is_up:
            raise conditions.TimeIsUp
        wait.sleeper = self._loop.create_future()
        try:
            await wait.sleeper
        finally:
            wait.sleeper = None

    def _tell(self, watch: SharedWatch[_Wait]) -> None:
        for wait in watch.waits:
            wait.changed[watch.path] = None
            wait.wake()

    def _new_token(self) -> bytes:
        if self._queue is None:
            self._queue = self._backend.open_queue("wait:", self)
        return self._queue.new_token()
