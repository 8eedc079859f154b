"""A whole tree as it is at one moment.

A transaction would be the obvious way, and is not: xenstored looks through all that a transaction has used at each
operation in it, so that reading a tree costs the square of its size. A watch tells as surely whether what was read is
still so. The daemon puts an event into the connection before any later reply: where a round of reading ends without
one, nothing had changed since it began.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from .backends.base import Backend
from .errors import NodeNotFoundError, TransactionConflictError
from .paths import encode, parent
from .protocol.programs import iterate, walk
from .protocol.requests import Watch
from .records import Node

__all__ = ["snapshot"]


def snapshot(backend: Backend, top: str, rounds: int) -> list[Node]:
    """Every node from `top` down, parents first, as they were at one moment.

    `backend` is used for this alone: its events are taken to be of this. After the first round only what changed
    meanwhile is read again; where each of so many `rounds` saw changes, TransactionConflictError is raised.
    """
    backend.call(Watch(encode(top), b"snapshot", None))
    backend.next_event(None)  # the one that comes at once
    tree = _Tree(backend, top)
    changed = {top}
    for _ in range(rounds):
        tree.read_again(changed)
        changed = set()
        event = backend.next_event(0)
        while event is not None:
            changed.add(event.path)
            event = backend.next_event(0)
        if not changed:
            return tree.nodes()
    raise TransactionConflictError(errno.EAGAIN, f"the tree kept changing while it was read {rounds} times", top)


class _Tree:
    """What is known of the tree so far."""

    def __init__(self, backend: Backend, top: str) -> None:
        self._backend = backend
        self._top = top
        self._nodes: dict[str, Node] = {}

    def read_again(self, paths: Iterable[str]) -> None:
        """Something happened at `paths`: each may be new, with nodes above it, changed, or gone with all below it."""
        highest = {self._highest_new(path) for path in paths}
        above = {parent(path) for path in highest if path != self._top}  # whose children may be others now
        for path in highest:
            self._forget(path)
        self._read(above - highest, levels=1)
        self._read(highest, levels=None)

    def _highest_new(self, path: str) -> str:
        while path != self._top and parent(path) not in self._nodes:
            path = parent(path)
        return path

    def nodes(self) -> list[Node]:
        """All of it, level by level."""
        nodes = []
        level = [self._top]
        while level:
            found = [self._nodes[path] for path in level if path in self._nodes]
            nodes += found
            level = [path for node in found for path in _below(node)]
        if not nodes:
            raise NodeNotFoundError(errno.ENOENT, "No such file or directory", self._top)
        return nodes

    def _read(self, paths: Iterable[str], levels: int | None) -> None:
        for node in iterate(walk([encode(path) for path in paths], levels), self._backend.call_many):
            if isinstance(node, Node):
                self._nodes[node.path] = node
            elif isinstance(node, NodeNotFoundError):
                self._forget(str(node.filename))
            else:
                raise node

    def _forget(self, path: str) -> None:
        paths = [path]
        while paths:
            node = self._nodes.pop(paths.pop(), None)
            if node is not None:
                paths += _below(node)


def _below(node: Node) -> list[str]:
    """The paths of its children."""
    prefix = "/" if node.path == "/" else f"{node.path}/"
    return [prefix + name for name in node.children]
