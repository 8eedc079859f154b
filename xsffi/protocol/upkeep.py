"""How a mirror is kept true: when it sets its watches, reads, and waits, and when it tries a daemon again that is lost.

Programs like any other, with effects more: :class:`Rest`, :class:`Pause` and :class:`Reopen`.
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
        """An effect: the next event, or None where none came for so many seconds (None: any number), or the wait was
        ended."""

        seconds: float | None

    class Pause(NamedTuple):
        """An effect: so many seconds pass."""

        seconds: float

    class Reopen(NamedTuple):
        """An effect: :attr:`Upkeep.link` is one over a new connection."""

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
_PAUSE_MAX = 0.05  # seconds of sleep in one go, while there is no daemon: close() and stop() are noticed then
PATIENCE = 1.0  # seconds that one try to connect may take, as well


class Link(Protocol):
    """A connection, as one mirror uses it."""

    def new_token(self) -> bytes:
        """A token for a watch whose events are to come here."""
        raise NotImplementedError

    def take_back(self) -> None:
        """Take its watches away, without waiting: perhaps the daemon does not answer."""
        raise NotImplementedError

    def close(self) -> None:
        """End it. Again does nothing, but to what was set up since."""
        raise NotImplementedError


def never() -> bool:
    """It is not over."""
    return False


class Upkeep(Generic[L]):
    """What is to be done for one replica. Its programs are carried one at a time, over :attr:`link`."""

    def __init__(self, replica: Replica, reconnect: bool, now: Callable[[], float]) -> None:
        """`now` is the clock, in seconds."""
        self.replica = replica
        self.link: L | None = None  # None: the daemon is away
        self._reconnect = reconnect
        self._now = now
        self._begun: object = None  # for which wish the watches were set
        self._wanted = object()
        self._back_off = BackOff()
        self._next_try = 0.0  # by the clock; while the daemon is away
        self._is_lost = False  # which was told in the log
        self._is_behind = False  # what the last program was to take in, it may not have

    @property
    def has_work(self) -> bool:
        """Whether there is something to be told, or to be taken in, of which no event tells."""
        return self.replica.has_changes or self._is_behind

    def begin_again(self) -> None:
        """The watches are to be set anew, and all is to be read, in the next update. Any thread, any signal handler may
        say so at any time."""
        self._wanted = object()

    def open(self) -> Course[None]:
        """Read it for the first time, over a link that is there."""
        yield from self._take_in(may_reconnect=False)
        self.replica.tell_nothing()

    def deadline_of(self, timeout: float | None) -> float | None:
        """When so many seconds will be up, by the clock."""
        return None if timeout is None else self._now() + timeout

    def is_up(self, deadline: float | None) -> bool:
        """Whether it is that time."""
        return deadline is not None and self._now() >= deadline

    def changes(self, deadline: float | None) -> Course[list[Change]]:
        """All changes, once there is one; none where the time is up."""
        yield from self._advance(deadline, lambda: self.replica.has_changes)
        return self.replica.tell_all()

    def next_change(self, deadline: float | None, is_over: Callable[[], bool] = never) -> Course[Change | None]:
        """The next change that is to be told; None where the time is up or it `is_over`."""
        replica = self.replica
        if not replica.has_changes:
            yield from self._advance(deadline, lambda: replica.has_changes, is_over)
        return replica.tell_next()

    def next_version(self, deadline: float | None, last: int | None) -> Course[int | None]:
        """The version of the nodes as they are now, once it is another than the last; None where the time is up."""
        replica = self.replica
        try:
            is_new = yield from self._advance(deadline, lambda: self.link is not None and replica.version != last)
        except TransactionConflictError:
            is_new = False  # it lasted until the time was up
        return replica.version if is_new else None

    def fail(self, error: BaseException) -> None:
        """An exception has ended a program."""
        if not isinstance(error, XenStoreError):
            self.replica.doubt()  # it came from elsewhere, and nobody knows how far the program got
        # An event will tell where a node can be read that could not be.
        self._is_behind = not isinstance(error, XenStoreError) or isinstance(
            error, (TransactionConflictError, WaitTimeoutError)
        )

    def _advance(
        self, deadline: float | None, is_enough: Callable[[], bool], is_over: Callable[[], bool] = never
    ) -> Course[bool]:
        """Take in what has happened, again and again, until that is enough, or it `is_over`, or the time is up: False
        then."""
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
        """Take in all that has happened, unless the daemon is away."""
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
            # The first time it is tried again at once: perhaps this connection alone was cut.
            if self._now() >= self._next_try:
                yield from self._take_in()
            return
        self._is_behind = False
        self._back_off.reset()
        if self._is_lost:
            self._is_lost = False
            log.info("the mirror of %s has found the store again", self.replica.top)

    def _rest(self, remaining: float | None) -> Course[None]:
        """Wait for the next event, or, while the daemon is away, until it is to be tried again; for a while at most."""
        if self.link is None:
            pause = min(max(0.0, self._next_try - self._now()), _PAUSE_MAX)
            yield Pause(pause if remaining is None else min(pause, remaining))
            return
        try:
            event = yield Rest(remaining)
        except ConnectionLostError:
            return  # which is found again at once
        if event is not None:
            self.replica.note(event)

    def _reopen(self) -> Course[L | None]:
        if self._now() < self._next_try:
            return None
        try:
            yield Reopen()
        except (ClientClosedError, ForkedError):
            raise
        except XenStoreError as error:  # as also for lack of descriptors
            self._next_try = self._now() + self._back_off.next_delay()
            log.debug("the mirror of %s finds no store: %s", self.replica.top, error)
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
            log.warning("the mirror of %s has lost the store, and tries again: %s", self.replica.top, error.strerror)


class BackOff:
    """How long to wait before the daemon is tried again: not at all at first, then longer and longer, and no two that
    lost it together alike."""

    def __init__(self) -> None:
        self._last = 0.0

    def next_delay(self) -> float:
        """Seconds."""
        last, self._last = self._last, min(_LONGEST_DELAY, self._last * 2 or _FIRST_DELAY)
        return uniform(last / 2, last)

    def reset(self) -> None:
        """It is there."""
        self._last = 0.0
