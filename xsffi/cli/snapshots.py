"""A tree as it is at one moment, or else as far as it can be read."""

from __future__ import annotations

from ..errors import AccessDeniedError, QuotaExceededError, TransactionConflictError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import XenStoreError
    from ..records import Node
    from ..sync.client import Client

__all__ = ["read_tree"]


def read_tree(xs: Client, top: str) -> tuple[list[Node], dict[str, XenStoreError]]:
    """Every node from `top` down, parents first, as at one moment.

    Where some may not be read, as by a guest, or others change the tree all the time, or a guest has no watch left,
    nodes are read one level after the other, and with them come the errors of those that may not be read, by their
    paths. Raises XenStoreError where `top` itself cannot be read.
    """
    try:
        return xs.dump(top), {}
    except (AccessDeniedError, QuotaExceededError, TransactionConflictError):
        pass
    unread: dict[str, XenStoreError] = {}

    def note(error: XenStoreError) -> None:
        if not isinstance(error, AccessDeniedError) or error.filename in (None, top):
            raise error
        unread[error.filename] = error

    return list(xs.walk(top, note)), unread
