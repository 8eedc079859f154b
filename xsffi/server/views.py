"""What an operation on nodes works on: the tree itself, or a transaction's view of it (see :mod:`.transactions`)."""

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

    xen: Release  # the one as which the store behaves

    def get(self, path: str) -> Node | None:
        """The node at a path."""

    def nearest(self, path: str) -> tuple[Node, int]:
        """The lowest node that is there above a path, and its level; see :meth:`.tree.Tree.nearest`."""

    def settled(self, node: Node) -> NodePermissions:
        """The permissions of a node for a copy of it: what no longer counts shall not count again."""

    def expect_node(self) -> None:
        """A node is to be made, unless a quota is in the way."""

    def create(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        """Make a node, and those above it that are missing, all with the same permissions, and fire its watches."""

    def update(self, path: str, old: Node, value: bytes, permissions: NodePermissions) -> None:
        """Set value and permissions of a node, which is `old` now, and fire its watches."""

    def remove(self, path: str, node: Node) -> None:
        """Take a node that is there away, with all below it, and fire the watches of each."""

    def nodes_of(self, domain: Domain, made: int) -> int:
        """How many nodes a domain owns, for its quota, which has `made` so many in the operation at hand."""

    def spoil(self) -> None:
        """An operation failed half way."""


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
        """Nothing to do: quotas are looked at as it is made."""

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
        # The watches are fired while the nodes are still there, since their permissions say who may know.
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
    """Who may learn that a node has changed: who can read it, or could before, or can read the node above it.

    Of a node that is gone, only who could read it before.
    """

    def permitted(domain: Domain) -> bool:
        if old is not None and old.rights(domain) & READ:
            return True
        if node is None:
            return False
        return bool(node.rights(domain) & READ or (parent is not None and parent.rights(domain) & READ))

    return permitted
