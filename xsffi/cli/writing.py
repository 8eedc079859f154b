"""``xsffi write``, ``rm`` and ``chmod``, as xenstore-write, xenstore-rm and xenstore-chmod.

Anything that takes more than one request is a transaction: all of it is done, or nothing.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys

from ..errors import AccessDeniedError, InvalidArgumentError, NodeNotFoundError, TooBigError
from ..paths import child_path
from .command import PATH, PATHS, PATHS_AND_VALUES, Command
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
    """Paths and values in turn; a single path if the value comes from elsewhere. Options come before these."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if namespace.source is not None:
            if len(values) > 1:
                raise argparse.ArgumentError(None, f"--from takes one path and no value, not {len(values)}")
        elif len(values) % 2:
            raise argparse.ArgumentError(None, f"paths and values must alternate: {values[-1]!r} has no value")
        namespace.pairs = values


def _write_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pairs",
        action=_Pairs,
        metavar="PATH VALUE",
        nargs="+",
        help="a node and its value, with the escapes of xenstore-read: \\n, \\\\, \\x80, \\000",
    )
    parser.add_argument("-R", "--raw", action="store_true", help="write values unchanged, including backslashes")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="read the value for the only PATH from a file, - for stdin"
    )
    add_socket_flag(parser)


def _rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a node")
    parser.add_argument(
        "-t", "--tidy", action="store_true", help="also remove the nodes above it while they are empty and childless"
    )
    add_socket_flag(parser)


def _chmod_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a node")
    parser.add_argument(
        "permissions",
        metavar="MODE",
        nargs="+",
        help="n, r, w or b (none, read, write, both) followed by a domid; "
        "the first names the owner, and says what domains not in the list may do",
    )
    parser.add_argument("-u", "--upto", action="store_true", help="also the nodes above it, except the root")
    parser.add_argument("-r", "--recurse", action="store_true", help="also everything below it")
    parser.add_argument(
        "--allow-any-domain",
        action="store_true",
        help="set permissions for every domain (32757) even where that may kill the daemon, as in Xen 4.22",
    )
    add_socket_flag(parser)


def write(xs: Client, out: Output, pairs: Sequence[str], raw: bool = False, source: str | None = None) -> int:
    """Write values: `pairs` are paths and values in turn, or a single path whose value is read from a file."""
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
    """Remove nodes and everything below them; if `tidy`, also those above that then have neither a value nor
    children."""

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
    """Set the permissions of a node; with `upto`, also of those above it, up to the first name of its path; with
    `recurse`, also of everything below it."""
    if upto and not path.startswith("/"):
        raise InvalidArgumentError(errno.EINVAL, "-u needs an absolute path, to know how far up to go", path)
    if recurse and path == "/":
        raise InvalidArgumentError(errno.EINVAL, "refusing to set the permissions of the whole store", path)

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
    """The paths above, from the parent up to the first name."""
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
    """The bytes of a file, or of stdin; raises OSError, also if there are more than fit into a value."""
    from ..protocol.wire import PAYLOAD_MAX

    if source != "-":
        with open(source, "rb") as file:
            value = file.read(PAYLOAD_MAX + 1)
    elif sys.stdin is None:
        raise OSError(errno.EBADF, "closed", source)
    else:
        value = sys.stdin.buffer.read(PAYLOAD_MAX + 1)
    if len(value) > PAYLOAD_MAX:
        raise TooBigError(errno.E2BIG, f"it has more than the {PAYLOAD_MAX} bytes of a message", source)
    return value


COMMANDS = {
    "write": Command(_write_arguments, write, {"pairs": PATHS_AND_VALUES}),
    "rm": Command(_rm_arguments, rm, {"paths": PATHS}),
    "chmod": Command(_chmod_arguments, chmod, {"path": PATH}),
}
