"""Mirrors: trees in memory that are kept true."""

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
    """The nodes from a top down, by their paths, in memory: as they were, all at one moment, at the last
    :meth:`update`, and parents before their children. To read it costs no trip to the daemon.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` keep it true, and tell of each change once; of what
    happens between two updates the last state is told. One of them at a time may be under way: RuntimeError else.
    Iterating over a mirror that is updated raises RuntimeError too; what another thread reads meanwhile may be of the
    moment before or after. It ends by :meth:`close`, or with a ``with`` block, and with its client.

    One that is not updated holds others up: oxenstored lets whoever writes below it wait once some 2,000 events are
    unread, and xenstored takes longer for each.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """To be had from :meth:`xsffi.Client.mirror`. `client`: what is not to be dropped while this is there."""
        super().__init__(Replica(top))
        self._mirrors = mirrors
        self._client = client
        self._upkeep: Upkeep[Link] = Upkeep(self._replica, reconnect, monotonic)
        self._updaters: list[object] = []  # the first is at work, any other is refused
        self._runs: list[object] = []  # as well, of run()
        self._stopping = False
        self._is_polled = False  # by its descriptor
        self._closed = False
        self._owner = os.getpid()

    def open(self) -> None:
        """Read it for the first time, on its client's connection."""
        try:
            self._upkeep.link = self._mirrors.link()
            self._carry_through(self._upkeep.open())
        except BaseException:
            self.close()
            raise

    # Keeping it true.

    def update(self, timeout: float | None = 0.0) -> list[Change]:
        """Take in all that has happened before this call, and give the changes: each node that is not as it was told
        last, with what it was and what it is, a parent that comes before its children. Where there is none, wait for
        one for `timeout` seconds (None: for ever); then there are none.

        A child that comes or goes is a change of its parent too, whose list of children it is in. The seconds are those
        that it waits for changes; how long each reply may take is the client's timeout.

        Raises :class:`~xsffi.errors.TransactionConflictError` where so much changed all the time that no moment was
        found, :class:`~xsffi.errors.AccessDeniedError` where a node may not be read, and ConnectionLostError where the
        daemon is gone; with `reconnect` it is tried again within the time, and there are no changes until it is back.
        Where an update fails the mirror is as before, and the next goes on from there.
        """
        validate_timeout(timeout)
        return self._carry_through(self._upkeep.changes(self._upkeep.deadline_of(timeout)))

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Iterate over changes, until none came for `timeout` seconds (None: for ever). Those of one update are given
        one after the other; where the iteration is left, the rest is told by whatever asks next. Each step updates the
        mirror where none is left, and raises as :meth:`update` does."""
        validate_timeout(timeout)
        return self._iterate(timeout)

    def wait(self, condition: Condition[T | None], timeout: float | None = None) -> T:
        """Update until a condition is true, and give its first true result: as :meth:`xsffi.Client.wait`, but it looks
        at this mirror alone, and costs no trip. Raises :class:`~xsffi.errors.WaitTimeoutError` when `timeout` seconds
        are up (None: never), and what :meth:`update` does. A path outside of the mirror is an InvalidArgumentError.
        The changes meanwhile are told by whatever asks for them next.
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
        """Call ``callback(change)`` for each change, until :meth:`stop` or for `timeout` seconds (None: for ever).

        The callback runs in this thread, and may do anything but iterate over the mirror across an update of its own.
        One that raises is reported in the log ``xsffi``, and the loop goes on. Raises RuntimeError where it is running
        already, and as :meth:`update` does.
        """
        validate_callable(callback, "a callback")
        validate_timeout(timeout)
        me = object()
        try:
            self._runs.append(me)
            if self._runs[0] is not me:
                raise RuntimeError("run() is running already on this mirror")
            self._run(callback, timeout)
        finally:
            if self._runs[:1] == [me]:
                self._stopping = False
            if me in self._runs:
                self._runs.remove(me)

    def stop(self) -> None:
        """End :meth:`run` once the callback it is in returns, or the next run() if none is running. Any thread, any
        signal handler and any finalizer may call it; it takes no lock, and raises nothing."""
        self._stopping = True
        self._wake()

    def fileno(self) -> int:
        """A descriptor for select, poll, epoll or an event loop: it is readable whenever there is something for
        :meth:`update` to take in, and once the connection is over. It may be readable when there are no changes. It is
        not to be read from, nor closed.

        With `reconnect` each connection has a descriptor of its own: ask anew after each update. Raises
        ConnectionLostError while the daemon is away: then only update() can find it back, so call it from time to time.
        """
        self._check()
        link = self._upkeep.link
        if link is None:
            raise lost_error("the daemon is away; the mirror's update() tries again")
        self._is_polled = True
        if self._upkeep.has_work:
            link.wake()
        return link.fileno()

    def resync(self) -> None:
        """Have the next update, or the one that waits, set the watches anew and read all again: as a guest must that
        was resumed, or migrated, where they may be lost. The difference is told as changes. Any thread may call it."""
        self._upkeep.begin_again()
        self._wake()

    # The end.

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as the last update has seen."""
        return self._upkeep.link is not None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its client."""
        return self._closed or self._mirrors.closed

    def close(self) -> None:
        """Take its watches away; what was read stays. Whoever waits for it gets a
        :class:`~xsffi.errors.ClientClosedError`. Closing again does nothing. Any thread, any signal handler and any
        finalizer may call it."""
        self._closed = True
        self._mirrors.forget(self)
        link = self._upkeep.link
        if link is None or self._owner != os.getpid():
            return
        try:
            link.close()
        except BaseException:
            link.close()  # an interruption came in between
            raise

    def __enter__(self) -> Mirror:
        """Raises :class:`~xsffi.errors.ClientClosedError` where it is closed already."""
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
            self.close()  # also where warnings are errors

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
        """Have who waits look again."""
        link = self._upkeep.link
        if link is not None:
            link.wake()

    def _carry_through(self, course: Course[T]) -> T:
        """Carry a program through, while nobody else updates the mirror."""
        self._check()
        me = object()
        try:
            self._updaters.append(me)
            if self._updaters[0] is not me:
                raise RuntimeError("the mirror is being updated already")
            return programs.run(course, self._carry)
        except BaseException as error:
            if self._updaters[:1] == [me]:
                self._upkeep.fail(error)
            if isinstance(error, (ConnectionLostError, ClientClosedError)):
                self._check()  # the mirror was closed, and that is why
            raise
        finally:
            if me in self._updaters:
                self._updaters.remove(me)
            if self._closed:
                self.close()  # what may have been set up since
            elif self._is_polled and self._upkeep.has_work:
                self._wake()

    def _carry(self, effect: Any) -> Any:
        """What an effect comes to."""
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
            if timeout and self._upkeep.is_up(deadline):  # no time at all is enough for what is there
                return


class Mirrors:
    """The mirrors of one client."""

    def __init__(self, backend: Backend, timeout: float | None, connections: int | None) -> None:
        """`backend`: the client's; and what that was opened with."""
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
        """It is closed."""
        self._open.pop(id(mirror), None)

    def link(self) -> Link:
        """The client's connection."""
        return Link(self._backend.bulk(), self._timeout, is_own=False)

    def reopen(self) -> Link:
        """A connection of a mirror's own to the same place, since the client's is lost: over the wire, as that of its
        bulk work."""
        backend = open_backend("wire", self._backend.path, self._timeout, self._connections, PATIENCE)
        return Link(backend, self._timeout, is_own=True)

    def set_again(self) -> None:
        """The daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror.resync()

    def close(self) -> None:
        """Close all of them: the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror.close()
