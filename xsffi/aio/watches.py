"""Watches: each is a stream of its events, or has a callback, which a task of the watch calls."""

from __future__ import annotations

import asyncio
import errno
import inspect
import weakref

from .. import log
from ..errors import (
    ClientClosedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    WaitTimeoutError,
    WatchExistsError,
    XenStoreError,
    closed_error,
)
from ..options import validate_callback, validate_depth
from ..paths import encode
from ..protocol import requests as r
from ..protocol.programs import look_into_depth
from ..protocol.watch_table import ITSELF, Watched, WatchTable
from ..records import WatchEvent
from .driver import run
from .events import EventStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .backend import Backend

    Callback = Callable[[WatchEvent], object]  # plain or async

__all__ = ["Events", "Watch", "Watches"]


class Watch(Watched, EventStream):
    """A watch that is set: its path, token, depth and callback. It ends with :meth:`close`, or with an ``async with``
    block.

    Without a callback it is a stream of its events: ``async for event in watch`` returns them as they arrive. Of
    several pending events at the same path only one is kept, so a slow reader gets each path once. A watch must be
    read: if 65 536 paths are pending and one more arrives, they are discarded, and the stream ends with
    :class:`~xsffi.errors.XenStoreError` (ENOBUFS). Iteration ends when the watch is closed; once the daemon is gone it
    raises ConnectionLostError, after all earlier events, and ClientClosedError if the client is closed. A watch stays
    set even if nobody refers to it any more.

    `depth` is None if everything below the path is included, even if a depth was tried that the daemon does not
    support.
    """

    def __init__(
        self,
        watches: Watches,
        loop: asyncio.AbstractEventLoop,
        path: str,
        token: object,
        callback: Callback | None,
        depth: int | None,
        wire_token: bytes,
        client: object,
    ) -> None:
        """Created by :meth:`xsffi.aio.Client.watch`. `client` is kept alive as long as this is set."""
        Watched.__init__(self, path, self if token is ITSELF else token, wire_token)
        EventStream.__init__(self, loop)
        self.callback = callback
        self.depth = depth
        self._watches = watches
        self._client: object = client
        self._task: asyncio.Task[None] | None = None  # calls the callback
        self._is_read = callback is not None  # somebody reads this watch itself
        self._given: set[str] = set()  # the paths of pending events that were already returned by events()

    @property
    def closed(self) -> bool:
        """Whether it was removed."""
        return not self._watches.has(self)

    async def close(self) -> None:
        """Remove the watch; none of its events is delivered any more. A running callback is not interrupted.
        Idempotent, even once the client is closed.

        Raises ConnectionLostError if the daemon is gone.
        """
        await self._watches.discard(self)

    def __aiter__(self) -> Watch:
        """Raises RuntimeError if the events go to a callback."""
        if self.callback is not None:
            raise RuntimeError("the events of this watch go to its callback")
        self._is_read = True
        return self

    async def __anext__(self) -> WatchEvent:
        self._watches.check_place()
        self.__aiter__()
        taken = await self.next()
        assert taken is not None, "it waits without limit"
        return taken[1]

    def take(self) -> tuple[str, WatchEvent] | None:
        """Its next event and its token on the wire, None where none waits; raises what ended the stream."""
        taken = super().take()
        if taken is not None:
            self._given.discard(taken[1].path)
        return taken

    async def __aenter__(self) -> Watch:
        self._is_read = True  # it is going to be
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
            return
        if not issubclass(kind, Exception):  # cancelled, perhaps because the daemon does not answer
            self._watches.give_up(self)
            return
        try:
            await self.close()
        except OSError:
            pass  # the first error matters

    def __repr__(self) -> str:
        return f"<xsffi.aio.Watch {self.path!r}{' closed' if self.closed else ''}>"

    def _start(self) -> None:
        """Call once the watch is set."""
        if self.callback is not None:
            self._task = self._loop.create_task(self._call_back(self.callback))

    def _stop(self, error: Callable[[], BaseException]) -> None:
        """The watch was removed, or the connection has ended: discard unread events."""
        self._client = None
        self._waiting.clear()
        self.end_with(error)  # also ends the callback's task, once the callback returns

    async def _call_back(self, callback: Callback) -> None:
        try:
            while (taken := await self.next()) is not None:
                try:
                    result = callback(taken[1])
                    if inspect.isawaitable(result):
                        await result
                except (Exception, asyncio.CancelledError) as error:
                    if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                        raise
                    if not (self.closed and isinstance(error, ClientClosedError)):
                        log.exception("the callback of the watch at %s raised", self.path)
        except (StopAsyncIteration, ClientClosedError):
            pass
        except XenStoreError as error:
            log.warning("the callback of the watch at %s will not be called any more: %s", self.path, error.strerror)
        except asyncio.CancelledError:
            if not self.closed:
                log.warning("the callback of the watch at %s was cancelled, and will not be called any more", self.path)
                self._watches.give_up(self)
            raise


