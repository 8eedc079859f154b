"""Contents of dump files and stores: their tops, and the differences between two of them."""

from __future__ import annotations

import errno
import sys

from ..dump_files import numbered_nodes
from ..errors import InvalidArgumentError, XenStoreError, error_from_errno
from ..paths import is_subpath, parent_path
from ..records import Change
from .changes import is_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from ..records import Node

__all__ = ["STDIN", "below", "common_top", "compare", "label_of", "read_file", "relative"]

STDIN = "-"  # instead of a file name


def read_file(name: str) -> dict[int, Node]:
    """The nodes of a dump file by line number; each node once, and at least one.

    Otherwise raises InvalidArgumentError, which names file and line; XenStoreError if the file cannot be read.
    """
    try:
        if name == STDIN:
            if sys.stdin is None:
                raise OSError(errno.EBADF, "closed")
            return _read(sys.stdin.buffer, label_of(name))
        with open(name, "rb") as file:
            return _read(file, name)
    except XenStoreError:
        raise
    except OSError as error:
        raise error_from_errno(error.errno or errno.EIO, label_of(name), error.strerror) from None


def label_of(name: str) -> str:
    """The name of a file in errors."""
    return "standard input" if name == STDIN else name


def _read(file: BinaryIO, name: str) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    places: dict[str, int] = {}
    for number, node in numbered_nodes(file, name):
        first = places.setdefault(node.path, number)
        if first != number:
            text = f"line {number}: {node.path}: this node is already in line {first}"
            raise InvalidArgumentError(errno.EINVAL, text, name)
        nodes[number] = node
    if not nodes:
        raise InvalidArgumentError(errno.EINVAL, "the dump has no nodes", name)
    return nodes


def common_top(paths: Iterable[str], name: str) -> str:
    """The path that all these are, or are below: for a dump, its top. Raises InvalidArgumentError, which names the
    file, if there is none."""
    paths = iter(paths)
    first = top = next(paths)
    for path in paths:
        while not is_subpath(path, top):
            if "/" not in top or top == "/":
                text = f"the nodes of a dump must be below a common top; these are not: {first} and {path}"
                raise InvalidArgumentError(errno.EINVAL, text, label_of(name))
            top = parent_path(top)
    return top


def relative(path: str, top: str) -> str:
    """The rest of a path below a top: empty for the top itself, otherwise starting with a slash."""
    if path == top:
        return ""
    return path if top == "/" else path[len(top) :]


def below(top: str, rest: str) -> str:
    """The reverse of :func:`relative`: the path below `top` with this rest."""
    return rest or "/" if top == "/" else f"{top}{rest}"


def compare(old: Mapping[str, Node], new: Mapping[str, Node]) -> Iterator[Change]:
    """The changes that turn the old nodes into the new ones, in tree order; both mappings have the same kind of keys.
    Different lists of children are not reported: the children are nodes themselves."""
    paths = [path for path, node in new.items() if is_own(Change(path, old.get(path), node))]
    paths += [path for path in old if path not in new]
    for path in sorted(paths, key=lambda path: path.replace("/", "\0")):
        yield Change(path, old.get(path), new.get(path))
