"""A tree in memory that is kept true: what a mirror knows, the programs that read what has changed, and what is told of
that."""

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

_ROUNDS = 100  # of reading, in one update, each of which brought events


class Replica:
    """The nodes from a top down, and what of them was told.

    The programs are those of a snapshot (:func:`~xsffi.protocol.trees.snapshot` tells why that is right), but go on
    with what is known: an update costs what has changed. Where one is interrupted, or fails, nothing is lost: what was
    not read yet is read in the next. Until then all is as the last one left it.
    """

    def __init__(self, top: str) -> None:
        self.top = top
        self.nodes: dict[str, Node] = {}  # by path, parents before children
        self.version = 0  # goes up before nodes change and after; odd in between
        self._told: OrderedDict[str, Node | None] = (
            OrderedDict()
        )  # where they differ from what was told, by path: what that was
        self._token = self._released = b""
        self._fresh = _Fresh(self.nodes)
        self._failed: dict[str, XenStoreError] = {}
        self._changed = {top}  # what is to be read
        self._reading: set[str] = set()  # and what was being read, if that did not come to its end

    # What is told.

    @property
    def has_changes(self) -> bool:
        """Whether there are changes that were not told."""
        return bool(self._told)

    def tell_all(self) -> list[Change]:
        """All changes since the last that was told, a parent that comes before its children."""
        nodes = self.nodes
        told, self._told = self._told, OrderedDict()
        return [Change(path, old, nodes.get(path)) for path, old in told.items()]

    def tell_next(self) -> Change | None:
        """The next of them, if there is one."""
        if not self._told:
            return None
        path, old = self._told.popitem(last=False)
        return Change(path, old, self.nodes.get(path))

    def tell_nothing(self) -> None:
        """What is known is no change."""
        self._told.clear()

    def iterate(self) -> Iterator[tuple[str, Node]]:
        """Paths and nodes; raises RuntimeError where they are updated meanwhile."""
        version = self.version
        for item in self.nodes.items():
            yield item
            if self.version != version:
                raise RuntimeError("the mirror was updated during iteration")

    def copy(self) -> dict[str, Node]:
        """The nodes by their paths; raises RuntimeError where another thread updates them."""
        version = self.version
        copied = self.nodes.copy()
        if version % 2 or self.version != version:
            raise RuntimeError("the mirror was updated while it was copied")
        return copied

    def judge(self, condition: Condition[T]) -> T:
        """What a condition says of what is known."""
        return conditions.judge(condition, conditions.View(self._look))

    def _look(self, kind: Kind, path: str) -> Any:
        if not is_subpath(path, self.top):
            return InvalidArgumentError(errno.EINVAL, f"this is outside of the mirror of {self.top}", path)
        node = self.nodes.get(path)
        if node is None:
            return NodeNotFoundError(errno.ENOENT, "the mirror has no such node", path)
        outcomes: dict[Any, Any] = {Read: node.value, Directory: node.children, GetPermissions: node.permissions}
        return outcomes[kind]

    # How it is kept true.

    def begin(self, token: bytes, released: bytes) -> Program[None]:
        """Set the watches, with these tokens, of which none was used before. All is read in the next update."""
        self._token, self._released = token, released
        self.doubt()
        yield from trees.set_watches(self.top, token, released)

    def doubt(self) -> None:
        """All is to be read again: some event may be lost."""
        self._changed.add(self.top)
        self._fresh.clear()

    def note(self, event: WatchEvent) -> None:
        """An event was taken, which the next update is to count."""
        if event.token in (self._released.decode("ascii"), OVERFLOW.token):
            self.doubt()
        elif event.token == self._token.decode("ascii") and is_subpath(event.path, self.top):
            self._changed.add(event.path)

    def update(self) -> Program[None]:
        """Read what has changed, so that the nodes are those of one moment, after all that happened before this began.

        Raises TransactionConflictError where each of many rounds brought events, and the error of a node that cannot be
        read. No top, or one that went, is an empty tree.
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
            text = f"something below changed each of {_ROUNDS} times while it was read"
            raise TransactionConflictError(errno.EAGAIN, text, top)

    def _take_events(self) -> Program[None]:
        yield from trees.take_events(self.top, self._token, self._released, self._fresh, self._changed)

    def _settle(self) -> list[str]:
        """Take over what was read. Where some that is listed is not known, nothing is done but to give its paths."""
        changes, unknown = self._all_changes() if self._fresh.is_all else self._changes()
        if unknown:
            return unknown
        if changes:
            self._take_over(changes)
        elif self.version % 2:
            self.version += 1  # an interruption left it so
        self._fresh = _Fresh(self.nodes)
        self._failed.clear()
        return []

    def _take_over(self, changes: dict[str, Node | None]) -> None:
        nodes, told = self.nodes, self._told
        self.version += 2 if self.version % 2 else 1  # odd, where this was interrupted before
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
        """What changes, where all was read again, those that go first; and what is not known."""
        found, unknown = trees.reachable(self.top, self._fresh)
        if unknown == [self.top] and isinstance(self._failed.get(self.top), NodeNotFoundError):
            unknown = []
        new = {node.path: node for node in found}
        changes: dict[str, Node | None] = dict.fromkeys(path for path in self.nodes if path not in new)
        changes.update((path, node) for path, node in new.items() if self.nodes.get(path) != node)
        return changes, unknown

    def _changes(self) -> tuple[dict[str, Node | None], list[str]]:
        """The same, where some was read again: of each node that was, all above it were too."""
        nodes, read = self.nodes, self._fresh.read
        changes: dict[str, Node | None] = {}
        unknown: list[str] = []
        there: dict[str, Node] = {}  # those of them that are listed, from the top down
        names: dict[str, frozenset[str]] = {}  # of the children of some
        came: dict[str, Node] = {}
        for path in sorted(read):  # parents first
            if path != self.top:
                above = there.get(parent_path(path))
                if above is None or path not in self._listed(above, names, path):
                    continue
            node = read[path]
            if node is None:
                if path == self.top and isinstance(self._failed.get(path), NodeNotFoundError):
                    self._go(path, changes)
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
                        self._go(child, changes)
        changes.update(came)
        return changes, unknown

    def _listed(self, above: Node, names: dict[str, frozenset[str]], path: str) -> frozenset[str] | dict[str, Node]:
        """Where a path is, if the node above lists it: a set of paths is not made where its list is as it was."""
        old = self.nodes.get(above.path)
        if old is not None and old.children == above.children:
            return self.nodes
        if above.path not in names:
            names[above.path] = frozenset(trees.child_paths(above))
        return names[above.path]

    def _go(self, path: str, changes: dict[str, Node | None]) -> None:
        """A node goes, and all below it."""
        level = [path]
        while level:
            found = [node for node in map(self.nodes.get, level) if node is not None]
            changes.update((node.path, None) for node in found)
            level = [child for node in found for child in trees.child_paths(node)]


class _Fresh:
    """What was read again, over what was known before: as :class:`~xsffi.protocol.trees.Known` tells."""

    def __init__(self, before: dict[str, Node]) -> None:
        self.read: dict[str, Node | None] = {}  # None: it could not be
        self.is_all = False  # nothing counts that was known before
        self._before = before

    def __contains__(self, path: object) -> bool:
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
    """A mirror as it is read, on both faces: at no cost."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._nodes = replica.nodes

    @property
    def top(self) -> str:
        """The path from which on it has the nodes."""
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
        """Paths and nodes; iterating over them raises RuntimeError where the mirror is updated meanwhile."""
        return _Items(self)

    def values(self) -> ValuesView[Node]:
        """The nodes; as :meth:`items`."""
        return _Values(self)

    def copy(self) -> dict[str, Node]:
        """The nodes by their paths as they are now, which no update changes. Raises RuntimeError in the middle of one,
        of another thread."""
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
    """What a closed mirror raises."""
    return ClientClosedError(errno.EBADF, "the mirror is closed")
