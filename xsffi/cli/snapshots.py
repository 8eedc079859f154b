"""A tree as it is at one moment, or else as far as it can be read."""

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
    """Every node from `top` down, parents first, as at one moment; or those of so many levels below it, of which each
    is as at a moment of its own.

    Where some may not be read, as by a guest, or others change the tree all the time, or a guest has no watch left,
    nodes are read one level after the other, and with them come the errors of those that may not be read, by their
    paths. Raises XenStoreError where `top` itself cannot be read.
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
            break  # all nodes of a level come before those of the next
        nodes.append(node)
    return nodes, unread
