"""The contents of a store as nodes, as a dict, and as a file of JSON lines."""

from __future__ import annotations

import base64
import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Union

from ..errors import InvalidArgumentError
from ..paths import validate
from ..permissions import parse_permissions
from ..records import Node as NodeRecord
from . import nodes
from .store import Store
from .tree import Node, child_path

__all__ = ["Contents", "contents", "fill", "read_dump", "write_dump"]

# A mapping from path or name to value or mapping, or nodes, each before those below it.
Contents = Union[Mapping[str, Any], Iterable[NodeRecord]]


def contents(path: str, node: Node) -> Iterator[NodeRecord]:
    """A node at a path and all below it, each before those below it, siblings in their order."""
    stack = [(path, node)]
    while stack:
        path, node = stack.pop()
        names = node.children.names()
        yield NodeRecord(path, node.value, names, list(node.permissions.entries))
        for name in reversed(names):
            item = node.children.get(name)
            assert item is not None
            stack.append((child_path(path, name), item[1]))


def fill(store: Store, tree: Contents) -> None:
    """Write nodes to a store as dom0 does. Raises InvalidArgumentError or TypeError for what is none."""
    if isinstance(tree, Mapping):
        _fill_mapping(store, "", tree)
        return
    for record in tree:
        path = _absolute(record.path)
        nodes.write(store.direct, store.dom0, path, record.value)
        if record.permissions:
            permissions = store.permissions(parse_permissions(record.permissions))
            nodes.set_permissions(store.direct, store.dom0, path, permissions)


def _fill_mapping(store: Store, above: str, tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        validate(name)
        path = _absolute(name if name.startswith("/") and not above else f"{above}/{name.lstrip('/')}")
        if isinstance(value, Mapping):
            nodes.mkdir(store.direct, store.dom0, path)
            _fill_mapping(store, "" if path == "/" else path, value)
        elif isinstance(value, (str, bytes)):
            nodes.write(store.direct, store.dom0, path, value.encode("utf-8") if isinstance(value, str) else value)
        else:
            raise TypeError(f"a value is bytes or str, or a mapping of what is below, not {type(value).__name__}")


def _absolute(path: str) -> str:
    if not validate(path).startswith("/"):
        raise InvalidArgumentError(errno.EINVAL, "a path in the contents of a store is absolute", path)
    return path


def write_dump(store: Store, file: IO[str]) -> None:
    """Write all nodes of a store to a file, a line of JSON for each.

    A line has "path", "permissions" as a list of texts, and "value" as text or, where that is not UTF-8, "base64".
    """
    for record in contents("/", store.tree.root):
        line: dict[str, Any] = {"path": record.path, "permissions": [str(entry) for entry in record.permissions]}
        try:
            line["value"] = record.value.decode("utf-8")
        except UnicodeDecodeError:
            line["base64"] = base64.b64encode(record.value).decode("ascii")
        file.write(json.dumps(line) + "\n")


def read_dump(file: IO[str]) -> Iterator[NodeRecord]:
    """The nodes that :func:`write_dump` wrote; raises InvalidArgumentError, telling the line, for what it did not."""
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            value = base64.b64decode(line["base64"]) if "base64" in line else line["value"].encode("utf-8")
            permissions = parse_permissions(line["permissions"]) if "permissions" in line else []
            yield NodeRecord(line["path"], value, [], permissions)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidArgumentError(errno.EINVAL, f"line {number} is no node of a dump: {error}") from error
