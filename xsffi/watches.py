"""Watches: which there are, whose event it is, and the loop that calls back."""

from __future__ import annotations

import errno
import itertools
import logging
import select
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any

from .backends.base import Backend
from .backends.bell import Bell, one_wait
from .errors import (
    ClientClosedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    WaitTimeoutError,
    WatchExistsError,
)
from .paths import encode
from .protocol.requests import ResetWatches, Unwatch
from .protocol.requests import Watch as WatchRequest
from .records import WatchEvent

__all__ = ["ITSELF", "Callback", "Watch", "Watches"]

Callback = Callable[[WatchEvent], object]

logger = logging.getLogger("xsffi")


class _Itself:
    """The token of a watch that was given none: the watch itself."""

    def __repr__(self) -> str:
        return "the watch itself"


ITSELF = _Itself()


class Watch:
    """A watch that is set: its path, token, depth and callback. It ends by :meth:`close`, or with a ``with`` block."""

    def __init__(
        self, watches: Watches, path: str, token: object, callback: Callback | None, depth: int | None, name: bytes
    ) -> None:
        """To be had from :meth:`xsffi.Client.watch`."""
        self.path = path
        self.token: Any = self if token is ITSELF else token
        self.callback = callback
        self.depth = depth
        self._watches = watches
        self._name = name  # the token as the daemon has it

    @property
    def closed(self) -> bool:
        """Whether it was taken away."""
        return not self._watches.has(self)

    def close(self) -> None:
        """Take the watch away; none of its events is delivered any more. Closing again does nothing, from any thread,
        also while the client is closed."""
        self._watches.discard(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except OSError:
            pass  # what went wrong first is what matters

    def __repr__(self) -> str:
        return f"<xsffi.Watch {self.path!r}{' closed' if self.closed else ''}>"


class Watches:
    """The watches of one client.

    The daemon is given a token of ours, one that is never used twice: so an event is told by one look-up in a table,
    and one that was on its way when its watch was removed belongs to none.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._numbers = itertools.count(1)
        self._by_name: dict[str, Watch] = {}
        self._by_token: dict[tuple[str, int], Watch] = {}
        # Of the two tables; it can be taken again, by a signal handler that closes the client.
        self._lock = threading.RLock()
        self._runner: object | None = None  # the call of run() that is running
        self._closed = False
        self._stopping = False
        self._stop_bell: Bell | None = None

    def add(self, path: str, token: object, callback: Callback | None, depth: int | None) -> Watch:
        """Set a watch (see :meth:`xsffi.Client.watch`)."""
        encoded = encode(path)
        if callback is not None and not callable(callback):
            raise TypeError(f"a callback is callable, not {type(callback).__name__}: {callback!r}")
        _check_depth(depth)
        name = b"%x" % next(self._numbers)
        watch = Watch(self, path, token, callback, depth, name)
        key = (path, id(watch.token))
        try:
            with self._lock:
                if key in self._by_token:
                    raise WatchExistsError(
                        errno.EEXIST, f"this path is watched with this token already: {token!r}", path
                    )
                # Before it is set, since its first event may come before the reply does.
                self._by_token[key] = watch
                self._by_name[name.decode("ascii")] = watch
            self._backend.call(WatchRequest(encoded, name, depth))
        except BaseException as error:
            self._forget(watch)
            if depth is not None and isinstance(error, InvalidArgumentError):
                raise NotSupportedError(
                    errno.ENOSYS, "the daemon knows no depth of a watch; xenstored does since Xen 4.22", path
                ) from error
            raise
        return watch

    def has(self, watch: Watch) -> bool:
        """Whether this watch is set."""
        return self._by_name.get(watch._name.decode("ascii")) is watch

    def remove(self, watch: Watch) -> None:
        """Take a watch away; raises NodeNotFoundError where it is none of this client's, or was taken away before."""
        if not isinstance(watch, Watch):
            raise TypeError(f"what watch() returned is to be given, not {type(watch).__name__}: {watch!r}")
        if not self._forget(watch):
            raise NodeNotFoundError(errno.ENOENT, "this watch is not set on this client", watch.path)
        self._backend.call(Unwatch(encode(watch.path), watch._name))

    def discard(self, watch: Watch) -> None:
        """Take a watch of this client's away, if it is set."""
        if self._forget(watch):
            try:
                self._backend.call(Unwatch(encode(watch.path), watch._name))
            except (ClientClosedError, NodeNotFoundError):
                pass  # it went with the connection, or with reset()

    def reset(self) -> None:
        """Take all watches away, and the daemon's transactions of this connection."""
        self._backend.call(ResetWatches())
        with self._lock:
            self._by_name.clear()
            self._by_token.clear()

    def check(self) -> WatchEvent | None:
        """The next event, or None at once."""
        found = self._next(0.0)
        return found[0] if found is not None else None

    def read(self, timeout: float | None) -> WatchEvent:
        """The next event; raises WaitTimeoutError when none came for `timeout` seconds."""
        found = self._next(timeout)
        if found is None:
            raise WaitTimeoutError(errno.ETIMEDOUT, f"no event came for {timeout} seconds")
        return found[0]

    def events(self, timeout: float | None) -> Iterator[WatchEvent]:
        """Events, until none came for `timeout` seconds."""
        while True:
            found = self._next(timeout)
            if found is None:
                return
            yield found[0]

    def run(self, timeout: float | None, otherwise: Callback | None, raise_errors: bool) -> None:
        """The central loop (see :meth:`xsffi.Client.run`)."""
        if otherwise is not None and not callable(otherwise):
            raise TypeError(f"otherwise is callable, not {type(otherwise).__name__}: {otherwise!r}")
        deadline = None if timeout is None else monotonic() + timeout
        me = object()
        try:
            with self._lock:
                if self._runner is not None:
                    raise RuntimeError("run() is running already on this client")
                if self._stop_bell is None:
                    self._stop_bell = Bell()
                bell = self._stop_bell
                self._runner = me
            poll = select.poll()
            poll.register(self._backend.fileno(), select.POLLIN)
            poll.register(bell.fileno(), select.POLLIN)
            while not self._stopping:
                found = self._next(0.0)
                if found is not None:
                    self._call_back(*found, otherwise, raise_errors)
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0 and (found is None or timeout):
                    return  # no time at all still is enough for what is there
                if found is None:
                    for descriptor, _ in poll.poll(one_wait(remaining) * 1000):
                        if descriptor == bell.fileno():
                            bell.silence()
        finally:
            # The first step is the one that matters: Ctrl-C may come between any two.
            if self._runner is me:
                self._runner = None
                self._stopping = False
                with self._lock:
                    if self._closed and self._stop_bell is not None:
                        self._stop_bell.close()
                        self._stop_bell = None

    def stop(self) -> None:
        """End :meth:`run`, or the next one where none is running; any thread and any signal handler may."""
        self._stopping = True
        bell = self._stop_bell
        if bell is not None:
            bell.ring()

    def close(self) -> None:
        """Give back what is held; the backend is closed already, which ends run()."""
        with self._lock:
            self._closed = True
            self._by_name.clear()
            self._by_token.clear()
            if self._stop_bell is not None and self._runner is None:
                self._stop_bell.close()
                self._stop_bell = None

    def _next(self, timeout: float | None) -> tuple[WatchEvent, Watch] | None:
        deadline = monotonic() + timeout if timeout else None  # no time at all stays none
        while True:
            event = self._backend.next_event(timeout)
            if event is None:
                return None
            watch = self._by_name.get(event.token)
            if watch is not None:
                return WatchEvent(event.path, watch.token), watch
            if deadline is not None:  # it was an event of a watch that was removed: it does not prolong the wait
                timeout = max(0.0, deadline - monotonic())

    def _call_back(self, event: WatchEvent, watch: Watch, otherwise: Callback | None, raise_errors: bool) -> None:
        callback = watch.callback or otherwise
        if callback is None:
            logger.warning("run() dropped an event at %s: its watch has no callback", event.path)
            return
        try:
            callback(event)
        except Exception:
            if raise_errors:
                raise
            logger.exception("the callback of the watch at %s raised", watch.path)

    def _forget(self, watch: Watch) -> bool:
        """Whether the watch was there; it is not any more."""
        key = (watch.path, id(watch.token))
        with self._lock:
            if self._by_token.get(key) is watch:
                del self._by_token[key]
            if not self.has(watch):
                return False
            del self._by_name[watch._name.decode("ascii")]
            return True


def _check_depth(depth: int | None) -> None:
    if depth is None:
        return
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise TypeError(f"a depth is an int or None, not {type(depth).__name__}: {depth!r}")
    if not 0 <= depth <= 0xFFFFFFFF:
        raise InvalidArgumentError(errno.EINVAL, f"a depth is from 0 to {0xFFFFFFFF}, not {depth}")
