"""``xsffi write``, ``rm`` and ``chmod``, as xenstore-write, xenstore-rm and xenstore-chmod.

What takes more than one request is a transaction: all of it is done, or nothing.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys

from ..errors import AccessDeniedError, InvalidArgumentError, NodeNotFoundError, TooBigError
from ..paths import child_path
from .command import ALL, Command
from .tools import add_socket_flag, together
from .values import unescaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ..sync.client import Client
    from ..sync.nodes import NodeOperations
    from .output import Output

__all__ = ["COMMANDS", "chmod", "rm", "write"]


class _Pairs(argparse.Action):
    """Paths and values by turns; a single path where the value comes from elsewhere. Options come before these."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if namespace.source is not None:
            if len(values) > 1:
                raise argparse.ArgumentError(None, f"with --from there is one path and no value, not {len(values)}")
        elif len(values) % 2:
            raise argparse.ArgumentError(None, f"a path and a value by turns: {values[-1]!r} has no value")
        namespace.pairs = values


def _write_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pairs",
        action=_Pairs,
        metavar="PATH VALUE",
        nargs="+",
        help="a node, and its value, in which a backslash begins what xenstore-read shows so: \\n, \\\\, \\x80, \\000",
    )
    parser.add_argument("-R", "--raw", action="store_true", help="take values as they are, backslashes and all")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="the value of the one PATH: the bytes of a file, - for stdin"
    )
    add_socket_flag(parser)


def _rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a node")
    parser.add_argument(
        "-t", "--tidy", action="store_true", help="the nodes above it too, as long as they are empty and childless"
    )
    add_socket_flag(parser)


def _chmod_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a node")
    parser.add_argument(
        "permissions",
        metavar="MODE",
        nargs="+",
        help="n, r, w or b (none, read, write, both) and a domain's number; "
        "the first names the owner, and what domains may do that the others do not name",
    )
    parser.add_argument("-u", "--upto", action="store_true", help="those above it too, but not the root")
    parser.add_argument("-r", "--recurse", action="store_true", help="all below it too")
    parser.add_argument(
        "--allow-any-domain",
        action="store_true",
        help="also permissions for every domain (32757) where they may end the daemon, as xenstored of Xen 4.22",
    )
    add_socket_flag(parser)


def write(xs: Client, out: Output, pairs: Sequence[str], raw: bool = False, source: str | None = None) -> int:
    """Write values: to the paths among `pairs` those behind them, to a single one what is read from a file."""
    if source is not None:
        try:
            values = [(pairs[0], _value_from(source))]
        except OSError as error:
            out.complain(f"{source}: {error.strerror}")
            return 1
    else:
        texts = map(os.fsencode, pairs[1::2])
        values = list(zip(pairs[::2], texts if raw else map(unescaped, texts)))

    def write_all(verbs: NodeOperations) -> None:
        for path, value in values:
            verbs.write(path, value)

    together(xs, write_all, alone=len(values) == 1)
    return 0


def rm(xs: Client, out: Output, paths: Sequence[str], tidy: bool = False) -> int:
    """Remove nodes with all below them; if `tidy`, those above too that have neither a value nor children then."""

    def remove_all(verbs: NodeOperations) -> None:
        for path in paths:
            verbs.rm(path)
            for above in _paths_above(path) if tidy else ():
                if not _is_bare(verbs, above):
                    break
                verbs.rm(above)

    together(xs, remove_all, alone=len(paths) == 1 and not tidy)
    return 0


def chmod(
    xs: Client,
    out: Output,
    path: str,
    permissions: Sequence[str],
    upto: bool = False,
    recurse: bool = False,
    allow_any_domain: bool = False,
) -> int:
    """Set the permissions of a node; `upto` the first name of its path, of those above it too, and with `recurse` of
    all below it."""
    if upto and not path.startswith("/"):
        raise InvalidArgumentError(errno.EINVAL, "-u takes an absolute path, which tells how far up that is", path)
    if recurse and path == "/":
        raise InvalidArgumentError(errno.EINVAL, "the permissions of the whole store are not to be made one", path)

    def set_all(verbs: NodeOperations) -> None:
        def set_one(path: str) -> None:
            verbs.set_permissions(path, permissions, allow_any_domain=allow_any_domain)

        set_one(path)
        for above in _paths_above(path) if upto else ():
            set_one(above)
        parents = [path] if recurse else []
        for parent in parents:
            for name in verbs.ls(parent):
                parents.append(child_path(parent, name))
                set_one(parents[-1])

    together(xs, set_all, alone=not (upto or recurse))
    return 0


def _paths_above(path: str) -> Iterator[str]:
    """The paths above, from the next one up to the first name."""
    while True:
        path = path.rpartition("/")[0]
        if not path:
            return
        yield path


def _is_bare(verbs: NodeOperations, path: str) -> bool:
    try:
        return verbs.read(path) == b"" and verbs.ls(path) == []
    except (NodeNotFoundError, AccessDeniedError):
        return False


def _value_from(source: str) -> bytes:
    """The bytes of a file, or of stdin; raises OSError, also where it has more than a value can have."""
    from ..protocol.wire import PAYLOAD_MAX

    if source != "-":
        with open(source, "rb") as file:
            value = file.read(PAYLOAD_MAX + 1)
    elif sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed", source)
    else:
        value = sys.stdin.buffer.read(PAYLOAD_MAX + 1)
    if len(value) > PAYLOAD_MAX:
        raise TooBigError(errno.E2BIG, f"it has more than the {PAYLOAD_MAX} bytes that a message carries", source)
    return value


COMMANDS = {
    "write": Command(_write_arguments, write, {"pairs": slice(None, None, 2)}),
    "rm": Command(_rm_arguments, rm, {"paths": ALL}),
    "chmod": Command(_chmod_arguments, chmod, {"path": ALL}),
}
