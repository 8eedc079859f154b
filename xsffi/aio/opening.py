"""Something to await or enter: ``x = await opening``, or ``async with opening as x``."""

from __future__ import annotations

from collections.abc import Coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Any, TypeVar

    Opened = TypeVar("Opened", bound=AbstractAsyncContextManager[Any])
else:
    Any = Opened = object

__all__ = ["Opening"]


class Opening(Coroutine[Any, Any, Opened]):
    """Opens something once it is awaited; as an async context manager, also closes it on exit. It is a coroutine, so
    that it can be made a task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Opened]) -> None:
        """Created by :meth:`xsffi.aio.Client.watch`, ``transaction`` and ``mirror``. `coroutine` opens it; Python
        warns if it is never awaited."""
        self._coroutine = coroutine

    async def __aenter__(self) -> Opened:
        self._opened = await self._coroutine
        await self._opened.__aenter__()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.__aexit__(kind, error, traceback)

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()