def _is_cancelled() -> bool:
    """Whether this task is cancelled, not what it awaits; cannot be determined before Python 3.11."""
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


class Events(EventStream):
    """The events of all watches of a client; created by :meth:`xsffi.aio.Client.events`."""

    def __init__(
        self, watches: Watches, loop: asyncio.AbstractEventLoop, timeout: float | None, client: object
    ) -> None:
        """`client` is kept alive as long as this is."""
        super().__init__(loop)
        self._client = client
        self._watches = watches
        self._timeout = timeout

    def __aiter__(self) -> Events:
        return self

    def take(self) -> tuple[str, WatchEvent] | None:
        """The next event of a watch that is still set, with its token on the wire; otherwise as :meth:`Watch.take`."""
        while (taken := super().take()) is not None and not self._watches.knows(taken[0]):
            pass
        return taken

    async def __anext__(self) -> WatchEvent:
        self._watches.check_place()
        taken = await self.next(self._timeout)
        if taken is None:
            raise StopAsyncIteration
        self._watches.was_read(*taken)
        return taken[1]


class Watches:
    """The watches of one client, and where their events go."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop) -> None:
        self._backend = backend
        self._loop = loop
        self._table: WatchTable[Watch] = WatchTable()
        self._followers: weakref.WeakSet[Events] = weakref.WeakSet()  # these get every event
        self._over: Callable[[], BaseException] | None = None
        self._queue = backend.open_queue("", self)

    async def add(
        self,
        path: str,
        token: object,
        callback: Callback | None,
        depth: int | None,
        try_depth: bool,
        client: object,
    ) -> Watch:
        """Set a watch (see :meth:`xsffi.aio.Client.watch`), which keeps `client` alive."""
        encoded = encode(path)
        validate_callback(callback)
        validate_depth(depth)
        self._backend.check()
        watch = Watch(self, self._loop, path, token, callback, depth, self._queue.new_token(), client)
        try:
            await self._set(watch, encoded)
        except NotSupportedError:
            if not try_depth or depth is None:
                raise
            watch.depth = None
            await self._set(watch, encoded)
        watch._start()
        return watch

    def has(self, watch: Watch) -> bool:
        """Whether this watch is set."""
        return watch in self._table

    def knows(self, wire_token: str) -> bool:
        """Whether a watch with this token is set."""
        return self._table.owner(wire_token) is not None

    async def remove(self, watch: Watch) -> None:
        """Remove a watch; raises NodeNotFoundError if it is not one of this client's, or was already removed."""
        if not isinstance(watch, Watch):
            raise TypeError(f"expected what watch() returned, not {type(watch).__name__}: {watch!r}")
        if watch._watches is not self or not await self._unset(watch):
            raise NodeNotFoundError(errno.ENOENT, "this watch is not set on this client", watch.path)

    async def discard(self, watch: Watch) -> None:
        """Remove a watch of this client, if it is set."""
        try:
            await self._unset(watch)
        except (ClientClosedError, NodeNotFoundError):
            pass  # it ended with the connection, or by reset()

    def give_up(self, watch: Watch) -> None:
        """As :meth:`discard`, without waiting for the daemon."""
        if self._forget(watch):
            self._backend.post(r.Unwatch(encode(watch.path), watch.wire_token))

    async def reset(self) -> None:
        """Remove all watches, and abort all transactions, of this connection."""
        watches = list(self._table)  # watches requested from now on are set after the reset
        try:
            await self._backend.call(r.ResetWatches())
        except BaseException as error:
            if isinstance(error, XenStoreError) and not isinstance(error, WaitTimeoutError):
                raise
            self._backend.post(r.ResetWatches())  # in case the request was not sent
            for watch in watches:
                self._forget(watch)
            raise
        for watch in watches:
            self._forget(watch)

    def events(self, timeout: float | None, client: object) -> Events:
        """The events of all watches from now on, preceded by unread ones."""
        self.check_place()
        events = Events(self, self._loop, timeout, client)
        for watch in self._table:
            for (wire_token, path), event in watch._waiting.items():
                if path not in watch._given:
                    events.put(wire_token, event)
        self._followers.add(events)
        if self._over is not None:
            events.end_with(self._over)
        return events

    def close(self) -> None:
        """Forget all watches: the backend is closed."""
        self._over = closed_error
        for events in list(self._followers):
            events._waiting.clear()
            events.end_with(closed_error)
        for watch in list(self._table):
            self._forget(watch, closed_error)

    def check_place(self) -> None:
        """Raise in a child process or another event loop."""
        self._backend.check_place()

    def receive(self, event: WatchEvent) -> None:
        """See :class:`~xsffi.aio.connection.Receiver`."""
        watch = self._table.owner(event.token)
        if watch is None:
            return  # the watch was removed
        watch._given.discard(event.path)
        of_user = WatchEvent(event.path, watch.token)
        watch.put(event.token, of_user)
        for events in list(self._followers):
            events.put(event.token, of_user)

    def end(self, error: Callable[[], XenStoreError]) -> None:
        """See :class:`~xsffi.aio.connection.Receiver`."""
        self._over = error
        for stream in [*self._table, *self._followers]:
            stream.end_with(error)

    def was_read(self, wire_token: str, event: WatchEvent) -> None:
        """Call when an event was returned by events(): a watch that nobody reads need not keep it."""
        watch = self._table.owner(wire_token)
        if watch is None:
            return
        if not watch._is_read:
            watch._waiting.pop((wire_token, event.path), None)
        elif (wire_token, event.path) in watch._waiting:
            watch._given.add(event.path)

    async def _set(self, watch: Watch, encoded: bytes) -> None:
        if not self._table.add(watch):
            raise WatchExistsError(
                errno.EEXIST, f"this path is already watched with this token: {watch.token!r}", watch.path
            )
        try:
            await self._backend.call(r.Watch(encoded, watch.wire_token, watch.depth))
        except BaseException as error:
            self._table.remove(watch)
            if isinstance(error, InvalidArgumentError) and watch.depth is not None:
                await run(look_into_depth(watch.path, error), self._backend.call)
            raise

    async def _unset(self, watch: Watch) -> bool:
        """Remove a watch; False if it is not set."""
        self._backend.check_place()
        if not self._forget(watch):
            return False
        request = r.Unwatch(encode(watch.path), watch.wire_token)
        try:
            await self._backend.call(request)
        except BaseException as error:
            if isinstance(error, WaitTimeoutError) or not isinstance(error, XenStoreError):
                self._backend.post(request)  # in case the request was not sent
            raise
        return True

    def _forget(self, watch: Watch, error: Callable[[], BaseException] = StopAsyncIteration) -> bool:
        if not self._table.remove(watch):
            return False
        watch._stop(error)
        return True
