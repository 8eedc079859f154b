"""``xsffi diff``, and how differences are shown."""

from __future__ import annotations

import os
from contextlib import nullcontext

from .changes import change_json, change_line
from .colours import Colours
from .command import FILE_OR_PATH, Command
from .contents import STDIN, below, common_top, compare, read_file, relative
from .homes import absolute
from .parsers import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from ..records import Change, Node
    from ..sync.client import Client
    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS", "diff", "tell"]

_STORE, _FILE = "store:", "file:"


def _arguments(parser: ArgumentParser) -> None:
    parser.epilog = (
        "Each of A and B is a dump file, - for standard input, or a path in the store: an argument that starts with a "
        f"slash is a path, unless there is such a file; {_FILE}NAME and {_STORE}PATH say which it is. Nodes are named "
        "by their paths if both tops are the same, otherwise by the part below the top; . is the top itself. The exit "
        "status is 0 if there are no differences, 1 if there are, 2 on errors."
    )
    parser.add_argument("old", metavar="A", help="the old contents")
    parser.add_argument("new", metavar="B", help="the new contents")
    parser.add_argument("--json", action="store_true", help='each difference as an object of "path", "old" and "new"')


def diff(opening: Opening, out: Output, old: str, new: str, json: bool = False) -> int:
    """Show the differences between two dumps or subtrees; returns 0 for none, 1 for some."""
    sides = [_side(old), _side(new)]
    if [old, new] == [STDIN, STDIN]:
        raise UsageError("only one of the two can be standard input", "xsffi diff A B")
    is_live = any(kind == _STORE for kind, _ in sides)
    store: AbstractContextManager[Client | None] = opening() if is_live else nullcontext()
    with store as xs:
        home = None if xs is None else opening.home(xs)
        (old_top, old_nodes), (new_top, new_nodes) = (_contents(xs, home, *side) for side in sides)
    found = compare(
        {relative(node.path, old_top): node for node in old_nodes},
        {relative(node.path, new_top): node for node in new_nodes},
    )
    if old_top == new_top:
        found = (change._replace(path=below(old_top, change.path)) for change in found)
    else:
        found = (change._replace(path=change.path[1:] or ".") for change in found)
    return 1 if tell(out, found, json) else 0


def tell(out: Output, found: Iterable[Change], json: bool = False) -> bool:
    """Print differences; returns whether there were any."""
    paint = Colours(out.console()).paint
    is_different = False
    for change in found:
        out.line(change_json(change) if json else change_line(change, out.shown, paint))
        is_different = True
    return is_different


def _side(text: str) -> tuple[str, str]:
    """Whether an argument is a file or a path in the store, and its name or path."""
    for kind in (_STORE, _FILE):
        if text.startswith(kind):
            return kind, text[len(kind) :]
    is_path = text.startswith("/") and (os.path.isdir(text) or not os.path.exists(text))
    return _STORE if is_path else _FILE, text


def _contents(xs: Client | None, home: str | None, kind: str, name: str) -> tuple[str, list[Node]]:
    """The top of one side, and all its nodes."""
    if xs is not None and kind == _STORE:
        path = absolute(name, home)
        return path, xs.dump(path)
    nodes = list(read_file(name).values())
    return common_top((node.path for node in nodes), name), nodes


_KINDS = {"old": FILE_OR_PATH, "new": FILE_OR_PATH}
COMMANDS = {"diff": Command(_arguments, diff, _KINDS, connects_itself=True, failure=2)}
