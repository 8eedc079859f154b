"""The asyncio client behind the interface of the sync one, so that the tests of the latter test both.

What it lacks by design is missing here too: tests of that are marked with :func:`harness.stores.of_sync_alone`.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any

from xsffi import Change, Node, WaitTimeoutError, WatchEvent, aio
from xsffi.aio import mirror as aio_mirror

from .threads import PATIENCE

__all__ = ["AwaitedClient"]


class LoopThread:
    """An event loop in its own thread, in which other threads can call functions."""

    def __init__(self) -> None:
        self._wrong: list[object] = []
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(started),), daemon=True)
        self._thread.start()
        self._loop = started.result()

    def run(self, function: Callable[[], Any]) -> Any:
        """Call this in the loop, await the result if it is awaitable, and return the outcome. An exception that
        interrupts this thread meanwhile, such as Ctrl-C, cancels it."""
        results: list[Any] = []  # not referenced by the loop, so that the caller holds the last reference to the result

        async def call() -> None:
            result = function()
            results.append(await result if inspect.isawaitable(result) else result)

        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # otherwise an exception would be part of a cycle, and keep the objects of its frames alive
        return results.pop()

    def drop(self, held: list[Any]) -> None:
        """Have the loop clear this list soon; safe to call from a finalizer."""
        try:
            self._loop.call_soon_threadsafe(held.clear)
        except RuntimeError:
            pass  # the loop has ended

    def end(self) -> None:
        """Wait for all tasks, and end the loop; fails if it has reported any problem."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        assert not self._wrong, self._wrong

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._wrong.append(context))
        self._over = asyncio.Event()
        started.set_result(loop)
        await self._over.wait()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            _, hanging = await asyncio.wait(tasks, timeout=PATIENCE)
            if hanging:
                self._wrong.append(hanging)
                return


class Awaited:
    """An object of :mod:`xsffi.aio`: its methods are called and awaited in the event loop, and their results are
    wrapped likewise."""

    def __init__(self, loop: LoopThread, awaited: Any) -> None:
        self._loop = loop
        self._awaited = awaited

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._awaited, name)
        return partial(self._call, found) if inspect.ismethod(found) else found

    def __enter__(self) -> Any:
        self._call(self._awaited.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call(self._awaited.__aexit__, kind, error, traceback)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Awaited) and self._awaited is other._awaited

    def __hash__(self) -> int:
        return hash(self._awaited)

    def _call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self._present(self._loop.run(partial(function, *arguments, **named)))

    def _present(self, result: Any) -> Any:
        if isinstance(result, (aio.Transaction, aio.Watch)):
            return Awaited(self._loop, result)
        if isinstance(result, aio_mirror.Mirror):
            return AwaitedMirror(self._loop, result)
        if isinstance(result, aio.Pipeline):
            return AwaitedPipeline(self._loop, result)
        if isinstance(result, WatchEvent):
            return result._replace(token=self._present(result.token))
        if isinstance(result, AsyncIterator):
            return self._iterate([result])
        return result

    def _iterate(self, held: list[AsyncIterator[Any]]) -> Iterator[Any]:
        try:
            while True:
                yield self._call(held[0].__anext__)
        except StopAsyncIteration:
            pass
        finally:
            self._loop.drop(held)


class AwaitedPipeline(Awaited):
    """A pipeline: queueing an operation is neither awaited nor done in the loop."""

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "execute" else getattr(self._awaited, name)

    def __len__(self) -> int:
        return len(self._awaited)


class AwaitedMirror(Awaited, Mapping[str, Node]):
    """A mirror, which is also read in the loop."""

    __hash__ = None  # type: ignore[assignment]  # as for any mapping
    __eq__ = Mapping.__eq__

    def run(self, callback: Callable[[Change], object], timeout: float | None = None) -> None:
        """`callback` is called in a thread, since it blocks on calls in the loop."""

        async def call(change: Change) -> None:
            await asyncio.get_running_loop().run_in_executor(None, callback, change)

        self._call(self._awaited.run, call if callable(callback) else callback, timeout)

    def __getitem__(self, path: str) -> Node:
        node: Node = self._call(self._awaited.__getitem__, path)
        return node

    def __len__(self) -> int:
        return len(self._awaited)

    def __iter__(self) -> Iterator[str]:
        return iter(self._awaited)


class AwaitedClient(Awaited):
    """A client with the thread of its event loop: close() only closes the client; leaving the ``with`` block also ends
    the thread."""

    def __init__(self, path: str, **options: Any) -> None:
        loop = LoopThread()
        try:
            super().__init__(loop, loop.run(partial(aio.connect, path, **options)))
        except BaseException:
            loop.end()
            raise
        self._callbacks: dict[object, Callable[[WatchEvent], object]] = {}
        self._stopping = False

    @property
    def backend(self) -> Awaited:
        return Awaited(self._loop, self._awaited.backend)

    def transact(self, function: Callable[[Any], Any], *arguments: Any, **named: Any) -> Any:
        """`function` is called in a thread, since it blocks on calls in the loop."""

        async def call(transaction: aio.Transaction) -> Any:
            presented = self._present(transaction)
            return await asyncio.get_running_loop().run_in_executor(None, function, presented)

        return self._call(self._awaited.transact, call, *arguments, **named)

    def watch(self, *arguments: Any, callback: Callable[[WatchEvent], object] | None = None, **named: Any) -> Any:
        """A watch with a callback, for :meth:`run`, is its own token."""
        watch = self._call(self._awaited.watch, *arguments, **named)
        if callback is not None:
            assert watch.token is watch._awaited
            self._callbacks[watch] = callback
        return watch

    def unwatch(self, watch: Awaited) -> None:
        self._call(self._awaited.unwatch, watch._awaited)

    def check_watch(self) -> Any:
        return self._next_event(0)

    def read_watch(self, timeout: float | None = None) -> Any:
        event = self._next_event(timeout)
        if event is None:
            raise WaitTimeoutError(errno.ETIMEDOUT, f"no event within {timeout} seconds")
        return event

    def run(self, timeout: float | None = None) -> None:
        """Call the callbacks until one calls :meth:`stop`, or no event has come for `timeout` seconds."""
        for event in self.events(timeout):
            callback = self._callbacks.get(event.token) if isinstance(event.token, Awaited) else None
            if callback is not None:
                callback(event)
            if self._stopping:
                self._stopping = False
                return

    def stop(self) -> None:
        self._stopping = True

    def __enter__(self) -> AwaitedClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self._loop.end()

    def _next_event(self, timeout: float | None) -> Any:
        async def first() -> WatchEvent | None:
            async for event in self._awaited.events(timeout):
                return event  # type: ignore[no-any-return]
            return None

        return self._call(first)
