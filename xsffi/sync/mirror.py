"""Mirrors: trees in memory that are kept true."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, sleep

from .. import log
from ..backends.selection import open_backend
from ..errors import (
    BackendUnavailableError,
    ConnectionLostError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
    closed_error,
    forked_error,
    lost_error,
)
from ..options import validate_timeout
from ..protocol import conditions, programs
from ..protocol.mirroring import BackOff, Replica, closed_mirror_error
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from ..records import Change, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any

    from ..backends.base import Backend
    from ..protocol.conditions import Condition
    from ..protocol.programs import Effect
    from ..records import WatchEvent
    from ..static_types import T

    Callback = Callable[[Change], object]

__all__ = ["Mirror", "Mirrors"]

_numbers = itertools.count(1)
_PAUSE_MAX = 0.05  # seconds of sleep in one go, while there is no daemon: close() and stop() are noticed then


class Mirror(Mapping[str, Node]):
    """The nodes from a top down, by their paths, in memory: as they were, all at one moment, at the last
    :meth:`update`, and parents before their children. To read it costs no trip to the daemon.

    :meth:`update`, :meth:`changes`, :meth:`wait` and :meth:`run` keep it true, and tell of each change once; of what
    happens between two updates the last state is told. One of them at a time may be under way: RuntimeError else.
    Iterating over a mirror that is updated raises RuntimeError too; what another thread reads meanwhile may be of the
    moment before or after. It ends by :meth:`close`, or with a ``with`` block, and with its client.

    Its events wait in memory until it is updated, so that is to be done from time to time.
    """

    def __init__(self, mirrors: Mirrors, top: str, reconnect: bool, client: object) -> None:
        """To be had from :meth:`xsffi.Client.mirror`. `client`: what is not to be dropped while this is there."""
        self._mirrors = mirrors
        self._client = client
        self._reconnect = reconnect
        self._replica = Replica(top)
        self._nodes = self._replica.nodes
        self._link: _Link | None = None  # None: the daemon is away
        self._must_begin = True  # the watches are to be set
        self._back_off = BackOff()
        self._next_try = 0.0  # by the clock; while the daemon is away
        self._is_lost = False  # which was told in the log
        self._updaters: list[object] = []  # the first is at work, any other is refused
        self._runs: list[object] = []  # as well, of run()
        self._stopping = False
        self._is_polled = False  # by its descriptor
        self._closed = False
        self._owner = os.getpid()

    def open(self) -> None:
        """Read it for the first time, on its client's connection."""
        try:
            self._link = _Link(self._mirrors.backend.bulk(), self._mirrors.timeout, is_own=False)
            with self._updating():
                self._take_in(may_reconnect=False)
                self._replica.tell_nothing()
        except BaseException:
            self.close()
            raise

    # Reading it.

    def __getitem__(self, path: str) -> Node:
        return self._nodes[path]

    def __contains__(self, path: object) -> bool:
        return path in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return self._replica.iterate()

    def copy(self) -> dict[str, Node]:
        """The nodes by their paths as they are now, which no update changes. Raises RuntimeError in the middle of one,
        of another thread."""
        return self._replica.copy()

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
        with self._updating():
            self._advance(_deadline_of(timeout), lambda: self._replica.has_changes)
            return self._replica.tell_all()

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Iterate over changes, until none came for `timeout` seconds (None: for ever). Those of one update are given
        one after the other; where the iteration is left, the rest is told by whatever asks next. Raises as
        :meth:`update` does."""
        validate_timeout(timeout)
        return self._iterate(timeout)

    def wait(self, condition: Condition[T], timeout: float | None = None) -> T:
        """Update until a condition is true, and give its first true result: as :meth:`xsffi.Client.wait`, but it looks
        at this mirror alone, and costs no trip. Raises :class:`~xsffi.errors.WaitTimeoutError` when `timeout` seconds
        are up (None: never), and what :meth:`update` does. A path outside of the mirror is an InvalidArgumentError.
        The changes meanwhile are told by whatever asks for them next.
        """
        conditions.check(condition)
        validate_timeout(timeout)
        deadline = _deadline_of(timeout)
        judged: int | None = None
        while True:
            with self._updating():
                if not self._advance(deadline, partial(self._is_news, judged)):
                    raise conditions.no_time_error(timeout)
                judged = self._replica.version
            result = self._replica.judge(condition)
            if result:
                return result

    def run(self, callback: Callback, timeout: float | None = None) -> None:
        """Call ``callback(change)`` for each change, until :meth:`stop` or for `timeout` seconds (None: for ever).

        The callback runs in this thread, and may do anything but iterate over the mirror across an update of its own.
        One that raises is reported in the log ``xsffi``, and the loop goes on. Raises RuntimeError where it is running
        already, and as :meth:`update` does.
        """
        if not callable(callback):
            raise TypeError(f"a callback is callable, not {type(callback).__name__}: {callback!r}")
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
        link = self._link
        if link is None:
            raise lost_error("the daemon is away; the mirror's update() tries again")
        self._is_polled = True
        if self._replica.has_changes:
            link.events.wake()
        return link.events.fileno()

    def resync(self) -> None:
        """Have the next update, or the one that waits, set the watches anew and read all again: as a guest must that
        was resumed, or migrated, where they may be lost. The difference is told as changes. Any thread may call it."""
        self._must_begin = True
        self._wake()

    # The end.

    @property
    def top(self) -> str:
        """The path from which on it has the nodes."""
        return self._replica.top

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as the last update has seen."""
        return self._link is not None and not self._closed

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
        link = self._link
        if link is None or self._owner != os.getpid():
            return
        try:
            link.close(is_over=self._mirrors.closed)
        except BaseException:
            link.close(is_over=self._mirrors.closed)  # an interruption came in between
            raise

    def __enter__(self) -> Mirror:
        """Raises :class:`~xsffi.errors.ClientClosedError` where it is closed already."""
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<xsffi.Mirror {self.top!r}, {len(self)} nodes{' closed' if self.closed else ''}>"

    # Inside.

    def _is_news(self, version: int | None) -> bool:
        return self._replica.version != version

    def _check(self) -> None:
        if self._owner != os.getpid():
            raise forked_error()
        if self._mirrors.closed:
            raise closed_error()
        if self._closed:
            raise closed_mirror_error()

    def _wake(self) -> None:
        """Have who waits look again."""
        link = self._link
        if link is not None:
            with suppress(XenStoreError):
                link.events.wake()

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """Nobody else updates it meanwhile. After an exception that came from elsewhere nobody knows how far it got."""
        me = object()
        try:
            self._updaters.append(me)
            if self._updaters[0] is not me:
                raise RuntimeError("the mirror is being updated already")
            self._check()
            yield
        except BaseException as error:
            if self._updaters[:1] == [me] and not isinstance(error, XenStoreError):
                self._replica.doubt()
            raise
        finally:
            if me in self._updaters:
                self._updaters.remove(me)
            if self._closed:
                self.close()  # what may have been set up since
            elif self._is_polled and self._replica.has_changes:
                self._wake()

    def _advance(
        self, deadline: float | None, is_enough: Callable[[], bool], is_over: Callable[[], bool] = lambda: False
    ) -> bool:
        """Take in what has happened, again and again, until that is enough, or it `is_over`, or the time is up: False
        then."""
        while True:
            conflict = None
            try:
                if self._take_in() and is_enough():
                    return True
            except TransactionConflictError as error:
                conflict = error
            if is_over():
                return False
            if deadline is not None and monotonic() >= deadline:
                if conflict is not None:
                    raise conflict
                return False
            if conflict is None:
                self._rest(None if deadline is None else max(0.0, deadline - monotonic()))

    def _take_in(self, may_reconnect: bool = True) -> bool:
        """Take in all that has happened; False where the daemon is away."""
        self._check()
        try:
            link = self._link or self._reopen()
            if link is None:
                return False
            if self._must_begin:
                self._begin(link)
            programs.run(self._replica.update(), link.carry)
        except ConnectionLostError as error:
            self._check()
            if not self._reconnect or not may_reconnect:
                raise
            self._lose(error)
            # The first time it is tried again at once: perhaps this connection alone was cut.
            return monotonic() >= self._next_try and self._take_in()
        self._back_off.reset()
        if self._is_lost:
            self._is_lost = False
            log.info("the mirror of %s has found the store again", self.top)
        return True

    def _begin(self, link: _Link) -> None:
        self._must_begin = False
        try:
            link.take_back()
            token, released = link.events.new_token(), link.events.new_token()
            programs.run(self._replica.begin(token, released), link.carry)
        except BaseException:
            self._must_begin = True
            raise

    def _rest(self, remaining: float | None) -> None:
        """Wait for the next event, or, while the daemon is away, until it is to be tried again; for a while at most."""
        link = self._link
        if link is None:
            pause = max(0.0, self._next_try - monotonic())
            sleep(min(pause, _PAUSE_MAX) if remaining is None else min(pause, _PAUSE_MAX, remaining))
            return
        try:
            event = link.events.next_event(remaining)
        except ConnectionLostError:
            return  # which is found again at once
        if event is not None:
            self._replica.note(event)

    def _reopen(self) -> _Link | None:
        if monotonic() < self._next_try:
            return None
        try:
            self._link = link = self._mirrors.reopen()
        except (BackendUnavailableError, ConnectionLostError, WaitTimeoutError) as error:
            self._next_try = monotonic() + self._back_off.next_delay()
            log.debug("the mirror of %s finds no store: %s", self.top, error)
            return None
        self._must_begin = True
        self._check()  # close() may have looked before it was there
        return link

    def _lose(self, error: ConnectionLostError) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(is_over=True)
        self._next_try = monotonic() + self._back_off.next_delay()
        if not self._is_lost:
            self._is_lost = True
            log.warning("the mirror of %s has lost the store, and tries again: %s", self.top, error.strerror)

    def _iterate(self, timeout: float | None) -> Iterator[Change]:
        while (change := self._next_change(_deadline_of(timeout))) is not None:
            yield change

    def _next_change(self, deadline: float | None, is_over: Callable[[], bool] = lambda: False) -> Change | None:
        replica = self._replica
        with self._updating():
            if not replica.has_changes:
                self._advance(deadline, lambda: replica.has_changes, is_over)
            return replica.tell_next()

    def _run(self, callback: Callback, timeout: float | None) -> None:
        deadline = _deadline_of(timeout)
        while not self._stopping:
            change = self._next_change(deadline, lambda: self._stopping)
            if change is None:
                return
            try:
                callback(change)
            except Exception:
                log.exception("the callback of the mirror of %s raised", self.top)
            if timeout and monotonic() >= deadline:  # type: ignore[operator]  # no time at all is enough for what is there
                return


