"""The watches of a client, and the loop that calls their callbacks."""

from __future__ import annotations

import errno
from time import monotonic

from .. import log
from ..errors import (
    ClientClosedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    WaitTimeoutError,
    WatchExistsError,
)
from ..lazy import lazy_module
from ..options import validate_callable, validate_callback, validate_depth
from ..paths import encode
from ..protocol.watch_table import ITSELF, Watched
from .watching import Watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ..backends.base import Backend
    from ..protocol import programs
    from ..protocol import requests as r
    from ..records import WatchEvent

    Callback = Callable[[WatchEvent], object]
else:
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["Watch", "Watches"]


class Watch(Watched):
    """A watch that is set: its path, token, depth and callback. It ends with :meth:`close`, or with a ``with`` block.

    `depth` is None if everything below the path is included, even if a depth was tried that the daemon does not
    support.
    """

    def __init__(
        self,
        watches: Watches,
        path: str,
        token: object,
        callback: Callback | None,
        depth: int | None,
        wire_token: bytes,
    ) -> None:
        """Created by :meth:`xsffi.Client.watch`."""
        super().__init__(path, self if token is ITSELF else token, wire_token)
        self.callback = callback
        self.depth = depth
        self._watches = watches

    @property
    def closed(self) -> bool:
        """Whether it was removed."""
        return not self._watches.has(self)

    def close(self) -> None:
        """Remove the watch; none of its events is delivered any more. Idempotent, from any thread, even once the client
        is closed.

        Raises ConnectionLostError if the daemon is gone.
        """
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
            pass  # the first error matters

    def __repr__(self) -> str:
        return f"<xsffi.Watch {self.path!r}{' closed' if self.closed else ''}>"


class Watches:
    """The watches of one client."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._watching: Watching[Watch] = Watching(backend)
        self._runs: list[object] = []  # the calls of run(); the first is running, any other is refused
        self._stopping = False

    def add(self, path: str, token: object, callback: Callback | None, depth: int | None, try_depth: bool) -> Watch:
        """Set a watch (see :meth:`xsffi.Client.watch`)."""
        encoded = encode(path)
        validate_callback(callback)
        validate_depth(depth)
        watch = Watch(self, path, token, callback, depth, self._watching.new_token())
        try:
            self._set(watch, encoded)
        except NotSupportedError:
            if not try_depth or depth is None:
                raise
            watch.depth = None
            self._set(watch, encoded)
        return watch

    def has(self, watch: Watch) -> bool:
        """Whether this watch is set."""
        return watch in self._watching.table

    def remove(self, watch: Watch) -> None:
        """Remove a watch; raises NodeNotFoundError if it is not one of this client's, or was already removed."""
        if not isinstance(watch, Watch):
            raise TypeError(f"expected what watch() returned, not {type(watch).__name__}: {watch!r}")
        if watch._watches is not self or not self._watching.remove(watch, encode(watch.path), claim=True):
            raise NodeNotFoundError(errno.ENOENT, "this watch is not set on this client", watch.path)

    def discard(self, watch: Watch) -> None:
        """Remove a watch of this client, if it is set."""
        try:
            self._watching.remove(watch, encode(watch.path), claim=True)
        except (ClientClosedError, NodeNotFoundError):
            pass  # it ended with the connection, or by reset()

    def reset(self) -> None:
        """Remove all watches, and abort all transactions, of this connection."""
        self._backend.call(r.ResetWatches())
        self._watching.clear()

    def fileno(self) -> int:
        """See :meth:`xsffi.Client.fileno`."""
        return self._watching.fileno()

    def check(self) -> WatchEvent | None:
        """The next event, or None immediately."""
        found = self._watching.next_event(0.0)
        return found[0] if found is not None else None

    def read(self, timeout: float | None) -> WatchEvent:
        """Wait for the next event; raises WaitTimeoutError if none arrived within `timeout` seconds."""
        found = self._watching.next_event(timeout)
        if found is None:
            raise WaitTimeoutError(errno.ETIMEDOUT, f"no event within {timeout} seconds")
        return found[0]

    def events(self, timeout: float | None) -> Iterator[WatchEvent]:
        """Events, until none has arrived for `timeout` seconds."""
        while True:
            found = self._watching.next_event(timeout)
            if found is None:
                return
            yield found[0]

    def run(self, timeout: float | None, otherwise: Callback | None, raise_errors: bool) -> None:
        """The central loop (see :meth:`xsffi.Client.run`)."""
        if otherwise is not None:
            validate_callable(otherwise, "otherwise")
        me = object()
        try:
            self._runs.append(me)
            if self._runs[0] is not me:
                raise RuntimeError("run() is already running on this client")
            self._loop(timeout, otherwise, raise_errors)
        finally:
            if self._runs[:1] == [me]:
                self._stopping = False
            if me in self._runs:
                self._runs.remove(me)

    def stop(self) -> None:
        """End :meth:`run`, or the next one if none is running; safe in any thread and signal handler."""
        self._stopping = True
        self._watching.wake()

    def close(self) -> None:
        """Forget all watches. Call after closing the backend, which ends run()."""
        self._watching.clear()

    def _set(self, watch: Watch, encoded: bytes) -> None:
        try:
            if not self._watching.set(watch, r.Watch(encoded, watch.wire_token, watch.depth)):
                raise WatchExistsError(
                    errno.EEXIST, f"this path is already watched with this token: {watch.token!r}", watch.path
                )
        except InvalidArgumentError as error:
            if watch.depth is not None:
                programs.run(programs.look_into_depth(watch.path, error), self._backend.call)
            raise

    def _loop(self, timeout: float | None, otherwise: Callback | None, raise_errors: bool) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        remaining = timeout
        while not self._stopping:
            found = self._watching.next_event(remaining, lambda: self._stopping)
            if found is not None:
                # Nothing in between, where an interruption could lose the event.
                event, watch = found
                callback = otherwise if watch.callback is None else watch.callback
                try:
                    if callback is not None:
                        callback(event)
                    else:
                        log.warning("run() dropped an event at %s: its watch has no callback", event.path)
                except Exception:
                    if raise_errors:
                        raise
                    log.exception("the callback of the watch at %s raised", watch.path)
            if deadline is not None:
                remaining = max(0.0, deadline - monotonic())
                if remaining == 0 and (found is None or timeout):
                    return  # a timeout of 0 still delivers what is available
