"""Watches and their events, for the client and the drop-in: setting, removing, waiting."""

from __future__ import annotations

import itertools
from time import monotonic

from ..errors import WaitTimeoutError, XenStoreError
from ..lazy import lazy_module
from ..protocol.watch_table import W, WatchTable
from ..static_types import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .. import records
    from ..backends.base import Backend, Events
    from ..protocol import requests as r
else:
    records = lazy_module("xsffi.records")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["Watching"]


class Watching(Generic[W]):
    """The watches of one connection, and the queue of their events, which is opened on first use.

    Every method is thread-safe; :meth:`wake` and :meth:`clear` take no lock, and are also safe in signal handlers and
    finalizers. The others raise what the backend does: ConnectionLostError once the daemon is gone, ClientClosedError
    once the backend is closed.
    """

    def __init__(self, backend: Backend) -> None:
        self.table: WatchTable[W] = WatchTable()
        self._backend = backend
        self._attempts = itertools.count()  # number the queue's prefixes
        self._opened: list[Events] = []  # the first is used; others lost a race

    def new_token(self) -> bytes:
        """A token for a watch, as it is sent."""
        return self._queue().new_token()

    def set(self, watched: W, request: r.Watch) -> bool:
        """Set a watch; False if its path is already watched with its token. If setting it fails, no watch is left
        behind."""
        try:
            if not self.table.add(watched):
                return False
            self._backend.call(request)
        except BaseException as error:
            self._forget(watched)
            if not isinstance(error, XenStoreError):
                self._backend.post(r.Unwatch(request.path, request.token))
            raise
        return True

    def remove(self, watched: W, path: bytes, claim: bool = False) -> bool:
        """Remove a watch, and forget it here once the daemon has, or may have, done so. With `claim`, forget it at
        once: only one of several callers then asks the daemon, and the others get False."""
        request = r.Unwatch(path, watched.wire_token)
        try:
            if claim and not self.table.remove(watched):
                return False
            self._backend.call(request)
            self._forget(watched)
        except BaseException as error:
            if isinstance(error, WaitTimeoutError) or not isinstance(error, XenStoreError):
                self._forget(watched)
                self._backend.post(request)  # in case the request was not sent
            raise
        return True

    def next_event(
        self, timeout: float | None, is_over: Callable[[], bool] = lambda: False
    ) -> tuple[records.WatchEvent, W] | None:
        """The next event of a watch that is still set, with the user's token, and its watch; None if none arrived
        within `timeout` seconds (None: no limit), or `is_over`, which is checked after each :meth:`wake`."""
        queue = self._queue()
        deadline = monotonic() + timeout if timeout else None  # 0 stays 0
        while True:
            event = None
            try:
                event = queue.next_event(timeout)
                if event is None:
                    if timeout == 0 or is_over():
                        return None
                else:
                    watched = self.table.owner(event.token)
                    if watched is not None:
                        return records.WatchEvent(event.path, watched.token), watched
            except BaseException:
                if event is not None:
                    queue.put_back(event)
                raise
            if deadline is not None:
                # An event of a removed watch, or a wakeup, neither extends nor ends the wait.
                timeout = max(0.0, deadline - monotonic())
                if event is None and timeout == 0:
                    return None

    def wake(self) -> None:
        """Make waiting calls check `is_over`."""
        for queue in self._opened[:1]:
            queue.wake()

    def fileno(self) -> int:
        """A descriptor that is readable whenever there is an event, and once the connection has ended."""
        return self._queue().fileno()

    def clear(self) -> None:
        """Forget all watches; the daemon has, or will when the connection is closed."""
        self.table.clear()

    def _forget(self, watched: W) -> None:
        self.table.remove(watched)
        for queue in self._opened[:1]:
            queue.drop(watched.wire_token)

    def _queue(self) -> Events:
        # If two threads open a queue at once, the first to append wins, and the other closes its own. Nobody waits: a
        # signal handler, which may be the second, could not wait for its own thread.
        if not self._opened:
            attempt = next(self._attempts)
            queue = self._backend.events(f"{attempt}:" if attempt else "")
            self._opened.append(queue)
            if self._opened[0] is not queue:
                queue.close()
        return self._opened[0]
