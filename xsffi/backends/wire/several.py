"""The connections of one backend: the first, and further ones to the same daemon for bulk reads.

xenstored serves one request of each connection per round of its loop, so connections share the cost of a round.
"""

from __future__ import annotations

from time import monotonic

from ...errors import WaitTimeoutError, XenStoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .native import Connection

__all__ = ["CONNECTIONS_DEFAULT", "FURTHER_PATIENCE", "Several"]

# Measured by benchmarks/several.py: more gain little, and delay other clients.
CONNECTIONS_DEFAULT = 4
# How many requests at once justify opening further connections, and how many justify using those already open.
_WORTH_OPENING = 2000
_WORTH_USING = 256
# How many seconds a further connection may take to be answered (a daemon out of descriptors accepts none), and how long
# to wait after a failure before trying again.
FURTHER_PATIENCE = 1.0
_PAUSE = 10.0


class Several:
    """Opens further connections when there is enough work for them, and keeps them."""

    def __init__(self, first: Connection, number: int, open_another: Callable[[], Connection]) -> None:
        """`number`: the most connections, with the first. `open_another` raises XenStoreError on failure."""
        self._first = first
        self._number = number
        self._open_another = open_another
        self._further: dict[int, Connection] = {}
        self._is_closed = False
        self._not_before = 0.0  # no connection is opened before this time

    def for_work(self, requests: int) -> tuple[Connection, ...]:
        """The connections to use for this many requests, the first among them; fewer than wanted if no more can be had.

        Raises the reason if the first has ended.
        """
        wanted = requests >= _WORTH_OPENING and len(self._further) < self._number - 1
        if wanted and monotonic() >= self._not_before:
            self._open()
        if requests < _WORTH_USING or not self._further:
            return (self._first,)
        return (self._first, *self._further.values())

    def _open(self) -> None:
        """Open the missing ones, without a lock: if two threads race, or a signal handler intervenes, one of two
        connections is closed."""
        for place in range(1, self._number):
            if place in self._further:
                continue
            try:
                opened = self._open_another()
            except XenStoreError as error:
                if isinstance(error, WaitTimeoutError):
                    self._not_before = monotonic() + _PAUSE
                self._first.read("/")  # raises the reason if the first has ended
                return  # the work just takes longer
            # close() may have run before it was stored.
            if self._further.setdefault(place, opened) is not opened or self._is_closed:
                opened.close()

    def drop(self) -> None:
        """Close the further connections; they are reopened when needed."""
        while self._further:
            try:
                self._further.popitem()[1].close()
            except KeyError:
                return  # another thread took it first

    def close(self) -> None:
        """Close all. Takes no lock."""
        self._is_closed = True
        self._first.close()
        for connection in list(self._further.values()):
            connection.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self._first.after_fork_in_child()
        for connection in list(self._further.values()):
            connection.after_fork_in_child()
