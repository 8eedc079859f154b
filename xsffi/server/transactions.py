"""Transactions as in xenstored: a view of the tree that sees each node as it was when first used.

It is not a snapshot. It remembers what it has used, including that a node was missing; a commit is a conflict if any of
that has changed since, even by a write of the same value.
"""

from __future__ import annotations

import errno

from ..errors import XenStoreError, error_from_errno
from ..paths import child_path, parent_path
from .access import NodePermissions
from .domains import Domain, Domains
from .releases import Release
from .tree import NO_CHILDREN, Node, Tree, levels, postorder
from .views import may_learn
from .watches import Watches

__all__ = ["Transaction"]


class _Used:
    """A node that the transaction has used."""

    __slots__ = ("before", "exact", "fires", "modified", "node")

    def __init__(self, node: Node | None) -> None:
        self.before = node  # its state in the tree at the first use; None: missing
        self.node = node  # its state in the transaction; of its children only names and positions matter
        self.modified = False
        self.fires = False
        self.exact = False  # fires only watches of exactly this path


class Transaction:
    """A view of the tree, for one domain."""

    def __init__(self, domain: Domain, tree: Tree, domains: Domains, release: Release) -> None:
        self.xen = release
        self._domain = domain
        self._tree = tree
        self._domains = domains
        self._used: dict[str, _Used] = {}  # in the order of first use, in which watches fire
        self._owned: dict[int, int] = {}  # change in the number of nodes of each domain
        self._makes_nodes = False  # or tried to
        self._spoilt = False

    # The view.

    def get(self, path: str) -> Node | None:
        used = self._used.get(path)
        return used.node if used is not None else self._use(path).node

    def nearest(self, path: str) -> tuple[Node, int]:
        while True:
            path = parent_path(path)
            node = self.get(path)
            if node is not None:
                return node, levels(path)
            if path == "/":
                raise AssertionError("the root always exists")

    def settled(self, node: Node) -> NodePermissions:
        return node.permissions.without_strangers(lambda domid: self._domains.is_same(domid, node.generation))

    def expect_node(self) -> None:
        self._makes_nodes = True

    def create(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        generation = self._tree.next_generation()
        node = Node(value, permissions, generation, NO_CHILDREN)
        self._fire(path, exact=False)
        while True:
            used = self._modify(path)
            used.node = node
            self._count_nodes(permissions.owner, 1)
            above, _, name = path.rpartition("/")
            path = above or "/"
            place = self._tree.next_place()
            parent = self.get(path)
            if parent is not None:
                self._modify(path).node = parent.with_child(name, place, node, generation)
                return
            node = Node(b"", permissions, generation, NO_CHILDREN.with_child(name, place, node))

    def update(self, path: str, old: Node, value: bytes, permissions: NodePermissions) -> None:
        self._modify(path).node = Node(value, permissions, self._tree.next_generation(), old.children)
        if permissions.owner != old.permissions.owner:
            self._count_nodes(old.permissions.owner, -1)
            self._count_nodes(permissions.owner, 1)
        self._fire(path, exact=False)

    def remove(self, path: str, node: Node) -> None:
        above, _, name = path.rpartition("/")
        above = above or "/"
        parent = self.get(above)
        # A node first used late may have disappeared from the tree after its parent or child was used. The commit will
        # be a conflict then, so the result hardly matters.
        if parent is None:
            raise error_from_errno(errno.EINVAL, path)
        owned = dict(self._owned)
        try:
            for below, gone, _ in postorder(path, node, self._child):
                self._modify(below).node = None
                self._count_nodes(gone.permissions.owner, -1)
                self._fire(below, exact=below != path)
            if parent.children.get(name) is None:
                raise error_from_errno(errno.EIO, path)
        except XenStoreError:
            if not self.xen.failures_count:
                self._owned = owned
            raise
        self._modify(above).node = parent.without_child(name, self._tree.next_generation())

    def nodes_of(self, domain: Domain, made: int) -> int:
        owned = domain.nodes
        if self.xen.quota_counts_transaction:
            owned += self._owned.get(domain.domid, 0) + made
        return owned  # nodes not counted here are at the commit

    def spoil(self) -> None:
        self._spoilt = True

    # Ending it.

    def commit(self, watches: Watches) -> None:
        """Make all changes take effect, and fire the watches.

        Raises TransactionConflictError if something used has changed since, QuotaExceededError if a domain would own
        too many nodes, and XenStoreError with ENOMEM if an operation inside had failed half way. Nothing has changed
        then.
        """
        if self._spoilt:
            raise error_from_errno(errno.ENOMEM)
        self._check_quotas()
        for path, used in self._used.items():
            if _generation(self._tree.get(path)) != _generation(used.before):
                raise error_from_errno(errno.EAGAIN)
        modified = [(path, used) for path, used in self._used.items() if used.modified]
        for path, used in sorted(modified, key=lambda item: levels(item[0])):
            self._apply(path, used)
        for domid, change in self._owned.items():
            self._domains.count_nodes(domid, change)
        done: set[str] = set()
        for path, used in modified:
            done.add(path)
            if used.fires:
                parent = self._as_xenstored_has_it(parent_path(path), done)
                watches.fire(path, used.exact, may_learn(self._tree.get(path), parent, used.before))

    def _check_quotas(self) -> None:
        release = self.xen
        checks = release.commit_always_checks or (self._makes_nodes and not self._domain.privileged)
        for domid, change in self._owned.items():
            domain = self._domains.know(domid, self._tree.generation)  # an owner may have been released meanwhile
            if domain.privileged:
                continue
            nodes = domain.nodes + change
            fits = domain.quotas.allows("nodes", nodes + release.commit_leaves_room)
            if change < 0 and release.commit_may_remove:
                fits = True
            if nodes < 0 and release.commits_below_zero_fail:
                raise error_from_errno(errno.ENOSPC if checks else errno.ENOMEM)
            if checks and not fits:
                raise error_from_errno(errno.ENOSPC)

    def _apply(self, path: str, used: _Used) -> None:
        node = used.node
        if node is None:
            if self._tree.get(path) is not None:
                self._tree.remove(path)
        elif path == "/" or path[0] == "@":
            self._tree.update(path, node.value, node.permissions)
        else:
            above, _, name = path.rpartition("/")
            parent = self._used.get(above or "/")
            item = parent.node.children.get(name) if parent is not None and parent.node is not None else None
            if item is not None:
                self._tree.put(path, item[0], node.value, node.permissions)
            else:
                self._tree.update(path, node.value, node.permissions)

    def _as_xenstored_has_it(self, path: str, done: set[str]) -> Node | None:
        """A node in the middle of a commit: xenstored changes one node after another, and fires in between."""
        used = self._used.get(path)
        if used is not None and used.modified and path not in done:
            return used.before
        return self._tree.get(path)

    # What it has used.

    def _use(self, path: str) -> _Used:
        if not self._domain.allows("transaction-nodes", len(self._used) + 1):
            self._spoilt = True
            raise error_from_errno(errno.ENOSPC)
        used = self._used[path] = _Used(self._tree.get(path))
        return used

    def _modify(self, path: str) -> _Used:
        used = self._used[path]
        used.modified = True
        return used

    def _fire(self, path: str, exact: bool) -> None:
        used = self._used[path]
        used.exact = exact and (used.exact or not used.fires)
        used.fires = True

    def _count_nodes(self, domid: int, change: int) -> None:
        self._owned[domid] = self._owned.get(domid, 0) + change

    def _child(self, path: str, node: Node, name: str) -> Node:
        child = self.get(child_path(path, name))
        if child is None:
            raise error_from_errno(errno.EIO, child_path(path, name))
        return child


def _generation(node: Node | None) -> int:
    return -1 if node is None else node.generation
