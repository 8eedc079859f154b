"""What operations on nodes work on: the tree itself, or a transaction's view of it (see :mod:`.transactions`)."""

from __future__ import annotations

from collections.abc import Callable

from ..paths import parent_path
from ..static_types import Protocol
from .access import READ, NodePermissions
from .domains import Domain, Domains
from .releases import Release
from .tree import Node, Tree, levels, own_child, postorder
from .watches import Watches

__all__ = ["Direct", "View", "may_learn"]


class View(Protocol):
    """The nodes as one client sees them. Paths are absolute and valid."""

    xen: Release  # the release that the store mimics

    def get(self, path: str) -> Node | None:
        """The node at a path."""

    def nearest(self, path: str) -> tuple[Node, int]:
        """The lowest existing node above a path, and its level; see :meth:`.tree.Tree.nearest`."""

    def settled(self, node: Node) -> NodePermissions:
        """The permissions for a copy of a node: entries that no longer count must not count again."""

    def expect_node(self) -> None:
        """Call before a node is created, even if a quota then prevents it."""

    def create(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        """Create a node, and missing ones above it, all with the same permissions, and fire its watches."""

    def update(self, path: str, old: Node, value: bytes, permissions: NodePermissions) -> None:
        """Set value and permissions of a node, whose current state is `old`, and fire its watches."""

    def remove(self, path: str, node: Node) -> None:
        """Remove an existing node and everything below it, and fire the watches of each."""

    def nodes_of(self, domain: Domain, made: int) -> int:
        """How many nodes a domain owns, for its quota; the current operation has created `made` of them."""

    def spoil(self) -> None:
        """Record that an operation failed half way."""


class Direct:
    """The tree itself."""

    def __init__(self, tree: Tree, domains: Domains, watches: Watches, release: Release) -> None:
        self.xen = release
        self._tree = tree
        self._domains = domains
        self._watches = watches
        self.get = tree.get
        self.nearest = tree.nearest

    def settled(self, node: Node) -> NodePermissions:
        return node.permissions.without_strangers(lambda domid: self._domains.is_same(domid, node.generation))

    def expect_node(self) -> None:
        """Nothing to do: quotas are checked when it is created."""

    def create(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        missing = levels(path) - self._tree.nearest(path)[1]
        self._tree.create(path, value, permissions)
        self._domains.count_nodes(permissions.owner, missing)
        self._fire(path)

    def update(self, path: str, old: Node, value: bytes, permissions: NodePermissions) -> None:
        self._tree.update(path, value, permissions)
        if permissions.owner != old.permissions.owner:
            self._domains.count_nodes(old.permissions.owner, -1)
            self._domains.count_nodes(permissions.owner, 1)
        self._fire(path, None if permissions is old.permissions else old)

    def remove(self, path: str, node: Node) -> None:
        above = self._tree.get(parent_path(path))
        # Fire the watches while the nodes still exist, since their permissions decide who may know.
        for below, gone, parent in postorder(path, node, own_child):
            self._domains.count_nodes(gone.permissions.owner, -1)
            self._watches.fire(below, parent is not None, may_learn(gone, parent or above))
        self._tree.remove(path)

    def nodes_of(self, domain: Domain, made: int) -> int:
        return domain.nodes + (made if self.xen.quota_counts_request else 0)

    def spoil(self) -> None:
        """Nothing to do: no operation here fails half way."""

    def _fire(self, path: str, old: Node | None = None) -> None:
        def permitted(domain: Domain) -> bool:
            return may_learn(self.get(path), self.get(parent_path(path)), old)(domain)

        self._watches.fire(path, False, permitted)


def may_learn(node: Node | None, parent: Node | None, old: Node | None = None) -> Callable[[Domain], bool]:
    """Who may learn that a node has changed: whoever can or could read it, or can read its parent.

    For a node that is gone, only whoever could read it before.
    """

    def permitted(domain: Domain) -> bool:
        if old is not None and old.rights(domain) & READ:
            return True
        if node is None:
            return False
        return bool(node.rights(domain) & READ or (parent is not None and parent.rights(domain) & READ))

    return permitted
