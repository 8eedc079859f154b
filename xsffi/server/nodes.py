"""The operations on nodes, for a domain, on a view: rights, quotas and errors as in xenstored.

All raise AccessDeniedError if the domain lacks the right; that also hides a missing node, unless the domain has the
same right to its parent.
"""

from __future__ import annotations

import errno

from ..domids import DOMID_ANY
from ..errors import error_from_errno
from ..paths import parent_path
from .access import OWNER, READ, WRITE, NodePermissions
from .domains import Domain
from .quota import node_size
from .tree import Node
from .views import View

__all__ = ["make", "mkdir", "read", "remove", "set_permissions", "write"]


def read(view: View, domain: Domain, path: str) -> Node:
    """A node to be read; raises NodeNotFoundError if it is missing."""
    node = _find(view, domain, path, READ)
    if node is None:
        raise error_from_errno(errno.ENOENT, path)
    return node


def write(view: View, domain: Domain, path: str, value: bytes) -> None:
    """Set the value of a node, which is created if missing; raises QuotaExceededError."""
    node = _find(view, domain, path, WRITE)
    if node is None:
        make(view, domain, path, value)
    else:
        _check_size(view, domain, path, node.permissions, len(value), node.children.size)
        view.update(path, node, value, view.settled(node))


def mkdir(view: View, domain: Domain, path: str) -> None:
    """Create a node unless it exists; raises QuotaExceededError."""
    if _find(view, domain, path, WRITE) is None:
        make(view, domain, path, b"")


def remove(view: View, domain: Domain, path: str) -> None:
    """Remove a node and everything below it; raises NodeNotFoundError if its parent is missing too."""
    node = _find(view, domain, path, WRITE)
    if node is None:
        if view.get(parent_path(path)) is None:
            raise error_from_errno(errno.ENOENT, path)
    elif path == "/":
        raise error_from_errno(errno.EINVAL, path)
    else:
        view.remove(path, node)


def set_permissions(view: View, domain: Domain, path: str, permissions: NodePermissions) -> None:
    """Set the permissions of a node; only its owner may, and only a privileged domain may change the owner."""
    node = _find(view, domain, path, WRITE | OWNER)
    if node is None:
        raise error_from_errno(errno.ENOENT, path)
    if permissions.owner != node.permissions.owner:
        if not domain.privileged:
            raise error_from_errno(view.xen.owner_error, path)
        if permissions.owner == DOMID_ANY:
            raise error_from_errno(errno.ENOMEM, path)  # the owner does not exist
    _check_size(view, domain, path, permissions, len(node.value), node.children.size)
    view.update(path, node, node.value, permissions)


def make(view: View, domain: Domain, path: str, value: bytes) -> None:
    """Create a missing node, and missing ones above it; they inherit permissions, but a guest owns what it creates."""
    parent, level = view.nearest(path)
    view.expect_node()
    permissions = view.settled(parent)
    if not domain.privileged:
        names = path[1:].split("/")[level:]
        new = permissions.owned_by(domain.domid)
        for depth in range(len(names), 0, -1):
            if not domain.allows("nodes", view.nodes_of(domain, len(names) - depth) + 1):
                if depth < len(names):
                    view.spoil()
                raise error_from_errno(errno.ENOSPC, path)
            if depth == len(names):
                _check_size(view, domain, path, new, len(value), 0)
            else:
                _check_size(view, domain, path, new, 0, len(names[depth]) + 1)
        _check_size(view, domain, path, permissions, len(parent.value), parent.children.size + len(names[0]) + 1)
        permissions = new
    view.create(path, value, permissions)


def _find(view: View, domain: Domain, path: str, rights: int) -> Node | None:
    """The node, if the domain has all these rights; None if it is missing and the domain may know that."""
    node = view.get(path)
    if node is not None and node.rights(domain) & rights == rights:
        return node
    above, _ = view.nearest(path)
    if node is None and above.rights(domain) & rights:
        return None
    raise error_from_errno(errno.EACCES, path)


def _check_size(view: View, domain: Domain, path: str, permissions: NodePermissions, value: int, listing: int) -> None:
    if not domain.allows("node-size", node_size(view.xen.node_header, len(permissions), value, listing)):
        view.spoil()
        raise error_from_errno(errno.ENOSPC, path)
