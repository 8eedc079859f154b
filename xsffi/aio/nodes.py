"""Operations on nodes that clients and transactions share, besides the generated verbs."""

from __future__ import annotations

from ..errors import XenStoreError
from ..paths import validate
from ..protocol import requests as r
from ..protocol import trees
from .driver import iterate, run
from .operations import NodeVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from typing import Any

    from ..protocol.programs import Effect, Work
    from ..records import Node
    from ..static_types import T

__all__ = ["NodeOperations"]


class NodeOperations(NodeVerbs):
    """The verbs for nodes, and a walk."""

    def _call(self, request: r.Request[T]) -> Awaitable[T]:
        raise NotImplementedError

    def _call_many(self, requests: Sequence[r.Request[Any]]) -> Awaitable[list[Any]]:
        raise NotImplementedError

    async def _do(self, work: Work[T]) -> T:
        """Carry out what a verb returned."""
        return await (self._call(work) if isinstance(work, r.Request) else run(work, self._carry))

    async def _carry(self, effect: Effect) -> Any:
        return await (self._call(effect) if isinstance(effect, r.Request) else self._call_many(effect))  # type: ignore[arg-type]

    def walk(
        self, top: str = "/", onerror: Callable[[XenStoreError], object] | None = None
    ) -> AsyncGenerator[Node, None]:
        """Every node from `top` down, with its value, children and permissions: level by level, `top` first.

        Nodes removed meanwhile are left out; `top` itself must exist. If a node may not be read, the error is raised,
        or passed to `onerror`, and the walk continues without the nodes below it.
        """
        found = iterate(trees.walk(validate(top)), self._call_many)

        async def nodes() -> AsyncGenerator[Node, None]:
            try:
                async for node in found:
                    if not isinstance(node, XenStoreError):
                        yield node
                    elif onerror is None:
                        raise node
                    else:
                        onerror(node)
            finally:
                await found.aclose()

        return nodes()