class Mirrors:
    """The mirrors of one client."""

    def __init__(self, backend: Backend, path: str | None, timeout: float | None, connections: int | None) -> None:
        """`backend`: the client's; and what that was opened with."""
        self.backend = backend
        self.timeout = timeout
        self.closed = False
        self._path = path
        self._connections = connections
        self._open: dict[int, Mirror] = {}

    def add(self, top: str, reconnect: bool, client: object) -> Mirror:
        """A mirror (see :meth:`xsffi.Client.mirror`)."""
        mirror = Mirror(self, top, reconnect, client)
        self._open[id(mirror)] = mirror
        mirror.open()
        return mirror

    def forget(self, mirror: Mirror) -> None:
        """It is closed."""
        self._open.pop(id(mirror), None)

    def reopen(self) -> _Link:
        """A connection of a mirror's own, since the client's is lost: over the wire, as that of its bulk work."""
        return _Link(open_backend("wire", self._path, self.timeout, self._connections), self.timeout, is_own=True)

    def set_again(self) -> None:
        """The daemon was told to forget all watches of the client's connection."""
        for mirror in list(self._open.values()):
            mirror.resync()

    def close(self) -> None:
        """Close all of them: the client is closed."""
        self.closed = True
        for mirror in list(self._open.values()):
            mirror.close()


