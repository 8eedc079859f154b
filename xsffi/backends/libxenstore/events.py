"""Events of a libxenstore handle, which has one list for all watches; here each goes to its own queue.

An event that a thread takes on behalf of another queue is announced there by a wakeup; those still inside libxenstore
are announced by its pipe. So the descriptor of a queue combines both with the liveness descriptor.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from ...errors import ProtocolError, error_from_errno
from ...protocol.session import STRANGE_EVENTS_MAX, EventQueue, EventQueues
from ...records import WatchEvent
from ..wire.polling import one_wait
from .extension import ffi, lib
from .lifetime import Lifetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...static_types import T
    from .connection import Connection

__all__ = ["LibraryEvents", "Router"]

_MOMENT = 0.001  # seconds
_new_tuple: Any = tuple.__new__


class Router:
    """Takes events from libxenstore and puts each into its queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Guards the fields below. Only a thread in the middle of a call takes it, so no thread can interrupt itself and
        # need it again.
        self._lock = threading.Lock()
        self._queues = EventQueues()
        self._taken: list[Any] = []  # taken from libxenstore but not yet queued: at most one event
        self._strange = 0  # how many events had the token of no watch of ours

    def open(self, prefix: str, limit: int = 0) -> LibraryEvents:
        """A new queue; see :meth:`~xsffi.backends.base.Backend.events`."""
        connection = self._connection

        def step() -> LibraryEvents:
            connection.check_open()
            queue = self._locked(lambda: self._queues.open(prefix, limit))
            events = connection.waiters[queue] = LibraryEvents(connection, self, queue)
            return events

        return connection.call(step)

    def close(self, queue: EventQueue) -> None:
        """Forget a closed queue. Takes no lock."""
        self._connection.waiters.pop(queue, None)
        self._queues.close(queue)

    def next_token(self, queue: EventQueue) -> bytes:
        """See :meth:`EventQueue.new_token`; call only in the middle of a call."""
        return self._locked(queue.new_token)

    def take(self, wanted: LibraryEvents, found: list[WatchEvent]) -> bool:
        """Append the next event of queue `wanted`, if there is one, to `found`; events of other queues go to those.

        False if libxenstore will never have another. Call only in the middle of a call.
        """
        taken, events = self._taken, wanted.queue.events
        take_event = self._connection.handle.take_event

        def step() -> bool:
            while True:
                if taken:
                    self._route(wanted)
                if events:
                    # One call, so that no exception can come between taking the event and storing it.
                    found.extend(map(deque.popleft, (events,)))
                    return True
                there_is_one = take_event(taken)
                if not there_is_one:
                    return there_is_one is not None
                if taken[0][1] in wanted.tokens:  # fast path
                    taken[0] = _new_tuple(WatchEvent, taken[0])
                    found.extend(map(list.pop, (taken,)))
                    return True

        try:
            return self._locked(step)
        except IndexError:
            return True  # the queue has just been closed
        except BaseException:
            self._announce()
            raise

    def take_all(self, wanted: LibraryEvents) -> None:
        """Queue everything that libxenstore holds. Call only in the middle of a call."""

        def step() -> None:
            while self._taken or self._connection.handle.take_event(self._taken):
                self._route(wanted)

        try:
            self._locked(step)
        except BaseException:
            self._announce()
            raise

    def _locked(self, step: Callable[[], T]) -> T:
        """Run `step` with the lock held. Not with a `with` statement: from Python 3.14 on, an exception of a signal
        handler may come between taking the lock and entering the block."""
        held: list[bool] = []
        try:
            held.extend(map(self._lock.acquire, (True,)))
            return step()
        finally:
            if held:
                self._lock.release()

    def _announce(self) -> None:
        """After an exception at an unknown point, wake every queue: nothing is lost, and the next reader continues."""
        for waiter in list(self._connection.waiters.values()):
            waiter.notify()

    def _route(self, wanted: LibraryEvents) -> None:
        """Queue the event that was taken; the lock is held."""
        event = self._taken[0]
        if type(event) is tuple:
            event = self._taken[0] = WatchEvent(*event)
        elif any(event is other for queue in self._queues for other in list(queue.events)):
            self._taken.clear()  # it was already queued when an exception came
            return
        try:
            queue = self._queues.route(event)
        except ProtocolError as error:
            self._strange += 1
            if self._strange >= STRANGE_EVENTS_MAX:
                self._connection.lose(f"it was closed: {error.strerror}")
        else:
            if queue is wanted.queue:
                wanted.tokens.add(event.token)
            elif queue is not None:
                waiter = self._connection.waiters.get(queue)
                if waiter is not None:
                    waiter.notify()
        self._taken.clear()


