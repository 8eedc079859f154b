"""``xsffi ls``: as xenstore-ls, but shows the tree as it is at one moment."""

from __future__ import annotations

from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN, child_path
from ..records import Node
from .command import PATHS, Command
from .output import text_of
from .snapshots import read_tree
from .tools import add_socket_flag
from .values import escaped, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping, Sequence

    from ..permissions import Permission
    from ..sync.client import Client
    from .output import Output

__all__ = ["COMMANDS", "ls"]

_COLUMNS = 80  # if there is no terminal
_MARGIN = 2  # columns of a terminal to leave empty
_PERMISSIONS_AT = 60  # the column to which dots lead up
_DOTS = " ." * (_PERMISSIONS_AT // 2)
_ROOM = len(' = "..."')  # reserved for a value


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*", help="the node whose tree to list; by default the root")
    parser.add_argument("-f", "--flat", action="store_true", help="print the full paths of nodes")
    parser.add_argument("-p", "--prefix", dest="permissions", action="store_true", help="print permissions")
    parser.add_argument("--json", action="store_true", help="print the nodes as JSON objects, one per line")
    add_socket_flag(parser)


def ls(
    xs: Client,
    out: Output,
    paths: Sequence[str],
    flat: bool = False,
    permissions: bool = False,
    json: bool = False,
) -> int:
    """List the nodes below others, one per line, parents first.

    Values are cut if the line would not fit on the terminal or, indented and in a pipe, into 80 columns. A node that
    may not be read is listed without a value, and reported as an error; the status is then 1, as it is if one of the
    paths cannot be read.
    """
    lay_out = _Lines(_width(out.columns, flat), flat, permissions)
    status = 0
    for path in paths:
        found, unread = read_tree(xs, path)
        nodes = {node.path: node for node in found}
        if path == "/" and not json:
            _add_special_paths(xs, nodes)
        for child, name, depth in _below(path, nodes, unread):
            node = nodes.get(child)
            if node is None:
                out.complain(text_of(unread[child]))
                status = 1
            if not json:
                out.line(lay_out.line(child, name, depth, node))
            elif node is not None:
                out.line(node.to_json())
    return status


def _width(columns: int | None, flat: bool) -> int | None:
    """The width of a line; None: no limit."""
    if columns is not None:
        return columns - _MARGIN
    return None if flat else _COLUMNS


class _Lines:
    """Formats nodes as lines, as xenstore-ls does."""

    def __init__(self, width: int | None, flat: bool, permissions: bool) -> None:
        """`width`: of a line, unless permissions make it longer. Below 0 means no limit."""
        self._width = None if width is None or width < 0 else width
        self._flat = flat
        self._permissions = permissions
        self._known: dict[tuple[Permission, ...], str] = {}
        dots = 0 if flat else _PERMISSIONS_AT
        self._dots_end = dots if width is None else min(dots, max(width, 0))

    def line(self, path: str, name: str, depth: int, node: Node | None) -> str:
        """The line of a node with this name at this depth; `node` is None if it may not be read."""
        if self._flat:
            label, used = shown_name(path), 0
        else:
            label = " " * depth + self._cut(shown_name(name), depth)
            used = len(label)
        if node is None:
            return f"{label}:"
        value = escaped(node.value)
        if self._width is not None and self._width < used + len(node.value) + _ROOM:
            text = f'{label} = "{self._cut(value, used)}\\..."'
            dots = ""
        else:
            text = f'{label} = "{value}"'
            used += len(value) + len(' = ""')
            dots = f" {_DOTS[used + 1 : self._dots_end]}"
        return f"{text}{dots}  ({self._text(node.permissions)})" if self._permissions else text

    def _cut(self, text: str, used: int) -> str:
        """As much of a text as fits after `used` columns of the line; all of it if less than nothing fits, as with C's
        printf."""
        if self._width is None or self._width - _ROOM < used:
            return text
        return text[: self._width - _ROOM - used]

    def _text(self, permissions: tuple[Permission, ...]) -> str:
        text = self._known.get(permissions)
        if text is None:
            text = self._known[permissions] = ",".join(map(str, permissions))
        return text


def _below(top: str, nodes: Mapping[str, Node], unread: Mapping[str, object]) -> Iterator[tuple[str, str, int]]:
    """The path, name and relative depth of everything below a node, each followed by what is below it; without nodes
    that disappeared while the tree was read."""
    waiting = [(top, "", -1)]
    while waiting:
        path, name, depth = waiting.pop()
        node = nodes.get(path)
        if node is None and path not in unread:
            continue
        if depth >= 0:
            yield path, name, depth
        if node is not None and node.children:
            base = path if path == "/" else f"{path}/"
            waiting += [(base + child, child, depth + 1) for child in reversed(node.children)]


def _add_special_paths(xs: Client, nodes: dict[str, Node]) -> None:
    """Add the special watch paths to the nodes of the whole store if the daemon lists them, as oxenstored does: a
    snapshot leaves them out, but xenstore-ls shows them."""
    root = nodes["/"]
    listed = xs.ls("/")
    special = {INTRODUCE_DOMAIN, RELEASE_DOMAIN}.intersection(listed).difference(root.children)
    if not special:
        return
    for name in special:
        path = child_path("/", name)
        nodes[path] = Node(path, xs.read(path), (), tuple(xs.get_permissions(path)))
    places = {name: place for place, name in enumerate(listed)}
    children = sorted([*special, *root.children], key=lambda name: places.get(name, len(places)))
    nodes["/"] = root._replace(children=tuple(children))


COMMANDS = {"ls": Command(_arguments, ls, {"paths": PATHS})}
