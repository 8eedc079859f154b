"""``xsffi read``, ``list`` and ``exists``, as xenstore-read, xenstore-list and xenstore-exists.

Several nodes are read in one transaction, and so as they are at one moment, up to the first that cannot be read.
"""

from __future__ import annotations

from ..errors import AccessDeniedError, NodeNotFoundError, XenStoreError
from ..paths import child_path
from .command import PATHS, Command
from .tools import add_socket_flag, together
from .values import encoded, escaped, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Sequence

    from ..sync.client import Client
    from ..sync.nodes import NodeOperations
    from .output import Output

__all__ = ["COMMANDS", "exists", "list_children", "read"]


def _read_arguments(parser: ArgumentParser) -> None:
    _paths(parser)
    parser.add_argument("-p", "--prefix", action="store_true", help="print the path before each value: PATH: VALUE")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "-R", "--raw", action="store_true", help="print the bytes of the values unchanged, with nothing between them"
    )
    forms.add_argument("--json", action="store_true", help="print a JSON object for each node, one per line")
    add_socket_flag(parser)


def _list_arguments(parser: ArgumentParser) -> None:
    _paths(parser)
    parser.add_argument("-p", "--prefix", action="store_true", help="print the children's paths instead of their names")
    parser.add_argument("--json", action="store_true", help='print {"path": …, "name": …} for each child, one per line')
    add_socket_flag(parser)


def _exists_arguments(parser: ArgumentParser) -> None:
    _paths(parser)
    add_socket_flag(parser)


def _paths(parser: ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a node")


def read(
    xs: Client, out: Output, paths: Sequence[str], prefix: bool = False, raw: bool = False, json: bool = False
) -> int:
    """Print the values of nodes, one per line, escaped as by xenstore-read."""

    def text(verbs: NodeOperations, path: str) -> bytes:
        value = verbs.read(path)
        if json:
            from ..records import Node

            return f"{Node(path, value, (), ()).to_json()}\n".encode("ascii")
        before = encoded(f"{path}: ") if prefix else b""
        return before + (value if raw else f"{escaped(value)}\n".encode("ascii"))

    return _each(xs, out, paths, text)


def list_children(xs: Client, out: Output, paths: Sequence[str], prefix: bool = False, json: bool = False) -> int:
    """Print the names of the children of nodes, one per line, in the daemon's order."""

    def text(verbs: NodeOperations, path: str) -> bytes:
        names = verbs.ls(path)
        if json:
            from json import dumps

            lines = [dumps({"path": child_path(path, name), "name": name}) for name in names]
        elif prefix:
            lines = [shown_name(child_path(path, name)) for name in names]
        else:
            lines = [shown_name(name) for name in names]
        return "".join([f"{line}\n" for line in lines]).encode("utf-8")

    return _each(xs, out, paths, text)


def exists(xs: Client, out: Output, paths: Sequence[str]) -> int:
    """Show by the exit status whether all of these nodes exist and may be read: 0, otherwise 1; prints nothing."""
    try:
        together(xs, lambda verbs: [verbs.read(path) for path in paths], alone=len(paths) == 1)
    except (NodeNotFoundError, AccessDeniedError):
        return 1
    return 0


def _each(xs: Client, out: Output, paths: Sequence[str], text: Callable[[NodeOperations, str], bytes]) -> int:
    """Print the text for each path; if one fails, still those before it."""
    found: list[bytes] = []

    def look(verbs: NodeOperations) -> None:
        found.clear()
        for path in paths:
            found.append(text(verbs, path))

    try:
        together(xs, look, alone=len(paths) == 1)
    except XenStoreError:
        out.write(b"".join(found))
        raise
    out.write(b"".join(found))
    return 0


COMMANDS = {
    "read": Command(_read_arguments, read, {"paths": PATHS}),
    "list": Command(_list_arguments, list_children, {"paths": PATHS}),
    "exists": Command(_exists_arguments, exists, {"paths": PATHS}),
}
