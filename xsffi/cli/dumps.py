"""``xsffi dump`` and ``xsffi load``."""

from __future__ import annotations

from ..dump_files import line_error
from ..errors import NodeNotFoundError, XenStoreError
from ..paths import encode, is_subpath, parent_path, validate
from ..protocol.requests import SetPermissions, Write
from ..protocol.wire import check_payload_size
from ..records import Node
from .command import OPTIONAL_PATH, PATH, Command
from .contents import below, common_top, compare, label_of, read_file, relative
from .differences import tell
from .parsers import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Mapping

    from ..sync.client import Client
    from .output import Output

__all__ = ["COMMANDS", "dump", "load"]

_LONG = 4096  # nodes that can be written in under a second


def _dump_arguments(parser: ArgumentParser) -> None:
    parser.epilog = "The tree is as it is at one moment. `xsffi load`, `diff` and `serve --load` read the output."
    parser.add_argument("path", metavar="PATH", nargs="?", help="the top; by default the root")
    parser.add_argument("--json", action="store_true", help="ignored: the output is always JSON")


def dump(xs: Client, out: Output, path: str, json: bool = True) -> int:
    """Print the nodes from a top down, parents first, as lines of JSON."""
    for node in xs.dump(path):
        out.line(node.to_json())
    return 0


def _load_arguments(parser: ArgumentParser) -> None:
    parser.epilog = (
        "All lines are checked before anything is written. It is not a transaction: other clients see the nodes appear "
        "one after another, and if the daemon refuses one, those before it have been written. With --domain, PATH is "
        "by default that domain's home."
    )
    parser.add_argument("file", metavar="FILE", help="the output of `xsffi dump`; - for standard input")
    parser.add_argument(
        "--under",
        metavar="PATH",
        help="write the top of the dump there, and the rest below: /a/b in a dump of /a becomes PATH/b",
    )
    parser.add_argument(
        "--replace", action="store_true", help="afterwards remove everything below the top that is not in the dump"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would change, as `xsffi diff` does")
    parser.add_argument(
        "--allow-any-domain",
        action="store_true",
        help="set permissions for every domain (32757) even where that may kill the daemon, as in Xen 4.22",
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: show the changes as JSON")


def load(
    xs: Client,
    out: Output,
    file: str,
    under: str | None = None,
    replace: bool = False,
    dry_run: bool = False,
    allow_any_domain: bool = False,
    json: bool = False,
) -> int:
    """Write the nodes in a dump, or show what that would change."""
    if json and not dry_run:
        raise UsageError("--json needs --dry-run: nothing is printed otherwise", "xsffi load FILE --dry-run --json")
    if under is not None:
        validate(under)
    lines = read_file(file)
    top = common_top([node.path for node in lines.values()], file)
    if under is not None:
        lines = {number: _moved(node, top, under) for number, node in lines.items()}
        top = under
    _check(lines, file)
    nodes = list(lines.values())
    present = _present(xs, top) if replace or dry_run else {}
    unwanted = _unwanted(present, nodes, top) if replace else []
    if dry_run:
        tell(out, compare(present, _after(xs, present, nodes, unwanted, top)), json)
    else:
        written = out.progress(nodes, "writing") if len(nodes) > _LONG else nodes
        xs.load(written, allow_any_domain=allow_any_domain)
        _remove(xs, unwanted)
    return 0


def _moved(node: Node, top: str, under: str) -> Node:
    return node._replace(path=below(under, relative(node.path, top)))


def _check(lines: Mapping[int, Node], file: str) -> None:
    """Raise the error of the first node that no client could write, with its line number."""
    for number, node in lines.items():
        try:
            path = encode(node.path)
            check_payload_size(len(Write(path, node.value).payload()), path)
            if node.permissions:
                check_payload_size(len(SetPermissions(path, [*node.permissions]).payload()), path)
        except XenStoreError as error:
            raise line_error(label_of(file), number, error) from None


def _present(xs: Client, top: str) -> dict[str, Node]:
    """The existing nodes from a top down."""
    try:
        return {node.path: node for node in xs.dump(top)}
    except NodeNotFoundError:
        return {}


def _unwanted(present: Iterable[str], nodes: Iterable[Node], top: str) -> list[str]:
    """The paths of existing nodes, parents first, that are neither in `nodes` nor above one of them; without those
    below another unwanted one."""
    wanted = {top}
    for node in nodes:
        path = node.path
        while path not in wanted:
            wanted.add(path)
            path = parent_path(path)
    return [path for path in present if path not in wanted and parent_path(path) in wanted]


def _after(
    xs: Client, present: Mapping[str, Node], nodes: Iterable[Node], unwanted: Iterable[str], top: str
) -> dict[str, Node]:
    """The state after these nodes, and missing ones above them, are written and the unwanted removed."""
    removed = set(unwanted)
    after: dict[str, Node] = {}
    for path, node in present.items():  # parents first
        if parent_path(path) in removed:
            removed.add(path)
        if path not in removed:
            after[path] = node
    for node in nodes:
        above = parent_path(node.path)
        while above not in after and is_subpath(above, top):
            after[above] = _made_with_another(above)
            above = parent_path(above)
        after[node.path] = node
    above = parent_path(top)
    while top not in present and above != "/" and not xs.exists(above):
        after[above] = _made_with_another(above)
        above = parent_path(above)
    return after


def _made_with_another(path: str) -> Node:
    """A node that the daemon creates along with one below it; its permissions, copied from its parent, are unknown."""
    return Node(path, b"", (), ())


def _remove(xs: Client, paths: Iterable[str]) -> None:
    """Remove nodes; missing ones whose parent is gone are no error."""
    pipeline = xs.pipeline()
    for path in paths:
        pipeline.rm(path)
    for result in pipeline.execute(raise_on_error=False):
        if isinstance(result, XenStoreError) and not isinstance(result, NodeNotFoundError):
            raise result


COMMANDS = {
    "dump": Command(_dump_arguments, dump, {"path": PATH}),
    "load": Command(_load_arguments, load, {"under": OPTIONAL_PATH}),
}
