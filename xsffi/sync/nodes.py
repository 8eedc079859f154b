"""Operations on nodes that clients and transactions share, besides the generated verbs."""

from __future__ import annotations

from ..errors import XenStoreError
from ..lazy import lazy_module
from ..paths import validate
from .operations import NodeVerbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..protocol import programs, trees
    from ..protocol import requests as r
    from ..protocol.programs import Effect, Work
    from ..records import Node
    from ..static_types import T
else:
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")
    trees = lazy_module("xsffi.protocol.trees")

__all__ = ["NodeOperations"]


class NodeOperations(NodeVerbs):
    """The verbs for nodes, a walk, and items: ``xs[path]``."""

    def _call(self, request: r.Request[T]) -> T:
        raise NotImplementedError

    def _call_many(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        raise NotImplementedError

    def _do(self, work: Work[T]) -> T:
        """Carry out what a verb returned."""
        return self._call(work) if isinstance(work, r.Request) else programs.run(work, self._carry)

    def _carry(self, effect: Effect) -> Any:
        return self._call(effect) if isinstance(effect, r.Request) else self._call_many(effect)  # type: ignore[arg-type]

    def walk(self, top: str = "/", onerror: Callable[[XenStoreError], object] | None = None) -> Iterator[Node]:
        """Every node from `top` down, with its value, children and permissions: level by level, `top` first.

        Nodes removed meanwhile are left out; `top` itself must exist. If a node may not be read, the error is raised,
        or passed to `onerror`, and the walk continues without the nodes below it.
        """
        found = trees.iterate(trees.walk(validate(top)), self._call_many)

        def nodes() -> Iterator[Node]:
            for node in found:
                if not isinstance(node, XenStoreError):
                    yield node
                elif onerror is None:
                    raise node
                else:
                    onerror(node)

        return nodes()

    def __getitem__(self, path: str) -> bytes:
        """As :meth:`read`."""
        return self.read(path)

    def __setitem__(self, path: str, value: bytes | str) -> None:
        """As :meth:`write`."""
        self.write(path, value)

    def __delitem__(self, path: str) -> None:
        """As :meth:`rm`."""
        self.rm(path)

    def __contains__(self, path: str) -> bool:
        """As :meth:`exists`."""
        return self.exists(path)

    __iter__ = None  # otherwise Python would iterate with __getitem__(0), (1), …
