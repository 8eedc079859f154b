"""The queues of events of the connection in Python: what a thread does that waits for events."""

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
        """Whether it was closed or is lost."""

    def check(self) -> None:
        """Raise what ended the connection, if it is over."""

    def look(self) -> bool:
        """Take in what has come; False where another thread is reading."""

    def sleep(self, queue: Queue, wakeup: Wakeup, timeout: float | None, look: bool) -> None:
        """Wait until the wakeup is set, or, where `look`, something comes in."""

    def used(self) -> AbstractContextManager[None]:
        """Keep the descriptors open meanwhile."""

    def descriptor(self, wakeup: Wakeup) -> int:
        """What is readable while the wakeup is set, or something has come in."""

    def new_token(self, queue: EventQueue) -> bytes:
        """A token for the queue."""

    def close_queue(self, queue: Queue, of: EventQueue) -> None:
        """The queue is closed."""

    def take_back(self, wakeup: Wakeup) -> None:
        """Nobody waits for this wakeup any more."""


class Queue:
    """A queue of events (see :class:`~xsffi.backends.base.Events`)."""

    def __init__(self, connection: Stream, queue: EventQueue, wakeup: Wakeup) -> None:
        """To be had from :meth:`Connection.events`. `wakeup` is set while there are events, or the wait is to end."""
        self._connection = connection
        self._queue = queue
        self._events = queue.events
        self._wakeup: Wakeup | None = wakeup  # None once it is another queue's
        self._is_set = False  # the wakeup is, as far as is known
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
                self.notify()  # this thread looked after the stream, perhaps, so another one must
            elif self._is_closed:
                self._let_go()

    def _wait(self, taken: list[WatchEvent], deadline: float | None) -> None:
        """Take an event once there is one, unless the time is up before, or :meth:`wake` is called."""
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
                if not self._events:  # what came before the end is given first
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
            with suppress(ValueError):  # another thread took it
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
        """Drop what is here."""
        self._events.clear()

    def update(self) -> None:
        """Something came in, for this queue perhaps."""
        if self._events and not self._is_set:
            self.notify()

    def notify(self) -> None:
        """Set the wakeup."""
        wakeup = self._wakeup
        if wakeup is not None:
            self._is_set = True
            wakeup.set()

    def _take(self, taken: list[WatchEvent]) -> bool:
        """Put the next event there; False where none is here."""
        try:
            # In one call, so that no exception comes between taking the event and knowing it.
            taken.extend(islice(iter(self._events.popleft, None), 1))
        except IndexError:
            return False
        if not self._events and self._is_set:
            with self._connection.used():
                self._settle()
        return True

    def _settle(self) -> None:
        """Have the wakeup say what there is: first cleared, then set, since something may come in between."""
        self._is_set = False
        if self._wakeup is not None:
            self._wakeup.clear()
        if self._events or self._woken or self._connection.is_over:
            self.notify()
