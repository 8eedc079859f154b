"""The event queues of the connection in Python: how a thread waits for events."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import islice
from time import monotonic

from ...errors import XenStoreError, closed_error
from ...static_types import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ...protocol.session import EventQueue
    from ...records import WatchEvent
    from .polling import Wakeup

__all__ = ["Queue"]


class Stream(Protocol):
    """What a queue needs of its connection."""

    @property
    def is_over(self) -> bool:
        """Whether it was closed or lost."""

    def check(self) -> None:
        """Raise the reason if the connection has ended."""

    def look(self) -> bool:
        """Process what has arrived; False if another thread is reading."""

    def sleep(self, queue: Queue, wakeup: Wakeup, timeout: float | None, look: bool) -> None:
        """Wait until the wakeup is set or, if `look`, input arrives."""

    def used(self) -> AbstractContextManager[None]:
        """Keep the descriptors open meanwhile."""

    def descriptor(self, wakeup: Wakeup) -> int:
        """A descriptor that is readable while the wakeup is set, or input has arrived."""

    def new_token(self, queue: EventQueue) -> bytes:
        """A token for the queue."""

    def close_queue(self, queue: Queue, of: EventQueue) -> None:
        """Forget a closed queue."""

    def take_back(self, wakeup: Wakeup) -> None:
        """Nobody waits for this wakeup any more."""


class Queue:
    """A queue of events (see :class:`~xsffi.backends.base.Events`)."""

    def __init__(self, connection: Stream, queue: EventQueue, wakeup: Wakeup) -> None:
        """Created by :meth:`Connection.events`. `wakeup` is set while there are events, or when a wait is to end."""
        self._connection = connection
        self._queue = queue
        self._events = queue.events
        self._wakeup: Wakeup | None = wakeup  # None once given back
        self._is_set = False  # whether the wakeup is, as far as we know
        self._woken = False  # by wake()
        self._is_closed = False
        self._waiters: set[object] = set()

    def new_token(self) -> bytes:
        return self._connection.new_token(self._queue)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        taken: list[WatchEvent] = []
        try:
            if not self._take(taken):
                deadline = None if timeout is None else monotonic() + timeout
                with self._connection.used(), self._waiting():
                    self._wait(taken, deadline)
            return taken[0] if taken else None
        except BaseException:
            for event in taken:
                self.put_back(event)
            raise

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        me = object()
        try:
            self._waiters.add(me)
            yield
        finally:
            self._waiters.discard(me)
            if self._waiters:
                self.notify()  # this thread may have been the reader: another must take over
            elif self._is_closed:
                self._let_go()

    def _wait(self, taken: list[WatchEvent], deadline: float | None) -> None:
        """Take the next event, unless the time runs out, or :meth:`wake` is called, first."""
        connection = self._connection
        while not self._take(taken):
            connection.check()
            if self._woken:
                self._woken = False
                self._settle()
                return
            try:
                is_free = connection.look()
            except XenStoreError:
                if not self._events:  # events that arrived before the end come first
                    raise
                continue
            if self._events:
                continue
            remaining = None if deadline is None else deadline - monotonic()
            if self._wakeup is None or (remaining is not None and remaining <= 0):
                if self._is_set:
                    self._settle()
                return
            connection.sleep(self, self._wakeup, remaining, is_free)
            self._settle()

    def put_back(self, event: WatchEvent) -> None:
        with self._connection.used():
            self._events.appendleft(event)
            self.notify()

    def drop(self, token: bytes) -> None:
        name = token.decode("ascii")
        events = self._events
        for event in [event for event in events.copy() if event.token == name]:
            with suppress(ValueError):  # another thread took it first
                events.remove(event)
        with self._connection.used():
            self._settle()

    def wake(self) -> None:
        self._woken = True
        with self._connection.used():
            self.notify()

    def fileno(self) -> int:
        if self._wakeup is None:
            self._connection.check()
            raise closed_error()
        return self._connection.descriptor(self._wakeup)

    def close(self) -> None:
        self._is_closed = True
        self._connection.close_queue(self, self._queue)
        with self._connection.used():
            self._settle()
        if not self._waiters:
            self._let_go()

    def _let_go(self) -> None:
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._connection.take_back(wakeup)

    def clear(self) -> None:
        """Discard all pending events."""
        self._events.clear()

    def update(self) -> None:
        """Call when something arrived, possibly for this queue."""
        if self._events and not self._is_set:
            self.notify()

    def notify(self) -> None:
        """Set the wakeup."""
        wakeup = self._wakeup
        if wakeup is not None:
            self._is_set = True
            wakeup.set()

    def _take(self, taken: list[WatchEvent]) -> bool:
        """Append the next event to `taken`; False if there is none."""
        try:
            # One call, so that no exception can come between taking the event and storing it.
            taken.extend(islice(iter(self._events.popleft, None), 1))
        except IndexError:
            return False
        if not self._events and self._is_set:
            with self._connection.used():
                self._settle()
        return True

    def _settle(self) -> None:
        """Make the wakeup match the state: clear first, then set, since something may arrive in between."""
        self._is_set = False
        if self._wakeup is not None:
            self._wakeup.clear()
        if self._events or self._woken or self._connection.is_over:
            self.notify()
