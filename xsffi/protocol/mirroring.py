"""A tree in memory that is kept up to date: what a mirror knows, the programs that read what has changed, and the
changes to report."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import ItemsView, Mapping, ValuesView

from ..errors import (
    ClientClosedError,
    InvalidArgumentError,
    NodeNotFoundError,
    TransactionConflictError,
)
from ..paths import is_subpath, parent_path
from ..records import OVERFLOW, Change, Node, WatchEvent
from . import conditions, trees
from .requests import Directory, GetPermissions, Read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..errors import XenStoreError
    from ..static_types import T
    from .conditions import Condition, Kind
    from .programs import Program

__all__ = ["MirroredTree", "Replica", "closed_mirror_error"]

_ROUNDS = 100  # of reading in one update, if each brings further events


class Replica:
    """The nodes from `top` down, and which changes of them have been reported.

    The programs are those of a snapshot (:func:`~xsffi.protocol.trees.snapshot` explains why that is correct), but
    start from what is known: the cost of an update depends on what has changed. If one is interrupted or fails, nothing
    is lost: what was not read yet is read in the next update. Until then everything stays as the last one left it.
    """

    def __init__(self, top: str) -> None:
        self.top = top
        self.nodes: dict[str, Node] = {}  # by path, parents before children
        self.version = 0  # incremented before and after nodes change; odd in between
        self._told: OrderedDict[str, Node | None] = (
            OrderedDict()
        )  # where they differ from what was told, by path: what that was
        self._token = self._released = b""
        self._fresh = _Fresh(self.nodes)
        self._failed: dict[str, XenStoreError] = {}
        self._changed = {top}  # paths to read
        self._reading: set[str] = set()  # paths being read, if that was interrupted

    # Reporting changes.

    @property
    def has_changes(self) -> bool:
        """Whether there are unreported changes."""
        return bool(self._told)

    def tell_all(self) -> list[Change]:
        """All unreported changes, parents before their children; they count as reported."""
        nodes = self.nodes
        told, self._told = self._told, OrderedDict()
        return [Change(path, old, nodes.get(path)) for path, old in told.items()]

    def tell_next(self) -> Change | None:
        """The next of them, or None."""
        if not self._told:
            return None
        path, old = self._told.popitem(last=False)
        return Change(path, old, self.nodes.get(path))

    def tell_nothing(self) -> None:
        """Treat what is known now as reported."""
        self._told.clear()

    def iterate(self) -> Iterator[tuple[str, Node]]:
        """Paths and nodes; raises RuntimeError if they are updated meanwhile."""
        version = self.version
        for item in self.nodes.items():
            yield item
            if self.version != version:
                raise RuntimeError("the mirror was updated during iteration")

    def copy(self) -> dict[str, Node]:
        """The nodes by path; raises RuntimeError if another thread updates them meanwhile."""
        version = self.version
        copied = self.nodes.copy()
        if version % 2 or self.version != version:
            raise RuntimeError("the mirror was updated while it was copied")
        return copied

    def judge(self, condition: Condition[T]) -> T:
        """The result of a condition for what is known."""
        return conditions.judge(condition, conditions.View(self._look))

    def _look(self, kind: Kind, path: str) -> Any:
        if not is_subpath(path, self.top):
            return InvalidArgumentError(errno.EINVAL, f"this is outside the mirror of {self.top}", path)
        node = self.nodes.get(path)
        if node is None:
            return NodeNotFoundError(errno.ENOENT, "the mirror has no such node", path)
        outcomes: dict[Any, Any] = {Read: node.value, Directory: node.children, GetPermissions: node.permissions}
        return outcomes[kind]

    # Updating.

    def begin(self, token: bytes, released: bytes) -> Program[None]:
        """Set the watches with these tokens, neither of which was ever used. The next update reads everything."""
        self._token, self._released = token, released
        self.doubt()
        yield from trees.set_watches(self.top, token, released)

    def doubt(self) -> None:
        """Read everything again in the next update: an event may have been lost."""
        self._changed.add(self.top)
        self._fresh.clear()

    def note(self, event: WatchEvent) -> None:
        """Record an event that was taken, for the next update."""
        if event.token in (self._released.decode("ascii"), OVERFLOW.token):
            self.doubt()
        elif event.token == self._token.decode("ascii") and is_subpath(event.path, self.top):
            self._changed.add(event.path)

    def update(self) -> Program[None]:
        """Read what has changed, so that the nodes are those of one moment after this call began.

        Raises TransactionConflictError if each of many rounds brought further events, and the error of a node that
        cannot be read. If `top` does not exist, the tree is empty.
        """
        top, fresh = self.top, self._fresh
        yield from self._take_events()
        if not self._changed and not self._reading:
            yield from trees.await_events(top)
            yield from self._take_events()
        for _ in range(_ROUNDS):
            if not self._changed and not self._reading:
                return
            self._reading |= self._changed
            self._changed = set()
            yield from trees.read_again(top, self._reading, fresh, self._failed)
            yield from trees.await_events(top)
            yield from self._take_events()
            self._reading = set()
            if self._changed:
                continue
            unknown = self._settle()
            self._changed.update(unknown)
            for path in unknown:
                error = self._failed.get(path) if path in fresh.read else None
                if error is not None and not isinstance(error, NodeNotFoundError):
                    raise error
        if self._changed:
            text = f"something below changed each of the {_ROUNDS} times that it was read"
            raise TransactionConflictError(errno.EAGAIN, text, top)

    def _take_events(self) -> Program[None]:
        yield from trees.take_events(self.top, self._token, self._released, self._fresh, self._changed)

    def _settle(self) -> list[str]:
        """Adopt what was read. If any listed nodes are not known, only return their paths."""
        changes, unknown = self._all_changes() if self._fresh.is_all else self._changes()
        if unknown:
            return unknown
        if changes:
            self._take_over(changes)
        elif self.version % 2:
            self.version += 1  # after an interruption
        self._fresh = _Fresh(self.nodes)
        self._failed.clear()
        return []

    def _take_over(self, changes: dict[str, Node | None]) -> None:
        nodes, told = self.nodes, self._told
        self.version += 2 if self.version % 2 else 1  # odd if this was interrupted before
        for path, new in changes.items():
            before = told.setdefault(path, nodes.get(path))
            if new is None:
                nodes.pop(path, None)
            else:
                nodes[path] = new
            if new == before:
                del told[path]
        self.version += 1

    def _all_changes(self) -> tuple[dict[str, Node | None], list[str]]:
        """The changes after everything was read again, removals first; and the paths that are not known."""
        found, unknown = trees.reachable(self.top, self._fresh)
        if unknown == [self.top] and isinstance(self._failed.get(self.top), NodeNotFoundError):
            unknown = []
        new = {node.path: node for node in found}
        changes: dict[str, Node | None] = dict.fromkeys(path for path in self.nodes if path not in new)
        changes.update((path, node) for path, node in new.items() if self.nodes.get(path) != node)
        return changes, unknown

    def _changes(self) -> tuple[dict[str, Node | None], list[str]]:
        """The same after only some nodes were read again; the ancestors of each were read too."""
        nodes, read = self.nodes, self._fresh.read
        changes: dict[str, Node | None] = {}
        unknown: list[str] = []
        there: dict[str, Node] = {}  # those that are listed, from the top down
        names: dict[str, frozenset[str]] = {}  # sets of children's names, by parent
        came: dict[str, Node] = {}
        for path in sorted(read):  # parents first
            if path != self.top:
                above = there.get(parent_path(path))
                if above is None or path not in self._listed(above, names, path):
                    continue
            node = read[path]
            if node is None:
                if path == self.top and isinstance(self._failed.get(path), NodeNotFoundError):
                    self._remove(path, changes)
                else:
                    unknown.append(path)
                continue
            there[path] = node
            old = nodes.get(path)
            if old == node:
                continue
            came[path] = node
            before = trees.child_paths(old) if old is not None else []
            if old is None or old.children != node.children:
                now = set(trees.child_paths(node))
                unknown += [child for child in now.difference(before) if child not in read]
                for child in before:
                    if child not in now:
                        self._remove(child, changes)
        changes.update(came)
        return changes, unknown

    def _listed(self, above: Node, names: dict[str, frozenset[str]], path: str) -> frozenset[str] | dict[str, Node]:
        """A container that shows whether the node above lists `path`; if its list is unchanged, no new set is built."""
        old = self.nodes.get(above.path)
        if old is not None and old.children == above.children:
            return self.nodes
        if above.path not in names:
            names[above.path] = frozenset(trees.child_paths(above))
        return names[above.path]

    def _remove(self, path: str, changes: dict[str, Node | None]) -> None:
        """Record the removal of a node and everything below it."""
        level = [path]
        while level:
            found = [node for node in map(self.nodes.get, level) if node is not None]
            changes.update((node.path, None) for node in found)
            level = [child for node in found for child in trees.child_paths(node)]


class _Fresh:
    """What was read again, on top of what was known: implements :class:`~xsffi.protocol.trees.Known`."""

    def __init__(self, before: dict[str, Node]) -> None:
        self.read: dict[str, Node | None] = {}  # None: could not be read
        self.is_all = False  # whether to ignore everything known before
        self._before = before

    def __contains__(self, path: str) -> bool:
        return self.read[path] is not None if path in self.read else path in self._before

    def __getitem__(self, path: str) -> Node:
        node = self.get(path)
        if node is None:
            raise KeyError(path)
        return node

    def __setitem__(self, path: str, node: Node) -> None:
        self.read[path] = node

    def get(self, path: str) -> Node | None:
        return self.read[path] if path in self.read else self._before.get(path)

    def pop(self, path: str, default: None) -> Node | None:
        node = self.get(path)
        self.read[path] = None
        return node

    def clear(self) -> None:
        self.is_all = True
        self._before = {}
        self.read.clear()


class MirroredTree(Mapping[str, Node]):
    """The read access to a mirror, in both APIs; it never asks the daemon."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._nodes = replica.nodes

    @property
    def top(self) -> str:
        """The path of the topmost node."""
        return self._replica.top

    def __getitem__(self, path: str) -> Node:
        return self._nodes[path]

    def __contains__(self, path: object) -> bool:
        return path in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._replica.iterate())

    def items(self) -> ItemsView[str, Node]:
        """Paths and nodes; iterating raises RuntimeError if the mirror is updated meanwhile."""
        return _Items(self)

    def values(self) -> ValuesView[Node]:
        """The nodes; as :meth:`items`."""
        return _Values(self)

    def copy(self) -> dict[str, Node]:
        """The nodes by path as they are now; later updates do not change it. Raises RuntimeError during an update by
        another thread."""
        return self._replica.copy()


class _Items(ItemsView[str, Node]):
    _mapping: MirroredTree

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return self._mapping._replica.iterate()


class _Values(ValuesView[Node]):
    _mapping: MirroredTree

    def __iter__(self) -> Iterator[Node]:
        return (node for _, node in self._mapping._replica.iterate())


def closed_mirror_error() -> ClientClosedError:
    """What calls on a closed mirror raise."""
    return ClientClosedError(errno.EBADF, "the mirror is closed")
