"""``xsffi tree``."""

from __future__ import annotations

from ..errors import AccessDeniedError
from ..paths import child_path
from .colours import Colours
from .command import PATH, Command
from .output import text_of
from .parsers import number_of
from .places import domain_names, lists_domains
from .snapshots import read_tree
from .states import is_state, state_name, state_style
from .values import shown_name
from .widths import columns_of, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping, Sequence

    from ..errors import XenStoreError
    from ..records import Node
    from ..sync.client import Client
    from .output import Output

__all__ = ["COMMANDS", "tree"]

# The prefix of a node, of the last of its siblings, and of what is below each; the mark of a cut value.
_UNICODE = ("├── ", "└── ", "│   ", "    ", "…")
_ASCII = ("|-- ", "`-- ", "|   ", "    ", "...")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="the top; by default the root")
    parser.add_argument(
        "-L",
        dest="level",
        type=number_of(int, 1, "a level must be a whole number, at least 1"),
        metavar="LEVEL",
        help="how many levels below the top to show; only these are read, one after the other",
    )
    parser.add_argument("-p", dest="permissions", action="store_true", help="show permissions, the owner's first")
    parser.add_argument("-s", dest="sizes", action="store_true", help="show the sizes of values in bytes")
    parser.add_argument("--json", action="store_true", help="print the nodes as lines of JSON, parents first")


def tree(
    xs: Client,
    out: Output,
    path: str,
    level: int | None = None,
    permissions: bool = False,
    sizes: bool = False,
    json: bool = False,
) -> int:
    """Draw the tree below a node; returns 1 if some of it may not be read."""
    nodes, unread = read_tree(xs, path, level)
    if json:
        for node in nodes:
            out.line(node.to_json())
        for error in unread.values():
            out.complain(text_of(error))
    else:
        for line in _Drawing(out, nodes, unread, _names(xs, out), permissions, sizes).lines(path, level):
            out.line(line)
    return 1 if unread else 0


class _Drawing:
    """Formats the nodes of a tree as lines."""

    def __init__(
        self,
        out: Output,
        nodes: Sequence[Node],
        unread: Mapping[str, XenStoreError],
        names: Mapping[str, str],
        permissions: bool,
        sizes: bool,
    ) -> None:
        self._nodes = {node.path: node for node in nodes}
        self._unread = unread
        self._names = names
        self._permissions = permissions
        self._sizes = sizes
        self._shown = out.shown
        self._paint = Colours(out.console()).paint
        self._signs = _UNICODE if out.unicode else _ASCII
        self._width = out.width if out.terminal else None

    def lines(self, top: str, level: int | None) -> Iterator[str]:
        """A line for each node from `top` down, each followed by what is below it."""
        middle, last, beside, beyond, _ = self._signs
        waiting = [(top, top, "", "", 0)]  # with the prefix of each, and of what is below it
        while waiting:
            path, name, before, below, depth = waiting.pop()
            yield self._paint(before, "dim") + self._text(path, name, len(before))
            if depth != level:
                children = self._children(path)
                for child, child_name in reversed(children):
                    sign, under = (last, beyond) if child == children[-1][0] else (middle, beside)
                    waiting.append((child, child_name, below + sign, below + under, depth + 1))

    def _children(self, path: str) -> list[tuple[str, str]]:
        """The paths and names of a node's children, without those that disappeared while the tree was read."""
        node = self._nodes.get(path)
        if node is None:
            return []
        children = [(child_path(path, name), name) for name in node.children]
        return [child for child in children if child[0] in self._nodes or child[0] in self._unread]

    def _text(self, path: str, name: str, column: int) -> str:
        """The text of a node, starting at this column."""
        node = self._nodes.get(path)
        label = shown_name(name)
        if node is None:
            return f"{label} {self._paint('(may not be read)', 'red')}"
        bracket, domain = self._bracket(node), self._domain(path)
        text = self._paint(bracket, "dim")
        text += self._paint(label, "bold blue") if node.children else label
        text += self._paint(domain, "cyan")
        if not node.value:
            return text
        meaning, style = self._meaning(path, node.value)
        value = self._shown(node.value)
        if self._width is not None:
            used = column + columns_of(f"{bracket}{label}{domain} = {meaning}")
            value = cut(value, self._width - used, self._signs[-1])
        return f"{text} = {value}{self._paint(meaning, style)}"

    def _bracket(self, node: Node) -> str:
        """The permissions and the size of a node, as far as requested."""
        parts = [",".join(map(str, node.permissions))] if self._permissions else []
        if self._sizes:
            parts.append(str(len(node.value)))
        return f"[{' '.join(parts)}]  " if parts else ""

    def _domain(self, path: str) -> str:
        """The name of the domain if the node is named by its number, to be shown after it."""
        above, _, number = path.rpartition("/")
        return f" ({self._names[number]})" if number in self._names and lists_domains(above) else ""

    def _meaning(self, path: str, value: bytes) -> tuple[str, str]:
        """The meaning of a value, to be shown after it, and its style."""
        if is_state(path):
            state = state_name(value)
            if state is not None:
                return f" {state}", state_style(state)
        elif path.endswith(("/backend-id", "/frontend-id")):
            name = self._names.get(value.decode("ascii", "replace"))
            if name is not None:
                return f" ({name})", "cyan"
        return "", ""


def _names(xs: Client, out: Output) -> dict[str, str]:
    """The names of domains by domid; empty for a guest, which may not list them."""
    try:
        names = domain_names(xs)
    except AccessDeniedError:
        return {}
    return {str(domid): out.shown(name) for domid, name in names.items()}


COMMANDS = {"tree": Command(_arguments, tree, {"path": PATH})}
