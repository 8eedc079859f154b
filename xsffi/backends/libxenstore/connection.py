"""A handle of libxenstore that threads share: who uses it, what has ended it, and how it is freed.

libxenstore's functions may be called by several threads at a time, but not on a handle that was freed; and a thread
that waits inside for a daemon that hangs comes back only when the stream ends. So whoever uses the handle, or one of
the descriptors, is written down, and the last one out frees them.

No lock is held in a call of libxenstore, or anywhere that a signal handler can come in between and need it.
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

# What libxenstore says when it has lost the daemon, or given up the connection itself; the last is said of requests
# too.
SAYS_LOST = (errno.EBADF, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EINVAL)
_GIVEN_UP = (
    "libxenstore gave it up; it does so where a reply has more than 4096 bytes, "
    "as oxenstored sends them for long directories (the wire backend takes them)"
)
# How long, in seconds, the reader thread of libxenstore may take to hand on what came before the end of the stream.
_LAST_EVENTS = 0.1
_MOMENT = 1_000_000  # nanoseconds


class Waiter(Protocol):
    """Who waits for events."""

    def notify(self) -> None:
        """End the wait, since the connection is over."""

    def release(self, in_child: bool) -> None:
        """Close the descriptors, where `in_child` those of a child process, once nobody uses them any more."""


class Connection:
    """See above. What ends it is raised by :meth:`check`."""

    def __init__(self, place: Place) -> None:
        """Raises OSError or XenStoreError where libxenstore cannot open there, or there are no descriptors left."""
        self._forks = lib.xsffi_forks
        opened = open_at(place)
        self.xs = opened.xs
        self.kind = opened.kind
        #: What is done through the handle in C alone.
        self.handle: Any = self.xs.shortcut or PlainHandle(self.xs)
        try:
            self.liveness = Liveness(opened.descriptor, place.path if self.kind == Kind.SOCKET else None)
        except BaseException:
            self.xs.xs_close()
            raise
        self.has_reader = False  # libxenstore has a reader thread, which the first watch starts
        self.ended: Callable[[], XenStoreError] | None = None  # makes what every call raises, once it was closed
        self.lost: Callable[[], XenStoreError] | None = None  # the same, once the daemon is gone
        self.waiters: dict[object, Waiter] = {}
        self._end_of_events: float | None = None
        self._lifetime = Lifetime(self._release, self._is_read_in_c)
        #: A thread in the middle of a call is here by its ident, so a call that interrupts one finds it.
        self.users = self._lifetime.users
        self.enter = self._lifetime.enter
        self.left = self._lifetime.left

    @property
    def is_parents(self) -> bool:
        """Whether this is a child process of the one that opened it. So it is before anything of Python runs there, be
        it a finalizer that comes before :meth:`after_fork_in_child`."""
        return bool(lib.xsffi_forks != self._forks)

    def check(self) -> None:
        """Raise what has ended it, if it is over."""
        self.check_open()
        if self.lost is not None:
            raise self.lost()

    def check_open(self) -> None:
        """Raise what :meth:`check` does, but not that the daemon is gone: there may be events still."""
        if lib.xsffi_forks != self._forks:  # as is_parents, in less time
            raise forked_error()
        if self.ended is not None:
            raise self.ended()

    def call(self, step: Callable[[], T]) -> T:
        """Take a step as a call of this thread's, in the middle of which a signal handler or finalizer of it finds it:
        that is refused with EDEADLK. The handle and its descriptors stay meanwhile, if they are there."""
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
        """Raise what :meth:`check` does, also where it is not yet known that the daemon is gone."""
        user = object()
        try:
            if self.enter(user) and self.lost is None and self.liveness.is_dead():
                self.lose()
            self.check()
        finally:
            self.users.pop(user, None)
            self.left()

    def is_lost(self, error: XenStoreError) -> bool:
        """Whether a request failed with this because the connection is lost or closed; it is over then."""
        if self.ended is not None or self.lost is not None:
            return True
        if error.errno not in SAYS_LOST:
            return False
        if error.errno == errno.EINVAL and not self.liveness.is_dead():
            # Once its reader thread has seen the end of the stream, libxenstore says EINVAL to everything; the daemon
            # says it to a bad request. A good one tells.
            path = lib.xs_get_domain_path(self.xs.handle, 0)
            lib.free(path)
            if path:
                return False
        self.lose(None if self.liveness.fileno() < 0 or self.liveness.is_dead() else _GIVEN_UP)
        return True

    def has_given_all(self) -> bool:
        """Whether all events that came before the daemon's death are there: libxenstore's reader thread may not yet
        have handed them on."""
        if self._end_of_events is None:
            self._end_of_events = monotonic() + _LAST_EVENTS
        return not self.has_reader or monotonic() >= self._end_of_events

    def sleep(self, events: int, wakeup: int, liveness: int, seconds: float) -> int:
        """Wait for so many seconds, or until one of them says something; which did.

        The thread is not in the middle of a call meanwhile, so that a signal handler may use the connection.
        """
        me, sleeper = get_ident(), object()
        try:
            self.users[sleeper] = me
            self.users.pop(me, None)
            return int(lib.xsffi_wait(events, wakeup, liveness, int(seconds * 1e9)))
        finally:
            self.users[me] = me
            self.users.pop(sleeper, None)

    # The end.

    def lose(self, reason: str | None = None) -> None:
        """It is lost, for this reason; None: the daemon closed it."""
        if self.lost is None:
            self.lost = lambda: lost_error(reason)
        if not self.liveness.is_own:
            self.handle.end()  # its stream cannot be ended from here
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
        """Have everybody come out; what has ended it is known already."""
        user = object()
        try:
            if self.enter(user) and not self.is_parents:
                self.liveness.shut()  # a thread that waits inside libxenstore comes back from there
                for waiter in list(self.waiters.values()):
                    waiter.notify()
        finally:
            self.users.pop(user, None)
            self.left()

    def _is_read_in_c(self) -> bool:
        # In a child, those inside were threads of the parent.
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
        """Have libxenstore's reader thread see the end of the stream and go.

        xs_close cancels it where it is, and what it had allocated for the next message is lost then.
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
                return  # it has gone
            else:
                lib.xsffi_wait(-1, -1, -1, _MOMENT // 5)
