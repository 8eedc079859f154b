"""Pending events, one for each path of a watch: as xenstored itself does for a slow client."""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from functools import partial

from ..errors import error_from_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import XenStoreError
    from ..records import WatchEvent

__all__ = ["EventStream"]

_IN_A_ROW_MAX = 64  # events that a task may take before it must yield to others
_WAITING_MAX = 65536  # paths: a stream with more pending is not being read


class EventStream:
    """Events in the order of arrival. A second event at a path is not added while one is pending: the reader will see
    the latest state anyway. If 65 536 are pending and one more arrives, they are discarded, and the stream ends with an
    error."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: OrderedDict[tuple[str, str], WatchEvent] = OrderedDict()  # by token on the wire, and path
        self._in_a_row = 0  # how many were returned without waiting
        self._readers: set[asyncio.Future[None]] = set()
        self._end: Callable[[], BaseException] | None = None  # makes the exception to raise once none is pending

    def put(self, wire_token: str, event: WatchEvent) -> None:
        """Add an event."""
        if self._end is not None:
            return
        self._waiting.setdefault((wire_token, event.path), event)
        if len(self._waiting) > _WAITING_MAX:
            self._waiting.clear()
            self._end = _too_many_error
        self._wake()

    def receive(self, event: WatchEvent) -> None:
        """Add an event under the token that is in it."""
        self.put(event.token, event)

    def end(self, error: Callable[[], XenStoreError]) -> None:
        """No more events will arrive."""
        self.end_with(error)

    def end_with(self, error: Callable[[], BaseException]) -> None:
        """As :meth:`end`, for any exception."""
        self._end = error
        self._wake()

    def take(self) -> tuple[str, WatchEvent] | None:
        """The next event and its token on the wire, None if none is pending; raises once the stream has ended."""
        if self._waiting:
            (wire_token, _), event = self._waiting.popitem(last=False)
            return wire_token, event
        if self._end is not None:
            raise self._end()
        return None

    async def next(self, timeout: float | None = None) -> tuple[str, WatchEvent] | None:
        """As :meth:`take`, waiting up to `timeout` seconds (None: no limit) for one."""
        self._in_a_row += 1
        if self._in_a_row == _IN_A_ROW_MAX:
            self._in_a_row = 0
            await asyncio.sleep(0)
        timer = None
        is_up: list[bool] = []
        try:
            while (taken := self.take()) is None and not is_up:
                self._in_a_row = 0
                reader = self._loop.create_future()
                self._readers.add(reader)
                if timeout is not None and timer is None:
                    timer = self._loop.call_later(timeout, partial(self._time_is_up, is_up))
                try:
                    await reader
                finally:
                    self._readers.discard(reader)
            return taken
        finally:
            if timer is not None:
                timer.cancel()

    def _time_is_up(self, is_up: list[bool]) -> None:
        is_up.append(True)
        self._wake()

    def _wake(self) -> None:
        if self._loop.is_closed():
            return  # nobody waits
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)


def _too_many_error() -> XenStoreError:
    return error_from_errno(
        errno.ENOBUFS,
        None,
        f"more than {_WAITING_MAX} events were pending: they were discarded, and the stream has ended",
    )
