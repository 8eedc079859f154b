"""What can be awaited, or entered: ``x = await opening``, or ``async with opening as x``."""

from __future__ import annotations

from ..static_types import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Any, TypeVar

    Opened = TypeVar("Opened", bound=AbstractAsyncContextManager[Any])
else:
    Opened = object

__all__ = ["Opening"]


class Opening(Generic[Opened]):
    """Opens something when it is awaited, once; as a context manager it opens it and closes it in the end."""

    def __init__(self, coroutine: Coroutine[Any, Any, Opened]) -> None:
        """`coroutine` opens it; where nobody awaits it, Python warns of that."""
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._coroutine
        await self._opened.__aenter__()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.__aexit__(kind, error, traceback)
