"""A connection, as one mirror uses it."""

from __future__ import annotations

import errno
import itertools

from ..errors import WaitTimeoutError
from ..protocol.mirroring import closed_mirror_error
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from ..records import OVERFLOW, WatchEvent
from .events import EventStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from ..protocol.programs import Effect
    from .backend import Backend

__all__ = ["Link"]

_numbers = itertools.count(1)
_WAKEUP = WatchEvent("", "wakeup")  # of no watch
_WAITING_MAX = 32768  # events: if more are pending, everything is read again instead


class Link(EventStream):
    """A connection, as one mirror uses it: its watches there, and their events."""

    def __init__(self, loop: asyncio.AbstractEventLoop, backend: Backend, timeout: float | None, is_own: bool) -> None:
        """`is_own`: `backend` is closed with this."""
        super().__init__(loop)
        self._backend = backend
        self._timeout = timeout
        self._is_own = is_own
        self._watches: list[Watch] = []  # those that are set
        self._queue = backend.open_queue(f"mirror:{next(_numbers)}:", self)

    def put(self, wire_token: str, event: WatchEvent) -> None:
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.clear()
            super().put("", OVERFLOW)
        super().put(event.token, event)

    async def carry(self, effect: Effect) -> Any:
        """The outcome of an effect."""
        if isinstance(effect, NextEvent):
            return await self._next_event(effect.wait)
        outcome = await (self._backend.call(effect) if isinstance(effect, Request) else self._backend.call_many(effect))
        if isinstance(effect, Watch):
            self._watches.append(effect)
        return outcome

    def new_token(self) -> bytes:
        """A token for a watch whose events go to this link."""
        return self._queue.new_token()

    async def next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event; None if none arrived within `timeout` seconds (None: no limit)."""
        taken = await self.next(timeout)
        return None if taken is None else taken[1]

    def wake(self) -> None:
        """End the current, or else the next, wait for an event."""
        self.receive(_WAKEUP)

    def take_back(self) -> None:
        """Remove the watches, without waiting: the daemon may be hung."""
        for watch in self._watches:
            self._backend.post(Unwatch(watch.path, watch.token))
        self._watches.clear()

    def close(self) -> None:
        """Close it. Idempotent, except for what was set up since."""
        self.take_back()
        self._backend.close_queue(self._queue)
        self.end_with(closed_mirror_error)
        if self._is_own:
            self._backend.close()

    async def _next_event(self, is_waiting: bool) -> WatchEvent | None:
        taken = await self.next(self._timeout) if is_waiting else self.take()
        if taken is None and is_waiting:
            raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch within {self._timeout} seconds")
        return None if taken is None else taken[1]
