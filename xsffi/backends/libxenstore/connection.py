"""A handle of libxenstore shared by threads: who uses it, why it ended, and how it is freed.

Several threads may call libxenstore's functions at once, but not on a freed handle; and a thread that waits inside for
a hung daemon returns only when the stream ends. So every user of the handle, or of one of the descriptors, is recorded,
and the last one to leave frees them.

No lock is held during a call of libxenstore, nor anywhere that a signal handler could interrupt and then need it.
"""

from __future__ import annotations

import errno
from _thread import get_ident
from time import monotonic

from ...addresses import Kind
from ...errors import closed_error, forked_error, lost_error, reentered_error
from ...static_types import Protocol
from .extension import ffi, lib
from .lifetime import Lifetime
from .liveness import Liveness
from .opening import open_at
from .reading import PlainHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...errors import XenStoreError
    from ...static_types import T
    from .opening import Place

__all__ = ["SAYS_LOST", "Connection", "Waiter"]

# The errnos of libxenstore when it has lost the daemon or given up the connection; EINVAL may also refuse a request.
SAYS_LOST = (errno.EBADF, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EINVAL)
_GIVEN_UP = (
    "libxenstore gave it up, as it does on a reply of more than 4096 bytes, "
    "which oxenstored sends for long directories (the wire backend accepts them)"
)
# How many seconds libxenstore's reader thread may take to deliver what arrived before the end of the stream.
_LAST_EVENTS = 0.1
_MOMENT = 1_000_000  # nanoseconds


class Waiter(Protocol):
    """A thread that waits for events."""

    def notify(self) -> None:
        """End the wait, since the connection has ended."""

    def release(self, in_child: bool) -> None:
        """Close the descriptors (those of a child process if `in_child`) once nobody uses them any more."""


