"""Sequences of requests whose order does not matter, or only within parts: they may use several connections."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import XenStoreError
from ..paths import encode
from ..records import Node
from .requests import Directory, GetPermissions, Read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from .requests import Request

__all__ = ["Lookups", "Nodes", "Parts", "Values", "node_of"]


class Lookups(Sequence["Request[Any]"]):
    """Lookups of many nodes: a sequence of requests in no order, without an object for each of them, since the
    connection in C needs none.

    Unlike with other requests, there is one outcome for each path, not for each request.
    """

    kinds: ClassVar[tuple[Callable[[bytes], Request[Any]], ...]]  # the request classes for each path

    def __init__(self, paths: Sequence[str], encode: Callable[[str], bytes] = encode) -> None:
        """`encode` converts a path for a request, and raises if it breaks the rules."""
        self.paths = paths
        self.encode = encode

    def __len__(self) -> int:
        return len(self.kinds) * len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        node, kind = divmod(place, len(self.kinds))
        return self.kinds[kind](self.encode(self.paths[node]))

    def combine(self, outcomes: list[Any]) -> list[Any]:
        """Combine the outcomes of all requests into one for each path."""
        raise NotImplementedError


class Values(Lookups):
    """The values of many nodes: each outcome is a value, or an error."""

    kinds = (Read,)

    def combine(self, outcomes: list[Any]) -> list[Any]:
        return outcomes


class Nodes(Lookups):
    """Many whole nodes: each outcome is a :class:`~xsffi.records.Node` or, if any of its requests failed, a plain tuple
    of the outcomes for its value, children and permissions."""

    kinds = (Read, Directory, GetPermissions)

    def combine(self, outcomes: list[Any]) -> list[Any]:
        of_each = zip(self.paths, outcomes[0::3], outcomes[1::3], outcomes[2::3])
        return [node_of(path, value, children, permissions) for path, value, children, permissions in of_each]


class Parts(Sequence["Request[Any]"]):
    """Parts in no order, each of which is ordered: a sequence of all their requests."""

    def __init__(self, parts: Sequence[Sequence[Request[Any]]]) -> None:
        self.parts = parts
        self._requests = [request for part in parts for request in part]

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, place: Any) -> Any:
        return self._requests[place]


def node_of(path: str, value: Any, children: Any, permissions: Any) -> Any:
    """See :class:`Nodes`."""
    if any(isinstance(outcome, XenStoreError) for outcome in (value, children, permissions)):
        return value, children, permissions
    # In a transaction that can no longer be committed, xenstored may list a child twice.
    return Node(path, value, tuple(dict.fromkeys(children)), tuple(permissions))
