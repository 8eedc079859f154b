"""The connections of one backend: the first, and further ones to the same daemon, over which much is read at once.

xenstored serves a request of each connection in each round of its loop, so what a round costs is shared.
"""

from __future__ import annotations

from time import monotonic

from ...errors import WaitTimeoutError, XenStoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .native import Connection

__all__ = ["CONNECTIONS_DEFAULT", "FURTHER_PATIENCE", "Several"]

# By benchmarks/several.py: more gain little, and others wait longer.
CONNECTIONS_DEFAULT = 4
# So many requests at once, at least, are worth opening connections for, and so many to use those that there are.
_WORTH_OPENING = 2000
_WORTH_USING = 256
# How many seconds a further one may take to be answered, since a daemon without descriptors accepts nobody; and for how
# many it is not tried again then.
FURTHER_PATIENCE = 1.0
_PAUSE = 10.0


class Several:
    """Opens further connections when there is enough to do for them, and keeps them."""

    def __init__(self, first: Connection, number: int, open_another: Callable[[], Connection]) -> None:
        """`number`: how many there may be, with the first. `open_another` raises XenStoreError where it fails."""
        self._first = first
        self._number = number
        self._open_another = open_another
        self._further: dict[int, Connection] = {}
        self._is_closed = False
        self._not_before = 0.0  # the time from which on it is tried to open one

    def for_work(self, requests: int) -> tuple[Connection, ...]:
        """Those for so many requests, the first among them; fewer than wanted where no more can be had.

        Raises what ended the first, if it is over.
        """
        wanted = requests >= _WORTH_OPENING and len(self._further) < self._number - 1
        if wanted and monotonic() >= self._not_before:
            self._open()
        if requests < _WORTH_USING or not self._further:
            return (self._first,)
        return (self._first, *self._further.values())

    def _open(self) -> None:
        """Open what is missing, without a lock: where two threads do so, or a signal handler comes in between, one of
        the two connections is closed."""
        for place in range(1, self._number):
            if place in self._further:
                continue
            try:
                opened = self._open_another()
            except XenStoreError as error:
                if isinstance(error, WaitTimeoutError):
                    self._not_before = monotonic() + _PAUSE
                self._first.read("/")  # which raises what has ended the first, if it is over
                return  # so it takes longer
            # close() may have looked before it was there.
            if self._further.setdefault(place, opened) is not opened or self._is_closed:
                opened.close()

    def drop(self) -> None:
        """Close the further ones; they are opened anew when wanted."""
        while self._further:
            try:
                self._further.popitem()[1].close()
            except KeyError:
                return  # another thread was faster

    def close(self) -> None:
        """Close all; it takes no lock."""
        self._is_closed = True
        self._first.close()
        for connection in list(self._further.values()):
            connection.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self._first.after_fork_in_child()
        for connection in list(self._further.values()):
            connection.after_fork_in_child()
