"""Contents of dump files and of stores: where their tops are, and what is different between two of them."""

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

STDIN = "-"  # in place of a file's name


def read_file(name: str) -> dict[int, Node]:
    """The nodes of a dump file by the numbers of their lines, each node once, one at least.

    Raises InvalidArgumentError, which names file and line, where that is not so; XenStoreError where the file cannot be
    read.
    """
    try:
        if name == STDIN:
            if sys.stdin is None:
                raise OSError(errno.EBADF, "it is closed")
            return _read(sys.stdin.buffer, label_of(name))
        with open(name, "rb") as file:
            return _read(file, name)
    except XenStoreError:
        raise
    except OSError as error:
        raise error_from_errno(error.errno or errno.EIO, label_of(name), error.strerror) from None


def label_of(name: str) -> str:
    """How an error names a file."""
    return "standard input" if name == STDIN else name


def _read(file: BinaryIO, name: str) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    places: dict[str, int] = {}
    for number, node in numbered_nodes(file, name):
        first = places.setdefault(node.path, number)
        if first != number:
            text = f"line {number}: {node.path}: a dump has each node once, and this one is in line {first} already"
            raise InvalidArgumentError(errno.EINVAL, text, name)
        nodes[number] = node
    if not nodes:
        raise InvalidArgumentError(errno.EINVAL, "a dump has at least one node, and this has none", name)
    return nodes


def common_top(paths: Iterable[str], name: str) -> str:
    """The path of which all these are, or are below: for those of a dump, its top. Raises InvalidArgumentError, which
    names the file, where there is none."""
    paths = iter(paths)
    first = top = next(paths)
    for path in paths:
        while not is_subpath(path, top):
            if "/" not in top or top == "/":
                text = f"the nodes of a dump are below one top, and these are not: {first} and {path}"
                raise InvalidArgumentError(errno.EINVAL, text, label_of(name))
            top = parent_path(top)
    return top


def relative(path: str, top: str) -> str:
    """What leads from a top to a path: nothing to itself, else it begins with a slash."""
    if path == top:
        return ""
    return path if top == "/" else path[len(top) :]


def below(top: str, rest: str) -> str:
    """The path to which that leads from a top."""
    return rest or "/" if top == "/" else f"{top}{rest}"


def compare(old: Mapping[str, Node], new: Mapping[str, Node]) -> Iterator[Change]:
    """What makes of the old nodes the new ones, by the paths that both are known by, in the order of the tree. Lists of
    children are no difference: those are nodes of their own."""
    paths = [path for path, node in new.items() if is_own(Change(path, old.get(path), node))]
    paths += [path for path in old if path not in new]
    for path in sorted(paths, key=lambda path: path.replace("/", "\0")):
        yield Change(path, old.get(path), new.get(path))
