"""Many requests whose order does not count, or not among all of them: they may go over several connections."""

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
    """What is asked of many nodes: a list of requests whose order does not count, without a value for each of them,
    since what carries them in C needs none.

    Unlike those of other requests, their outcomes are not one for each request, but one for each path.
    """

    kinds: ClassVar[tuple[Callable[[bytes], Request[Any]], ...]]  # of the requests for each path

    def __init__(self, paths: Sequence[str], encode: Callable[[str], bytes] = encode) -> None:
        """`encode`: what makes a path of a request, and raises where it breaks the rules."""
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
        """What the outcomes of all the requests come to, one for each path."""
        raise NotImplementedError


class Values(Lookups):
    """The values of many nodes: each outcome is one, or its error."""

    kinds = (Read,)

    def combine(self, outcomes: list[Any]) -> list[Any]:
        return outcomes


class Nodes(Lookups):
    """All of many nodes: each outcome is a :class:`~xsffi.records.Node`, or, where there is an error among them, a
    plain tuple of the outcomes for its value, children and permissions."""

    kinds = (Read, Directory, GetPermissions)

    def combine(self, outcomes: list[Any]) -> list[Any]:
        of_each = zip(self.paths, outcomes[0::3], outcomes[1::3], outcomes[2::3])
        return [node_of(path, value, children, permissions) for path, value, children, permissions in of_each]


class Parts(Sequence["Request[Any]"]):
    """Parts whose order does not count, though that within each does: a list of all their requests."""

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
    # xenstored may list a child twice, in a transaction that cannot be committed any more.
    return Node(path, value, tuple(dict.fromkeys(children)), tuple(permissions))
