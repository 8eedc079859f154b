"""How a mirror is kept up to date: when it sets its watches, reads, and waits, and how it reconnects.

Programs like any other, with three more effects: :class:`Rest`, :class:`Pause` and :class:`Reopen`.
"""

from __future__ import annotations

from collections import namedtuple
from random import uniform

from .. import log
from ..errors import (
    ClientClosedError,
    ConnectionLostError,
    ForkedError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
)
from ..static_types import Generic, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, NamedTuple, TypeVar, Union

    from ..records import Change
    from ..static_types import T
    from .mirroring import Replica
    from .programs import Effect

    class Rest(NamedTuple):
        """An effect: the next event; None if none arrived within the given seconds (None: no limit), or the wait was
        ended."""

        seconds: float | None

    class Pause(NamedTuple):
        """An effect: wait the given seconds."""

        seconds: float

    class Reopen(NamedTuple):
        """An effect: replace :attr:`Upkeep.link` by one over a new connection."""

    Course = Generator[Union[Effect, Rest, Pause, Reopen], Any, T]
    L = TypeVar("L", bound="Link")
else:
    L = None
    Rest = namedtuple("Rest", ["seconds"])
    Pause = namedtuple("Pause", ["seconds"])
    Reopen = namedtuple("Reopen", [])

__all__ = ["PATIENCE", "BackOff", "Link", "Pause", "Reopen", "Rest", "Upkeep", "never"]

_FIRST_DELAY = 0.05  # seconds
_LONGEST_DELAY = 5.0  # seconds
_PAUSE_MAX = 0.05  # the longest sleep in seconds while there is no daemon, so that close() and stop() are noticed
PATIENCE = 1.0  # seconds that an attempt to connect may take


class Link(Protocol):
    """A connection, as one mirror uses it."""

    def new_token(self) -> bytes:
        """A token for a watch whose events go to this link."""
        raise NotImplementedError

    def take_back(self) -> None:
        """Remove its watches, without waiting: the daemon may be hung."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it. Idempotent, except for what was set up since."""
        raise NotImplementedError


def never() -> bool:
    """The default of `is_over`."""
    return False