class LibraryEvents:
    """A queue of events (see :class:`~xsffi.backends.base.Events`)."""

    def __init__(self, connection: Connection, router: Router, queue: EventQueue) -> None:
        """Created by :meth:`Router.open`."""
        self._connection = connection
        self._router = router
        self.queue = queue
        #: The tokens of its watches that have had an event.
        self.tokens: set[str] = set()
        self._wakes: list[None] = []  # one for each wake() that has not ended a wait yet
        # Each is created on first use, and closed with the queue or the connection.
        self._wakeup = ffi.new("int *", -1)
        self._combined = ffi.new("int *", -1)
        self._lifetime = Lifetime(self._close_descriptors)

    def new_token(self) -> bytes:
        connection = self._connection

        def step() -> bytes:
            connection.check()
            return self._router.next_token(self.queue)

        return connection.call(step)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        found: list[WatchEvent] = []

        def step() -> None:
            self._connection.check_open()
            self._router.take(self, found)
            if not found:
                self._wait_into(found, timeout)

        try:
            self._connection.call(step)
            return found[0] if found else None
        except BaseException:
            self.queue.events.extendleft(found)
            if self.queue.events:
                self.notify()  # libxenstore no longer signals those it handed over
            raise

    def put_back(self, event: WatchEvent) -> None:
        self.queue.events.appendleft(event)
        self.notify()

    def drop(self, token: bytes) -> None:
        name = token.decode("ascii")
        events = self.queue.events

        def step() -> None:
            self._connection.check_open()
            self._router.take_all(self)
            self.tokens.discard(name)
            for event in list(events):
                if event.token == name:
                    try:
                        events.remove(event)
                    except ValueError:
                        pass  # another thread took it first
            if events:
                self.notify()

        self._connection.call(step)

    def wake(self) -> None:
        self._wakes.append(None)
        self.notify()

    def fileno(self) -> int:
        connection = self._connection

        def step() -> int:
            user = object()
            try:
                self._lifetime.enter(user)
                connection.check_open()
                if self._combined[0] < 0:
                    self._open_wakeup()
                    pipe = connection.xs.xs_fileno()
                    if lib.xsffi_open_combined(self._combined, pipe, self._wakeup[0], connection.liveness.fileno()):
                        raise error_from_errno(ffi.errno)
                return int(self._combined[0])
            finally:
                self._lifetime.users.pop(user, None)
                self._lifetime.left()

        return connection.call(step)

    def close(self) -> None:
        self._router.close(self.queue)
        self.wake()
        self._lifetime.end()

    def notify(self) -> None:
        """Set the wakeup if it has been created."""
        user = object()
        try:
            if self._lifetime.enter(user):
                lib.xsffi_set(self._wakeup[0])
        finally:
            self._lifetime.users.pop(user, None)
            self._lifetime.left()

    def release(self, in_child: bool) -> None:
        """See :meth:`~xsffi.backends.libxenstore.connection.Waiter.release`."""
        if in_child:
            self._lifetime.forget_other_threads()
        self._lifetime.end()

    def _wait_into(self, found: list[WatchEvent], timeout: float | None) -> None:
        """Wait for the next event, and append it to `found` if it arrives in time."""
        connection, wakeup = self._connection, self._wakeup
        deadline = None if timeout is None else monotonic() + timeout
        user = object()
        try:
            self._lifetime.enter(user)
            ready = 0
            while True:
                connection.check_open()
                there_may_be_more = self._router.take(self, found)
                if found:
                    return
                if not there_may_be_more or connection.lost is not None or ready & lib.XSFFI_HUNG_UP:
                    if not there_may_be_more or connection.has_given_all():
                        connection.lose()
                        connection.check()
                    connection.sleep(-1, -1, -1, _MOMENT)
                    continue
                if self._wakes:
                    self._wakes.clear()
                    return
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    ready = lib.xsffi_wait(-1, wakeup[0], connection.liveness.fileno(), 0)
                    if not ready:
                        return
                else:
                    self._open_wakeup()
                    pipe = connection.xs.xs_fileno()
                    ready = connection.sleep(pipe, wakeup[0], connection.liveness.fileno(), one_wait(remaining))
                if ready & lib.XSFFI_WOKEN:
                    lib.xsffi_clear(wakeup[0])
                    self._renotify()
        finally:
            self._lifetime.users.pop(user, None)
            self._lifetime.left()

    def _open_wakeup(self) -> None:
        if self._wakeup[0] < 0:
            if lib.xsffi_open_wakeup(self._wakeup):
                raise error_from_errno(ffi.errno)
            self._renotify()

    def _renotify(self) -> None:
        """Set the wakeup if there is reason to: one may have come before it was created, or before it was cleared."""
        connection = self._connection
        if self.queue.events or self._wakes or connection.lost is not None or connection.ended is not None:
            lib.xsffi_set(self._wakeup[0])

    def _close_descriptors(self) -> None:
        lib.xsffi_close(self._combined)
        lib.xsffi_close(self._wakeup)
