"""Waiting for conditions: waiting threads share their watches, and one of them at a time reads the events for all."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from threading import get_ident
from time import monotonic

from ..errors import WaitTimeoutError, WatchExistsError, XenStoreError, forked_error, reentered_error
from ..options import validate_timeout
from ..protocol import conditions, programs
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from ..protocol.shared_watches import SharedWatches
from ..records import WatchEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..backends.base import Backend, Events
    from ..protocol.conditions import Condition
    from ..protocol.programs import Effect
    from ..protocol.shared_watches import SharedWatch
    from ..static_types import T

__all__ = ["Waits"]

_OF_NO_WATCH = WatchEvent("", "")


class _Wait:
    """One wait, in one thread."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.thread = get_ident()
        self.changed: dict[str, None] = {}  # the watched paths that had an event, in order
        # Held while the wait is to sleep. A lock rather than a threading.Event, whose methods are not re-entrant in
        # signal handlers.
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def remaining(self) -> float | None:
        """How many seconds are left (None: no limit)."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    def sleep(self) -> None:
        """Sleep until :meth:`wake` is called, or has been since the last sleep; raises TimeIsUp."""
        seconds = -1.0 if self.deadline is None else min(max(0.0, self.deadline - monotonic()), threading.TIMEOUT_MAX)
        if not self._asleep.acquire(timeout=seconds):
            raise conditions.TimeIsUp

    def wake(self) -> None:
        """End the current, or else the next, sleep."""
        try:
            self._asleep.release()
        except RuntimeError:
            pass  # it is awake


class Waits:
    """The waits of one client.

    A call from a signal handler or finalizer that interrupts its own thread's wait is carried out if that was asleep,
    and otherwise raises EDEADLK.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()  # guards the fields below
        self._inside: set[int] = set()  # the threads that hold the lock, or are about to take it
        self._opened: list[Events] = []  # at most one: the queue for all waits, created on first use
        self._watches: SharedWatches[_Wait] = SharedWatches()
        self._taken: list[WatchEvent | None] = []  # events taken from the queue but not dispatched yet
        self._reader: _Wait | None = None  # the wait that sleeps in the queue
        self._sleepers: dict[_Wait, None] = {}  # the waits that sleep until they are woken, in order
        self._ended: list[_Wait] = []  # those that have ended but may not be cleaned up yet
        self._unused: list[SharedWatch[_Wait]] = []  # watches to remove, unless some wait needs them again
        self._owner = os.getpid()

    def wait(self, condition: Condition[T | None], timeout: float | None) -> T:
        """See :meth:`xsffi.Client.wait`."""
        conditions.check(condition)
        validate_timeout(timeout)
        if self._owner != os.getpid():
            raise forked_error()  # before taking the lock, which a thread of the parent may have held
        wait = _Wait(None if timeout is None else monotonic() + timeout)
        try:
            return programs.run(conditions.wait(condition), lambda effect: self._carry(wait, effect))
        except conditions.TimeIsUp:
            raise conditions.no_time_error(timeout) from None
        finally:
            # Once it is in the list of ended waits, its watches are removed: here, or by the next wait.
            try:
                self._ended.append(wait)
                self._tidy()
            except BaseException:
                self._ended.append(wait)  # the first append may have been interrupted; twice does no harm
                self._tidy()
                raise

    def set_again(self) -> None:
        """Call after the daemon was told to forget all watches of the connection."""
        for watch in self._locked(lambda: list(self._watches)):
            if not watch.waits:
                continue  # removed meanwhile
            try:
                self._backend.call(watch.request())
            except WatchExistsError:
                pass  # another thread has just set it again
            self._locked(partial(self._tell, watch))  # something may have changed meanwhile
            if not watch.waits:
                self._unused.append(watch)
        self._locked(self._wake_reader)
        self._take_away_unused()

    def _carry(self, wait: _Wait, effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            return self._next_event(wait, effect.wait)
        if isinstance(effect, Watch):
            return self._set(wait, effect)
        if isinstance(effect, Unwatch):
            return self._part(wait, effect)
        return self._call(wait, effect) if isinstance(effect, Request) else self._call_many(wait, effect)

    def _call(self, wait: _Wait, request: Request[Any]) -> Any:
        (outcome,) = self._call_many(wait, [request])
        if isinstance(outcome, XenStoreError):
            raise outcome
        return outcome

    def _call_many(self, wait: _Wait, requests: Sequence[Request[Any]]) -> list[Any]:
        try:
            within = conditions.time_for_a_reply(wait.deadline, monotonic())
            return self._backend.call_many(requests, within=within)
        except WaitTimeoutError:
            if wait.remaining() == 0:
                raise conditions.TimeIsUp from None
            raise

    # Watches.

    def _set(self, wait: _Wait, request: Watch) -> None:
        """Add the wait to the watch at a path, setting it if needed. If another thread is setting it, wait for that."""
        path = request.path.decode("ascii")

        def step() -> SharedWatch[_Wait] | None:
            watch = self._watches.join(path, wait, self._queue().new_token)
            if watch.is_set:
                return None
            if watch.setter is None:
                watch.setter = wait
            elif watch.setter.thread == wait.thread:
                raise reentered_error()
            return watch

        while (watch := self._locked(step)) is not None:
            if watch.setter is not wait:
                wait.sleep()
                continue
            watch.may_be_set = True
            try:
                self._call(wait, watch.request())
                watch.is_set = True
            except WatchExistsError:
                watch.is_set = True  # by set_again()
            except XenStoreError:
                watch.may_be_set = False
                raise
            finally:
                self._stop_setting(watch)
            return

    def _stop_setting(self, watch: SharedWatch[_Wait]) -> None:
        """The watch is no longer being set: wake the waits that need it."""
        watch.setter = None
        for other in list(watch.waits):
            other.wake()

    def _part(self, wait: _Wait, request: Unwatch) -> None:
        """Remove the wait from the watch at a path."""
        path = request.path.decode("ascii")

        def step() -> None:
            self._leave(self._watches.at(path), wait)
            wait.changed.pop(path, None)

        self._locked(step)
        self._take_away_unused()

    def _leave(self, watch: SharedWatch[_Wait], wait: _Wait) -> None:
        """Remove a wait from a watch; the lock is held."""
        if watch.setter is wait:
            self._stop_setting(watch)
        if watch.waits == {wait}:
            self._unused.append(watch)  # before removing the wait, in case of an interruption
        self._watches.part(watch, wait)

    def _tidy(self) -> None:
        """Clean up ended waits, and watches that nobody needs."""
        if self._owner == os.getpid():  # otherwise a condition has forked
            self._locked(self._take_out_ended)
            self._take_away_unused()

    def _take_out_ended(self) -> None:
        """Clean up the ended waits; the lock is held."""
        for wait in list(self._ended):
            for watch in self._watches.of_wait(wait):
                self._leave(watch, wait)
            self._sleepers.pop(wait, None)
            self._stop_reading(wait)
            self._ended.remove(wait)

    def _take_away_unused(self) -> None:
        for watch in list(self._unused):
            if watch.may_be_set and not watch.waits:
                self._backend.post(watch.unwatch_request())
            with suppress(ValueError):  # another thread took it first
                self._unused.remove(watch)

    # Events.

    def _next_event(self, wait: _Wait, is_waiting: bool) -> WatchEvent | None:
        """The next event at a watched path, with that path as its token; None if there is none and `is_waiting` is
        false."""
        try:
            while True:
                may_read = self._locked(lambda: self._look(wait, is_waiting))
                if wait.changed:
                    path, _ = wait.changed.popitem()
                    return WatchEvent(path, path)
                if not is_waiting:
                    return None
                if wait.remaining() == 0:
                    raise conditions.TimeIsUp
                if not may_read:
                    wait.sleep()
                    continue
                # One call, so that no exception can come between taking an event and storing it.
                self._taken.extend(map(self._opened[0].next_event, (wait.remaining(),)))
        finally:
            self._locked(lambda: self._stop_reading(wait))

    def _look(self, wait: _Wait, is_waiting: bool) -> bool:
        """Dispatch the events that have arrived. Whether this wait may now sleep for the next one, if `is_waiting`; the
        lock is held."""
        queue = self._queue()
        self._sleepers.pop(wait, None)
        self._take_out_ended()
        while True:
            for event in self._taken:
                watch = self._watches.of(event.token) if event is not None else None
                if watch is not None:
                    self._tell(watch)
            self._taken.clear()
            event = queue.next_event(0.0)
            if event is None:
                break
            self._taken.append(event)
        if self._reader is not None and self._reader.thread != wait.thread:
            self._wake_reader()
        if not is_waiting or wait.changed:
            return False
        if self._reader is None:
            self._reader = wait
        # The reader may be the wait that this one has interrupted: it sleeps in the same thread, and cannot continue
        # first.
        if self._reader.thread == wait.thread:
            return True
        self._sleepers[wait] = None
        return False

    def _stop_reading(self, wait: _Wait) -> None:
        """A wait continues or has ended: if nobody is reading then, one of the sleepers becomes the reader. The lock is
        held."""
        if self._reader is wait:
            self._reader = None
        if self._reader is not None:
            self._wake_reader()
            return
        # Of a thread's waits, wake the last: one interrupted by a signal handler's cannot continue before that. In the
        # main thread even the last one may have been interrupted by a handler, so it is the last choice.
        last = {other.thread: other for other in self._sleepers}
        in_main_thread = last.pop(threading.main_thread().ident or 0, None)
        for other in [*last.values(), *filter(None, [in_main_thread])][:1]:
            other.wake()

    def _wake_reader(self) -> None:
        """End the reader's sleep after another thread has dispatched an event to it. Not with the queue's wake(), which
        might end the next call of any thread instead, but with an event of no watch, which is put back until the reader
        has continued."""
        if self._reader is not None and self._reader.changed:
            self._opened[0].put_back(_OF_NO_WATCH)

    def _tell(self, watch: SharedWatch[_Wait]) -> None:
        for wait in watch.waits:
            wait.changed[watch.path] = None
            wait.wake()

    def _queue(self) -> Events:
        if not self._opened:
            self._opened.append(self._backend.events("wait:"))
        return self._opened[0]

    def _locked(self, step: Callable[[], T]) -> T:
        """Run `step` with the lock held."""
        me = get_ident()
        if me in self._inside:
            raise reentered_error()
        held: list[bool] = []
        try:
            self._inside.add(me)
            try:
                held.extend(map(self._lock.acquire, (True,)))
                return step()
            finally:
                if held:
                    self._lock.release()
        finally:
            self._inside.discard(me)
