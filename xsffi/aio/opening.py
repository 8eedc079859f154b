"""What can be awaited, or entered: ``x = await opening``, or ``async with opening as x``."""

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
    """Opens something when it is awaited, once; as a context manager it opens it and closes it in the end. It is a
    coroutine, so that a task can be made of it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Opened]) -> None:
        """To be had from :meth:`xsffi.aio.Client.watch`, ``transaction`` and ``mirror``. `coroutine` opens it; where
        nobody awaits it, Python warns of that."""
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
