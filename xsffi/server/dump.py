"""The contents of a store as nodes, or as a dict."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from ..errors import XenStoreError, error_from_errno
from ..paths import child_path, validate
from ..permissions import parse_permissions
from ..protocol.requests import Request, SetPermissions, Write
from ..protocol.wire import check_payload_size
from ..records import Node as NodeRecord
from . import nodes
from .access import NodePermissions
from .store import Store, canonical, relative
from .tree import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Union

    # A mapping from path or name to value or mapping, or nodes, each before those below it.
    Contents = Union[Mapping[str, Any], Iterable[NodeRecord]]

__all__ = ["contents", "fill", "put"]


def contents(path: str, node: Node) -> Iterator[NodeRecord]:
    """The node at a path and everything below it, parents first, siblings in order."""
    stack = [(path, node)]
    while stack:
        path, node = stack.pop()
        names = node.children.names()
        yield NodeRecord(path, node.value, tuple(names), node.permissions.entries)
        for name in reversed(names):
            item = node.children.get(name)
            assert item is not None
            stack.append((child_path(path, name), item[1]))


def fill(store: Store, tree: Contents) -> None:
    """Write nodes to a store as dom0 does. Raises XenStoreError or TypeError for an invalid one, or one that would not
    fit into a message."""
    if isinstance(tree, Mapping):
        _fill_mapping(store, "", tree)
        return
    for record in tree:
        put(store, record)


def _fill_mapping(store: Store, above: str, tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        validate(name)
        path = name if name.startswith("/") and not above else f"{above}/{name.lstrip('/')}"
        if isinstance(value, Mapping):
            nodes.mkdir(store.direct, store.dom0, _path(store, path))
            _fill_mapping(store, "" if path == "/" else path, value)
        else:
            _write(store, path, value)


def put(store: Store, record: NodeRecord) -> None:
    """Write one node, and its permissions if known; raises as :func:`fill` does."""
    if not isinstance(record, NodeRecord):
        raise TypeError(f"expected nodes or a mapping, not {type(record).__name__}: {record!r}")
    permissions = _permissions(store, record) if record.permissions else None
    path = _write(store, record.path, record.value)
    if permissions is not None:
        nodes.set_permissions(store.direct, store.dom0, path, permissions)


def _permissions(store: Store, record: NodeRecord) -> NodePermissions:
    entries = parse_permissions(record.permissions)
    _check(record.path, SetPermissions(validate(record.path).encode("ascii"), entries))
    try:
        return store.permissions(store.dom0, entries)
    except XenStoreError as error:
        raise error_from_errno(error.errno or errno.EINVAL, record.path, error.strerror) from None


def _write(store: Store, path: str, value: object) -> str:
    """Write the value of a node; return its absolute path."""
    canonical_path = _path(store, path)
    if isinstance(value, str):
        value = value.encode("utf-8")
    if not isinstance(value, bytes):
        raise TypeError(
            f"a value must be bytes, str, or a mapping of what is below, not {type(value).__name__}: {value!r}"
        )
    _check(path, Write(relative(canonical_path).encode("ascii"), value))
    nodes.write(store.direct, store.dom0, canonical_path, value)
    return canonical_path


def _path(store: Store, path: str) -> str:
    """The absolute path of a node: a relative one is dom0's, as it is for a client."""
    return canonical(validate(path).encode("ascii"), store.dom0.home)[0]


def _check(path: str, request: Request[None]) -> None:
    """Raise TooBigError if the request is too long for a client to send."""
    check_payload_size(len(request.payload()), path.encode("ascii"))
