"""Waiting for a condition: threads that wait share their watches, and one of them at a time reads the events of all."""

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
        self.changed: dict[str, None] = {}  # the watched paths at which there was an event, in order
        # Held while the wait is to sleep. A lock, and no event of threading's: what interrupts one of its methods may
        # call it again.
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def remaining(self) -> float | None:
        """How many seconds are left (None: any number)."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    def sleep(self) -> None:
        """Sleep until :meth:`wake` is called, or was since the last time; raises TimeIsUp."""
        seconds = -1.0 if self.deadline is None else min(max(0.0, self.deadline - monotonic()), threading.TIMEOUT_MAX)
        if not self._asleep.acquire(timeout=seconds):
            raise conditions.TimeIsUp

    def wake(self) -> None:
        """End its sleep, or the next one."""
        try:
            self._asleep.release()
        except RuntimeError:
            pass  # it is awake


class Waits:
    """The waits of one client.

    A call of a signal handler or a finalizer that interrupts its own thread's wait is carried out while that sleeps,
    and raises EDEADLK else.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()  # of all below
        self._inside: set[int] = set()  # the threads that have the lock, or are about to
        self._opened: list[Events] = []  # the queue of the events of all waits, once there is one
        self._watches: SharedWatches[_Wait] = SharedWatches()
        self._taken: list[WatchEvent | None] = []  # events that came out of the queue, and were not yet told
        self._reader: _Wait | None = None  # who sleeps until an event comes
        self._sleepers: dict[_Wait, None] = {}  # those who sleep until they are told of one, in order
        self._ended: list[_Wait] = []  # those that are over, however far their end has got
        self._unused: list[SharedWatch[_Wait]] = []  # watches that are to be taken away, unless somebody needs them now
        self._owner = os.getpid()

    def wait(self, condition: Condition[T | None], timeout: float | None) -> T:
        """See :meth:`xsffi.Client.wait`."""
        conditions.check(condition)
        validate_timeout(timeout)
        if self._owner != os.getpid():
            raise forked_error()  # before the lock, which a thread of the parent may have had
        wait = _Wait(None if timeout is None else monotonic() + timeout)
        try:
            return programs.run(conditions.wait(condition), lambda effect: self._carry(wait, effect))
        except conditions.TimeIsUp:
            raise conditions.no_time_error(timeout) from None
        finally:
            # Once it is among those that have ended, its watches are taken away, if not here, then by the next wait.
            try:
                self._ended.append(wait)
                self._tidy()
            except BaseException:
                self._ended.append(wait)  # an interruption may have come before, and twice does no harm
                self._tidy()
                raise

    def set_again(self) -> None:
        """The daemon was told to forget all watches of the connection."""
        for watch in self._locked(lambda: list(self._watches)):
            if not watch.waits:
                continue  # it was taken away meanwhile
            try:
                self._backend.call(watch.request())
            except WatchExistsError:
                pass  # another thread has just set it
            self._locked(partial(self._tell, watch))  # of what happened meanwhile
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
        """Have the wait told of events at a path. Where another thread is setting that watch, this one waits for it."""
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
        """Nobody is setting that watch now: those who wait for it go on."""
        watch.setter = None
        for other in list(watch.waits):
            other.wake()

    def _part(self, wait: _Wait, request: Unwatch) -> None:
        """Tell the wait of events at a path no more."""
        path = request.path.decode("ascii")

        def step() -> None:
            self._leave(self._watches.at(path), wait)
            wait.changed.pop(path, None)

        self._locked(step)
        self._take_away_unused()

    def _leave(self, watch: SharedWatch[_Wait], wait: _Wait) -> None:
        """A wait is told of the events of a watch no more; the lock is held."""
        if watch.setter is wait:
            self._stop_setting(watch)
        if watch.waits == {wait}:
            self._unused.append(watch)  # before, in case of an interruption
        self._watches.part(watch, wait)

    def _tidy(self) -> None:
        """Take out the waits that are over, and the watches that nobody needs."""
        if self._owner == os.getpid():  # else a condition has forked
            self._locked(self._take_out_ended)
            self._take_away_unused()

    def _take_out_ended(self) -> None:
        """The lock is held."""
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
            with suppress(ValueError):  # another thread was faster
                self._unused.remove(watch)

    # Events.

    def _next_event(self, wait: _Wait, is_waiting: bool) -> WatchEvent | None:
        """The next event at a watched path, with that path as its token; None where there is none and it is not waited
        for."""
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
                # In one call, so that no exception comes between taking an event and knowing it.
                self._taken.extend(map(self._opened[0].next_event, (wait.remaining(),)))
        finally:
            self._locked(lambda: self._stop_reading(wait))

    def _look(self, wait: _Wait, is_waiting: bool) -> bool:
        """Tell all who wait of the events that have come. Whether this one may sleep until the next comes, where it
        waits; the lock is held."""
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
        # The reader may be what this has interrupted: it sleeps in the same thread, and cannot go on before.
        if self._reader.thread == wait.thread:
            return True
        self._sleepers[wait] = None
        return False

    def _stop_reading(self, wait: _Wait) -> None:
        """A wait goes on, or is over: where nobody reads then, one of those who sleep is the next to do so. The lock is
        held."""
        if self._reader is wait:
            self._reader = None
        if self._reader is not None:
            self._wake_reader()
            return
        # Of a thread's waits the last: what a signal handler's has interrupted cannot go on before. In the main thread
        # a handler may have interrupted the last one too, so it is the last choice.
        last = {other.thread: other for other in self._sleepers}
        in_main_thread = last.pop(threading.main_thread().ident or 0, None)
        for other in [*last.values(), *filter(None, [in_main_thread])][:1]:
            other.wake()

    def _wake_reader(self) -> None:
        """End the sleep of the reader where another has told it of an event. Not by the queue's wake(), which may end
        the next call of any thread instead: by an event that is of no watch, and is put there again until the reader
        has gone on."""
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
        """Take a step with the lock held."""
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