class Upkeep(Generic[L]):
    """What keeps one replica up to date. Its programs run one at a time, over :attr:`link`."""

    def __init__(self, replica: Replica, reconnect: bool, now: Callable[[], float]) -> None:
        """`now` is the clock, in seconds."""
        self.replica = replica
        self.link: L | None = None  # None: disconnected
        self._reconnect = reconnect
        self._now = now
        self._begun: object = None  # the wish that the watches were set for
        self._wanted = object()
        self._back_off = BackOff()
        self._next_try = 0.0  # by the clock; while disconnected
        self._is_lost = False  # whether the loss was logged
        self._is_behind = False  # the last program may have missed something

    @property
    def has_work(self) -> bool:
        """Whether there is something to report or to read that no event will announce."""
        return self.replica.has_changes or self._is_behind

    def begin_again(self) -> None:
        """Set the watches anew and read everything in the next update. Safe in any thread and signal handler."""
        self._wanted = object()

    def open(self) -> Course[None]:
        """Read everything for the first time, over an existing link."""
        yield from self._take_in(may_reconnect=False)
        self.replica.tell_nothing()

    def deadline_of(self, timeout: float | None) -> float | None:
        """The time, by the clock, at which `timeout` seconds will have passed."""
        return None if timeout is None else self._now() + timeout

    def is_up(self, deadline: float | None) -> bool:
        """Whether that time has come."""
        return deadline is not None and self._now() >= deadline

    def changes(self, deadline: float | None) -> Course[list[Change]]:
        """All unreported changes, waiting for the first; empty if the time is up."""
        yield from self._advance(deadline, lambda: self.replica.has_changes)
        return self.replica.tell_all()

    def next_change(self, deadline: float | None, is_over: Callable[[], bool] = never) -> Course[Change | None]:
        """The next unreported change; None if the time is up or `is_over`."""
        replica = self.replica
        if not replica.has_changes:
            yield from self._advance(deadline, lambda: replica.has_changes, is_over)
        return replica.tell_next()

    def next_version(self, deadline: float | None, last: int | None) -> Course[int | None]:
        """The current version of the nodes, once it differs from `last`; None if the time is up."""
        replica = self.replica
        try:
            is_new = yield from self._advance(deadline, lambda: self.link is not None and replica.version != last)
        except TransactionConflictError:
            is_new = False  # the update took until the time was up
        return replica.version if is_new else None

    def fail(self, error: BaseException) -> None:
        """Call after an exception has ended a program."""
        if not isinstance(error, XenStoreError):
            self.replica.doubt()  # it came from outside, at an unknown point of the program
        # An event will come when a node that could not be read becomes readable.
        self._is_behind = not isinstance(error, XenStoreError) or isinstance(
            error, (TransactionConflictError, WaitTimeoutError)
        )

    def _advance(
        self, deadline: float | None, is_enough: Callable[[], bool], is_over: Callable[[], bool] = never
    ) -> Course[bool]:
        """Process what has happened, repeatedly, until that is enough; False if it `is_over` or the time is up
        first."""
        while True:
            conflict = None
            try:
                yield from self._take_in()
                if is_enough():
                    return True
            except TransactionConflictError as error:
                conflict = error
            if is_over():
                return False
            if self.is_up(deadline):
                if conflict is not None:
                    raise conflict
                return False
            if conflict is None:
                yield from self._rest(None if deadline is None else max(0.0, deadline - self._now()))

    def _take_in(self, may_reconnect: bool = True) -> Course[None]:
        """Process everything that has happened, unless disconnected."""
        try:
            link = self.link or (yield from self._reopen())
            if link is None:
                return
            wanted = self._wanted
            if self._begun is not wanted:
                link.take_back()
                yield from self.replica.begin(link.new_token(), link.new_token())
                self._begun = wanted
            yield from self.replica.update()
        except ConnectionLostError as error:
            if not self._reconnect or not may_reconnect:
                raise
            self._lose(error)
            # The first attempt is immediate: perhaps only this connection was cut.
            if self._now() >= self._next_try:
                yield from self._take_in()
            return
        self._is_behind = False
        self._back_off.reset()
        if self._is_lost:
            self._is_lost = False
            log.info("the mirror of %s has reconnected", self.replica.top)

    def _rest(self, remaining: float | None) -> Course[None]:
        """Wait for the next event or, while disconnected, for the next attempt; for a limited time."""
        if self.link is None:
            pause = min(max(0.0, self._next_try - self._now()), _PAUSE_MAX)
            yield Pause(pause if remaining is None else min(pause, remaining))
            return
        try:
            event = yield Rest(remaining)
        except ConnectionLostError:
            return  # which is detected again at once
        if event is not None:
            self.replica.note(event)

    def _reopen(self) -> Course[L | None]:
        if self._now() < self._next_try:
            return None
        try:
            yield Reopen()
        except (ClientClosedError, ForkedError):
            raise
        except XenStoreError as error:  # for example for lack of descriptors
            self._next_try = self._now() + self._back_off.next_delay()
            log.debug("the mirror of %s cannot reconnect: %s", self.replica.top, error)
            return None
        self.begin_again()
        return self.link

    def _lose(self, error: ConnectionLostError) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.close()
        self._next_try = self._now() + self._back_off.next_delay()
        if not self._is_lost:
            self._is_lost = True
            log.warning("the mirror of %s lost its connection and will reconnect: %s", self.replica.top, error.strerror)


class BackOff:
    """How long to wait before each attempt to reconnect: not at all at first, then longer and longer, with jitter, so
    that clients do not reconnect in step."""

    def __init__(self) -> None:
        self._last = 0.0

    def next_delay(self) -> float:
        """Seconds."""
        last, self._last = self._last, min(_LONGEST_DELAY, self._last * 2 or _FIRST_DELAY)
        return uniform(last / 2, last)

    def reset(self) -> None:
        """Call once connected."""
        self._last = 0.0
