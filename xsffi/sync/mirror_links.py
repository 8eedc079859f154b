"""A connection, as one mirror uses it."""

from __future__ import annotations

import errno
import itertools
from contextlib import suppress
from math import inf
from time import monotonic

from ..errors import WaitTimeoutError, XenStoreError
from ..protocol.mirroring import closed_mirror_error
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..backends.base import Backend
    from ..protocol.programs import Effect
    from ..records import WatchEvent

__all__ = ["Link"]

_numbers = itertools.count(1)
_WAITING_MAX = 32768  # events: if more are pending, everything is read again instead


class Link:
    """A connection, as one mirror uses it: its watches there, and their events."""

    def __init__(self, backend: Backend, timeout: float | None, is_own: bool) -> None:
        """`is_own`: `backend` is closed with this."""
        self._backend = backend
        self._timeout = timeout
        self._is_own = is_own
        self._is_closed = False
        self._watches: list[Watch] = []  # those that are, or may be, set
        try:
            self._events = backend.events(f"mirror:{next(_numbers)}:", _WAITING_MAX)
        except BaseException:
            if is_own:
                backend.close()
            raise

    def carry(self, effect: Effect) -> Any:
        """The outcome of an effect."""
        if isinstance(effect, NextEvent):
            return self._first_event() if effect.wait else self._events.next_event(0.0)
        if not isinstance(effect, Watch):
            return self._backend.call(effect) if isinstance(effect, Request) else self._backend.call_many(effect)
        self._watches.append(effect)  # before the request, in case of an interruption
        try:
            return self._backend.call(effect)
        except XenStoreError as error:
            if not isinstance(error, WaitTimeoutError):
                self._watches.remove(effect)
            raise

    def new_token(self) -> bytes:
        """A token for a watch whose events go to this link."""
        return self._events.new_token()

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event; None if none arrived within `timeout` seconds (None: no limit), or it was woken."""
        return self._events.next_event(timeout)

    def wake(self) -> None:
        """End the current, or else the next, wait for an event."""
        with suppress(XenStoreError):
            self._events.wake()

    def fileno(self) -> int:
        """As :meth:`xsffi.backends.base.Events.fileno`."""
        return self._events.fileno()

    def take_back(self) -> None:
        """Remove the watches, without waiting: the daemon may be hung."""
        while watches := self._watches[:1]:
            with suppress(XenStoreError):
                self._backend.post(Unwatch(watches[0].path, watches[0].token))
            with suppress(ValueError):  # another thread took it first
                self._watches.remove(watches[0])

    def close(self) -> None:
        """Close it. Idempotent, except for what was set up since."""
        self._is_closed = True
        if not self._is_own:  # otherwise the watches end with the connection
            self.take_back()
        self.wake()
        self._events.close()
        if self._is_own:
            self._backend.close()

    def _first_event(self) -> WatchEvent:
        deadline = inf if self._timeout is None else monotonic() + self._timeout
        while True:
            remaining = max(0.0, deadline - monotonic())
            event = self._events.next_event(None if remaining == inf else remaining)
            if event is not None:
                return event
            if self._is_closed:
                raise closed_mirror_error()
            if remaining == 0:
                raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch within {self._timeout} seconds")