class Connection:
    """See above. :meth:`check` raises the reason why it ended."""

    def __init__(self, place: Place) -> None:
        """Raises OSError or XenStoreError if libxenstore cannot open `place`, or no descriptors are left."""
        self._forks = lib.xsffi_forks
        opened = open_at(place)
        self.xs = opened.xs
        self.kind = opened.kind
        #: For what is done with the handle entirely in C.
        self.handle: Any = self.xs.shortcut or PlainHandle(self.xs)
        try:
            self.liveness = Liveness(opened.descriptor, place.path if self.kind == Kind.SOCKET else None)
        except BaseException:
            self.xs.xs_close()
            raise
        self.has_reader = False  # whether libxenstore's reader thread runs: the first watch starts it
        self.ended: Callable[[], XenStoreError] | None = None  # makes the error of every call after close()
        self.lost: Callable[[], XenStoreError] | None = None  # the same, once the connection is lost
        self.waiters: dict[object, Waiter] = {}
        self._end_of_events: float | None = None
        self._lifetime = Lifetime(self._release, self._is_read_in_c)
        #: Contains the ident of each thread in the middle of a call, so that a call that interrupts one can tell.
        self.users = self._lifetime.users
        self.enter = self._lifetime.enter
        self.left = self._lifetime.left

    @property
    def is_parents(self) -> bool:
        """Whether this is a child of the process that opened it. Accurate even in a finalizer that runs before
        :meth:`after_fork_in_child`."""
        return bool(lib.xsffi_forks != self._forks)

    def check(self) -> None:
        """Raise the reason if the connection has ended."""
        self.check_open()
        if self.lost is not None:
            raise self.lost()

    def check_open(self) -> None:
        """As :meth:`check`, but a lost daemon is no error: events may still be pending."""
        if lib.xsffi_forks != self._forks:  # is_parents, but faster
            raise forked_error()
        if self.ended is not None:
            raise self.ended()

    def call(self, step: Callable[[], T]) -> T:
        """Run `step` as a call of this thread. A call from a signal handler or finalizer that interrupts it is refused
        with EDEADLK. The handle and its descriptors, if still open, stay open meanwhile."""
        me = get_ident()
        if me in self.users:
            raise reentered_error()
        try:
            self.users[me] = me
            return step()
        finally:
            self.users.pop(me, None)
            if self.ended is not None:
                self.left()

    def check_alive(self) -> None:
        """As :meth:`check`, but also look whether the daemon is still alive."""
        user = object()
        try:
            if self.enter(user) and self.lost is None and self.liveness.is_dead():
                self.lose()
            self.check()
        finally:
            self.users.pop(user, None)
            self.left()

    def is_lost(self, error: XenStoreError) -> bool:
        """Whether a request failed with this error because the connection was lost or closed; it is then marked so."""
        if self.ended is not None or self.lost is not None:
            return True
        if error.errno not in SAYS_LOST:
            return False
        if error.errno == errno.EINVAL and not self.liveness.is_dead():
            # Once its reader thread has seen the end of the stream, libxenstore fails everything with EINVAL, which is
            # also the daemon's answer to a bad request. A valid request tells them apart.
            path = lib.xs_get_domain_path(self.xs.handle, 0)
            lib.free(path)
            if path:
                return False
        self.lose(None if self.liveness.fileno() < 0 or self.liveness.is_dead() else _GIVEN_UP)
        return True

    def has_given_all(self) -> bool:
        """Whether all events that arrived before the daemon's death are available: libxenstore's reader thread may not
        have delivered them yet."""
        if self._end_of_events is None:
            self._end_of_events = monotonic() + _LAST_EVENTS
        return not self.has_reader or monotonic() >= self._end_of_events

    def sleep(self, events: int, wakeup: int, liveness: int, seconds: float) -> int:
        """Wait until one of the descriptors is ready, or the time is up; return which is.

        The thread does not count as in a call meanwhile, so a signal handler may use the connection.
        """
        me, sleeper = get_ident(), object()
        try:
            self.users[sleeper] = me
            self.users.pop(me, None)
            return int(lib.xsffi_wait(events, wakeup, liveness, int(seconds * 1e9)))
        finally:
            self.users[me] = me
            self.users.pop(sleeper, None)

    # Closing.

    def lose(self, reason: str | None = None) -> None:
        """Mark the connection as lost for this reason; None: the daemon closed it."""
        if self.lost is None:
            self.lost = lambda: lost_error(reason)
        if not self.liveness.is_own:
            self.handle.end()  # its stream cannot be shut down from here
        self._end()

    def close(self) -> None:
        """See :meth:`~xsffi.backends.base.Backend.close`."""
        if self.ended is None:
            self.ended = closed_error
        self.handle.end()
        self._end()
        self._lifetime.end()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self.ended = forked_error
        self.handle.end()
        self._lifetime.forget_other_threads()
        self._lifetime.end()

    def _end(self) -> None:
        """Make every thread leave; the reason is already recorded."""
        user = object()
        try:
            if self.enter(user) and not self.is_parents:
                self.liveness.shut()  # makes a thread that waits inside libxenstore return
                for waiter in list(self.waiters.values()):
                    waiter.notify()
        finally:
            self.users.pop(user, None)
            self.left()

    def _is_read_in_c(self) -> bool:
        # In a child process, the threads inside were the parent's.
        return bool(self.handle.end()) and not self.is_parents

    def _release(self) -> None:
        in_child = self.is_parents
        try:
            if in_child:
                self.xs.xs_daemon_destroy_postfork()
                return
            self._end_reader()
            self.xs.xs_close()
            self.liveness.close_leftover()
        finally:
            self.liveness.close()
            for waiter in list(self.waiters.values()):
                waiter.release(in_child)

    def _end_reader(self) -> None:
        """Make libxenstore's reader thread see the end of the stream and exit.

        xs_close would cancel it wherever it is, and leak what it had allocated for the next message.
        """
        if not self.has_reader or not self.liveness.is_own or not self.xs.is_open:
            return
        self.liveness.shut()
        deadline = monotonic() + _LAST_EVENTS
        while monotonic() < deadline:
            event = lib.xs_check_watch(self.xs.handle)
            if event:
                lib.free(event)
            elif ffi.errno != errno.EAGAIN:
                return  # it has exited
            else:
                lib.xsffi_wait(-1, -1, -1, _MOMENT // 5)