class _Link:
    """A connection, as one mirror uses it."""

    def __init__(self, backend: Backend, timeout: float | None, is_own: bool) -> None:
        """`is_own`: it is to be closed with this."""
        self._backend = backend
        self._timeout = timeout
        self._is_own = is_own
        self._is_closed = False
        self._watches: list[Watch] = []  # that are set, or may be
        try:
            self.events = backend.events(f"mirror:{next(_numbers)}:")
        except BaseException:
            if is_own:
                backend.close()
            raise

    def carry(self, effect: Effect) -> Any:
        """What an effect comes to."""
        if isinstance(effect, NextEvent):
            return self._first_event() if effect.wait else self.events.next_event(0.0)
        if not isinstance(effect, Watch):
            return self._backend.call(effect) if isinstance(effect, Request) else self._backend.call_many(effect)
        self._watches.append(effect)  # before, in case of an interruption
        try:
            return self._backend.call(effect)
        except XenStoreError as error:
            if not isinstance(error, WaitTimeoutError):
                self._watches.remove(effect)
            raise

    def take_back(self) -> None:
        """Take the watches away, without waiting: perhaps the daemon does not answer."""
        while watches := self._watches[:1]:
            with suppress(XenStoreError):
                self._backend.post(Unwatch(watches[0].path, watches[0].token))
            with suppress(ValueError):  # another thread was faster
                self._watches.remove(watches[0])

    def close(self, is_over: bool) -> None:
        """End it. Again does nothing, but to what was set up since. With the connection the watches go: whether that
        `is_over`."""
        self._is_closed = True
        if not is_over and not self._is_own:
            self.take_back()
        with suppress(XenStoreError):
            self.events.wake()
        self.events.close()
        if self._is_own:
            self._backend.close()

    def _first_event(self) -> WatchEvent:
        deadline = _deadline_of(self._timeout)
        while True:
            event = self.events.next_event(None if deadline is None else max(0.0, deadline - monotonic()))
            if event is not None:
                return event
            if self._is_closed:
                raise closed_mirror_error()
            if deadline is not None and monotonic() >= deadline:
                raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch came for {self._timeout} seconds")


def _deadline_of(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout
