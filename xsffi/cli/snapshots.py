"""A tree as it is at one moment or, failing that, as far as it can be read."""

from __future__ import annotations

from ..errors import AccessDeniedError, QuotaExceededError, TransactionConflictError
from ..paths import level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import XenStoreError
    from ..records import Node
    from ..sync.client import Client

__all__ = ["read_tree"]


def read_tree(xs: Client, top: str, levels: int | None = None) -> tuple[list[Node], dict[str, XenStoreError]]:
    """Every node from `top` down, parents first, at one moment; or, with `levels`, only that many levels below it, each
    at a moment of its own.

    If some may not be read, as by a guest, or the tree keeps changing, or a guest has no watch left, nodes are read one
    level after the other, and the errors of those that may not be read are returned by path. Raises XenStoreError if
    `top` itself cannot be read.
    """
    if levels is None:
        try:
            return xs.dump(top), {}
        except (AccessDeniedError, QuotaExceededError, TransactionConflictError):
            pass
    unread: dict[str, XenStoreError] = {}

    def note(error: XenStoreError) -> None:
        if not isinstance(error, AccessDeniedError) or error.filename in (None, top):
            raise error
        unread[error.filename] = error

    nodes: list[Node] = []
    deepest = None if levels is None else level(top) + levels
    for node in xs.walk(top, note):
        if deepest is not None and level(node.path) > deepest:
            break  # a level's nodes all come before the next level's
        nodes.append(node)
    return nodes, unread
