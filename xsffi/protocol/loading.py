"""Writing nodes, thousands at a time."""

from __future__ import annotations

import itertools

from ..errors import XenStoreError
from ..paths import encode
from ..permissions import parse_permissions
from .lookups import Parts
from .requests import Request, SetPermissions, Write
from .safeguards import any_domain_error, names_any_domain
from .verbs import encode_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..records import Node
    from .programs import Program
    from .safeguards import AnyDomain

__all__ = ["load"]

_LOAD_AT_ONCE = 4096  # nodes
# Nodes at the same depth do not depend on each other, so they are written concurrently, unless only a few such nodes
# follow one another.
_ROW_MIN = 256
_PARTS = 16


class _Writing:
    """The requests that write one node."""

    def __init__(self, node: Node) -> None:
        """Raises the error if the node is invalid."""
        self.path = node.path
        path = encode(node.path)
        self.requests: list[Request[Any]] = [Write(path, encode_value(node.value))]
        if node.permissions:
            self.requests.append(SetPermissions(path, parse_permissions(node.permissions)))
        self.errors: list[XenStoreError] = []

    def refuse_deadly(self, any_domain: AnyDomain) -> Program[None]:
        """Leave out permissions that would kill the daemon; their error becomes the outcome."""
        last = self.requests[-1]
        if (
            isinstance(last, SetPermissions)
            and names_any_domain(last.permissions)
            and (yield from any_domain.is_deadly())
        ):
            self.requests.pop()
            self.errors.append(any_domain_error(last))


def load(any_domain: AnyDomain, nodes: Iterable[Node], *, allow_any_domain: bool = False) -> Program[None]:
    """Write nodes with their values and permissions (see :meth:`xsffi.Client.load`)."""
    nodes = iter(nodes)
    while some := [_Writing(node) for node in itertools.islice(nodes, _LOAD_AT_ONCE)]:
        if not allow_any_domain:
            for writing in some:
                yield from writing.refuse_deadly(any_domain)
        for parts in _steps(some):
            yield from _write(parts)
        for writing in some:
            if writing.errors:
                raise writing.errors[0]


def _write(parts: list[list[_Writing]]) -> Program[None]:
    outcomes = iter((yield Parts([[request for writing in part for request in writing.requests] for part in parts])))
    for part in parts:
        for writing in part:
            of_it = itertools.islice(outcomes, len(writing.requests))
            writing.errors += [outcome for outcome in of_it if isinstance(outcome, XenStoreError)]


def _steps(writings: list[_Writing]) -> list[list[list[_Writing]]]:
    """The steps in which to write: each consists of parts that may be written concurrently."""
    rows = [list(row) for _, row in itertools.groupby(writings, lambda writing: writing.path.count("/"))]
    if len(writings) < _ROW_MIN * len(rows):
        return [[writings]]
    return [_parts(row) for row in rows]


def _parts(row: list[_Writing]) -> list[list[_Writing]]:
    parts: list[list[_Writing]] = [[] for _ in range(_PARTS)]
    for writing in row:
        # Keeps the order of nodes with the same parent, in which xenstored lists them, and of duplicates.
        parts[hash(writing.path.rpartition("/")[0]) % _PARTS].append(writing)
    return parts
