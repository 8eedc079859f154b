"""Mirrors: trees in memory that are kept up to date."""

from __future__ import annotations

import os
import warnings
from time import monotonic, sleep
from weakref import WeakValueDictionary

from .. import log
from ..backends.selection import open_backend
from ..errors import ClientClosedError, ConnectionLostError, closed_error, forked_error, lost_error
from ..options import validate_callable, validate_timeout
from ..protocol import conditions, programs
from ..protocol.mirroring import MirroredTree, Replica, closed_mirror_error
from ..protocol.upkeep import PATIENCE, Pause, Reopen, Rest, Upkeep, never
from ..records import Change
from .mirror_links import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from ..backends.base import Backend
    from ..protocol.conditions import Condition
    from ..protocol.upkeep import Course
    from ..static_types import T

    Callback = Callable[[Change], object]

__all__ = ["Mirror", "Mirrors"]


class Mirror(MirroredTree):
    """The nodes from `top` down, in memory, by path: all as they were at one moment, that of the last :meth:`update`,
    with parents before their children. Reading it needs no round trip to the daemon.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` update it, and report each change once; of several
    changes to a node between two updates, only the final state is reported. Only one of these calls may be in progress
    at a time, otherwise RuntimeError is raised. Iterating over a mirror during an update also raises RuntimeError;
    single reads in other threads see the state before or after. It ends with :meth:`close`, with a ``with`` block, or
    with its client.

    Update it regularly, or it slows down other clients: oxenstored blocks writers below `top` once some 2,000 events
    are unread, and xenstored takes longer for each write.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """Created by :meth:`xsffi.Client.mirror`. `client` is kept alive as long as this is."""
        super().__init__(Replica(top))
        self._mirrors = mirrors
        self._client = client
        self._upkeep: Upkeep[Link] = Upkeep(self._replica, reconnect, monotonic)
        self._updaters: list[object] = []  # the first is running, any other is refused
        self._runs: list[object] = []  # the same for run()
        self._stopping = False
        self._is_polled = False  # whether its descriptor was requested
        self._closed = False
        self._owner = os.getpid()

    def open(self) -> None:
        """Read everything for the first time, on the client's connection."""
        try:
            self._upkeep.link = self._mirrors.link()
            self._carry_through(self._upkeep.open())
        except BaseException:
            self.close()
            raise

    # Updating.

    def update(self, timeout: float | None = 0.0) -> list[Change]:
        """Apply everything that happened before this call, and return the changes: each node that differs from what was
        last reported, with its old and new state, parents before their children. If there are none, wait for one for
        `timeout` seconds (None: no limit) before returning an empty list.

        Creating or removing a child also changes its parent, whose list of children it is in. `timeout` only limits the
        wait for changes; the client's timeout limits each reply.

        Raises :class:`~xsffi.errors.TransactionConflictError` if the tree kept changing, so that no consistent state
        was found, :class:`~xsffi.errors.AccessDeniedError` if a node may not be read, and ConnectionLostError if the
        daemon is gone; with `reconnect`, it retries within the time instead, and there are no changes until it has
        reconnected. If an update fails, the mirror stays as it was, and the next update continues from there.
        """
        validate_timeout(timeout)
        return self._carry_through(self._upkeep.changes(self._upkeep.deadline_of(timeout)))

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Iterate over changes until none has arrived for `timeout` seconds (None: no limit). The changes of one update
        are returned one by one; if the iteration is left early, the next call that reports changes gets the rest. Each
        step updates the mirror if no changes are left, and raises as :meth:`update` does."""
        validate_timeout(timeout)
        return self._iterate(timeout)

    def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Update until a condition is true, and return its first true result: as :meth:`xsffi.Client.wait`, but it sees
        only this mirror, and needs no round trips. Raises :class:`~xsffi.errors.WaitTimeoutError` after `timeout`
        seconds (None: no limit), and what :meth:`update` does. A path outside the mirror raises InvalidArgumentError.
        The next call that reports changes gets those made meanwhile.
        """
        conditions.check(condition)
        validate_timeout(timeout)
        deadline = self._upkeep.deadline_of(timeout)
        judged: int | None = None
        while True:
            judged = self._carry_through(self._upkeep.next_version(deadline, judged))
            if judged is None:
                raise conditions.no_time_error(timeout)
            result = self._replica.judge(condition)
            if result:
                return result

    def run(self, callback: Callback, timeout: float | None = None) -> None:
        """Call ``callback(change)`` for each change, until :meth:`stop` is called or `timeout` seconds have passed
        (None: no limit).

        The callback runs in this thread; it may do anything except update the mirror while it iterates over it. An
        exception from it is logged in ``xsffi``, and the loop continues. Raises RuntimeError if it is already running,
        and what :meth:`update` does.
        """
        validate_callable(callback, "a callback")
        validate_timeout(timeout)
        me = object()
        try:
            self._runs.append(me)
            if self._runs[0] is not me:
                raise RuntimeError("run() is already running on this mirror")
            self._run(callback, timeout)
        finally:
            if self._runs[:1] == [me]:
                self._stopping = False
            if me in self._runs:
                self._runs.remove(me)

    def stop(self) -> None:
        """End :meth:`run` once the current callback returns, or the next run() if none is running. Safe in any thread,
        signal handler and finalizer; takes no lock, and raises nothing."""
        self._stopping = True
        self._wake()

    def fileno(self) -> int:
        """A descriptor for select, poll, epoll or an event loop: readable whenever :meth:`update` has something to
        process, and once the connection has ended; sometimes also when there are no changes. Do not read from it or
        close it.

        With `reconnect`, each connection has its own descriptor: call this again after each update. Raises
        ConnectionLostError while disconnected: only update() can reconnect then, so call it from time to time.
        """
        self._check()
        link = self._upkeep.link
        if link is None:
            raise lost_error("the mirror is disconnected; its update() tries to reconnect")
        self._is_polled = True
        if self._upkeep.has_work:
            link.wake()
        return link.fileno()

    def resync(self) -> None:
        """Have the next update, or the one in progress, set the watches anew and read everything again: a guest that
        was resumed or migrated needs this, since its watches may be lost. The differences are reported as changes. Any
        thread may call it."""
        self._upkeep.begin_again()
        self._wake()

    # Closing.

    @property
    def connected(self) -> bool:
        """Whether it was connected at the last update."""
        return self._upkeep.link is not None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether it, or its client, was closed."""
        return self._closed or self._mirrors.closed

    def close(self) -> None:
        """Remove its watches; what was read stays available. Pending calls raise
        :class:`~xsffi.errors.ClientClosedError`. Idempotent. Safe in any thread, signal handler and finalizer."""
        self._closed = True
        self._mirrors.forget(self)
        link = self._upkeep.link
        if link is None or self._owner != os.getpid():
            return
        try:
            link.close()
        except BaseException:
            link.close()  # after an interruption
            raise

    def __enter__(self) -> Mirror:
        """Raises :class:`~xsffi.errors.ClientClosedError` if it is already closed."""
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_closed", True) or self._mirrors.closed or self._owner != os.getpid():
            return
        try:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self)
        finally:
            self.close()  # even if warnings are errors

    def __repr__(self) -> str:
        return f"<xsffi.Mirror {self.top!r}, {len(self)} nodes{' closed' if self.closed else ''}>"

    # Inside.

    def _check(self) -> None:
        if self._owner != os.getpid():
            raise forked_error()
        if self._mirrors.closed:
            raise closed_error()
        if self._closed:
            raise closed_mirror_error()

    def _wake(self) -> None:
        """Make waiting calls check again."""
        link = self._upkeep.link
        if link is not None:
            link.wake()

    def _carry_through(self, course: Course[T]) -> T:
        """Run a program to its end, while nobody else updates the mirror."""
        self._check()
        me = object()
        try:
            self._updaters.append(me)
            if self._updaters[0] is not me:
                raise RuntimeError("the mirror is already being updated")
            return programs.run(course, self._carry)
        except BaseException as error:
            if self._updaters[:1] == [me]:
                self._upkeep.fail(error)
            if isinstance(error, (ConnectionLostError, ClientClosedError)):
                self._check()  # the reason may be that the mirror was closed
            raise
        finally:
            if me in self._updaters:
                self._updaters.remove(me)
            if self._closed:
                self.close()  # undoes what may have been set up since
            elif self._is_polled and self._upkeep.has_work:
                self._wake()

    def _carry(self, effect: Any) -> Any:
        """The outcome of an effect."""
        self._check()
        if isinstance(effect, Reopen):
            self._upkeep.link = self._mirrors.reopen()
            return None
        if isinstance(effect, Pause):
            return sleep(effect.seconds)
        link = self._upkeep.link
        assert link is not None
        return link.next_event(effect.seconds) if isinstance(effect, Rest) else link.carry(effect)

    def _iterate(self, timeout: float | None) -> Iterator[Change]:
        while (change := self._next_change(self._upkeep.deadline_of(timeout))) is not None:
            yield change

    def _next_change(self, deadline: float | None, is_over: Callable[[], bool] = never) -> Change | None:
        return self._carry_through(self._upkeep.next_change(deadline, is_over))

    def _run(self, callback: Callback, timeout: float | None) -> None:
        deadline = self._upkeep.deadline_of(timeout)
        while not self._stopping:
            change = self._next_change(deadline, lambda: self._stopping)
            if change is None:
                return
            try:
                callback(change)
            except Exception:
                log.exception("the callback of the mirror of %s raised", self.top)
            if timeout and self._upkeep.is_up(deadline):  # a timeout of 0 still delivers what is available
                return


class Mirrors:
    """The mirrors of one client."""

    def __init__(self, backend: Backend, timeout: float | None, connections: int | None) -> None:
        """`backend`, `timeout`, `connections`: the client's."""
        self._backend = backend
        self._timeout = timeout
        self.closed = False
        self._connections = connections
        self._open: WeakValueDictionary[int, Mirror] = WeakValueDictionary()  # by their ids

    def add(self, top: str, reconnect: bool, client: object) -> Mirror:
        """A mirror (see :meth:`xsffi.Client.mirror`)."""
        mirror = Mirror(self, top, reconnect, client)
        self._open[id(mirror)] = mirror
        mirror.open()
        return mirror

    def forget(self, mirror: Mirror) -> None:
        """Forget a closed mirror."""
        self._open.pop(id(mirror), None)

    def link(self) -> Link:
        """The client's connection."""
        return Link(self._backend.bulk(), self._timeout, is_own=False)

    def reopen(self) -> Link:
        """A new connection to the same place, for a mirror alone, since the client's is lost: over the wire, as for
        bulk work."""
        backend = open_backend("wire", self._backend.path, self._timeout, self._connections, PATIENCE)
        return Link(backend, self._timeout, is_own=True)

    def set_again(self) -> None:
        """Call after the daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror.resync()

    def close(self) -> None:
        """Close all of them, since the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror.close()
