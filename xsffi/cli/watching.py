"""``xsffi watch``."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import islice

from ..errors import ConnectionLostError, TransactionConflictError
from ..paths import is_subpath, level
from ..records import Change
from .changes import is_own
from .command import PATHS, Command
from .parsers import UsageError, number_of
from .tools import add_socket_flag
from .values import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ..sync.client import Client
    from ..sync.mirror import Mirror
    from .output import Output

__all__ = ["COMMANDS", "watch"]

_CANNOT_RUN = 127  # the exit status, as in a shell
_PAUSE = 50  # milliseconds between attempts to reconnect

_DESCRIPTION = """\
Print the path of each change, and each PATH once at the start, as xenstore-watch does.
With --values, --json, --exec or --shell, changes are reported with the values before
and after; of several quick changes to a node, only the last state may be reported.
PATH is a node, which need not exist, with everything below it.
"""
_ENVIRONMENT = """\
A program gets XENSTORE_PATH in its environment, XENSTORE_CHANGE, which is made, changed
or removed, and the values XENSTORE_OLD and XENSTORE_NEW: unset if the node did not exist
then, or the value contains a NUL byte. The new value is on its stdin. The next program
runs once it has exited; further changes to the same node meanwhile are reported as one.
"""


def _arguments(parser: ArgumentParser) -> None:
    from argparse import REMAINDER

    count = number_of(int, -1, "a count must be a whole number of at least 0, or -1 for no limit")
    depth = number_of(int, -1, "a depth must be a whole number of at least 0, or -1 for all")
    parser.description = _DESCRIPTION
    parser.epilog = _ENVIRONMENT
    parser.add_argument("paths", metavar="PATH", nargs="+", help="what to watch")
    parser.add_argument("-n", "--number", type=count, default=-1, metavar="NR", help="exit after so many changes")
    parser.add_argument(
        "-d", "--depth", type=depth, default=-1, metavar="DEPTH", help="how many levels below each PATH to include"
    )
    parser.add_argument("--values", action="store_true", help="print the time, the path, and both values")
    parser.add_argument("--json", action="store_true", help="the same, as lines of JSON")
    parser.add_argument("--initial", action="store_true", help="first report the existing nodes, as if just created")
    parser.add_argument(
        "--reconnect", action="store_true", help="reconnect if the daemon restarts, and report the differences"
    )
    add_socket_flag(parser)
    programs = parser.add_mutually_exclusive_group()
    programs.add_argument("--shell", metavar="COMMAND", help="run this in a shell for each change")
    programs.add_argument(
        "--exec",
        dest="program",
        nargs=REMAINDER,
        metavar="PROGRAM",
        help="run this program for each change; takes all arguments that follow",
    )


def watch(
    xs: Client,
    out: Output,
    paths: Sequence[str],
    number: int = -1,
    depth: int = -1,
    values: bool = False,
    json: bool = False,
    initial: bool = False,
    reconnect: bool = False,
    shell: str | None = None,
    program: Sequence[str] | None = None,
) -> int:
    """Report changes, without end or `number` times (-1: no limit), down to `depth` levels below the paths (-1:
    all)."""
    if program is not None and not program:
        raise UsageError("--exec needs a program", "xsffi watch PATH --exec PROGRAM [ARGUMENT…]")
    command = ["/bin/sh", "-c", shell] if shell is not None else program
    end = number if number >= 0 else None
    if not (values or json or command):
        if initial or reconnect:
            option = "--initial" if initial else "--reconnect"
            raise UsageError(f"{option} goes with --values, --json, --exec or --shell", "xsffi watch --values PATH")
        return _tell_paths(xs, out, paths, end, depth if depth >= 0 else None)
    for path in paths:
        if path.startswith("@"):
            raise UsageError(f"{path} has no value: only a plain watch can report it", f"xsffi watch {path}")
    if reconnect:
        import logging

        logging.basicConfig(
            format=f"{out.name}: %(message)s", level=logging.INFO
        )  # when the connection is lost and restored
    with closing(_changes(xs, out, _topmost(paths), initial, reconnect)) as changes:
        found = islice((change for change in changes if _is_near(change.path, paths, depth)), end)
        return _tell(found, _writer(out, json) if values or json else None, command, out)


def _tell_paths(xs: Client, out: Output, paths: Sequence[str], end: int | None, depth: int | None) -> int:
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UsageError(f"{path} is given twice", f"xsffi watch {path}")
        xs.watch(path, depth=depth)
    for event in islice(xs.events(), end):
        out.line(shown_name(event.path))
        out.flush()
    return 0


def _tell(
    changes: Iterator[Change], write: Callable[[Change], None] | None, command: Sequence[str] | None, out: Output
) -> int:
    for change in changes:
        if write is not None:
            write(change)
        if command is not None:
            from .running import CannotRunError, run_for

            out.flush()
            try:
                complaint = run_for(change, command)
            except CannotRunError as error:
                out.complain(str(error))
                return _CANNOT_RUN
            if complaint is not None:
                out.complain(f"{change.path}: {complaint}")
    return 0


def _writer(out: Output, json: bool) -> Callable[[Change], None]:
    """Prints a change as one line."""
    from time import localtime, strftime, time

    from .changes import change_json, change_line
    from .colours import Colours

    if json:
        return lambda change: out.line(change_json(change, time()))
    paint = Colours(out.console()).paint
    form = "%H:%M:%S" if out.terminal else "%Y-%m-%d %H:%M:%S"  # a log may be read on another day

    def write(change: Change) -> None:
        now = time()
        moment = f"{strftime(form, localtime(now))}.{int(now % 1 * 1000):03}"
        out.line(f"{paint(moment, 'dim')} {change_line(change, out.shown, paint)}")

    return write


def _changes(xs: Client, out: Output, tops: Sequence[str], initial: bool, reconnect: bool) -> Generator[Change]:
    """All changes of nodes themselves from now on; output about earlier ones is flushed before it waits for more."""
    with ExitStack() as stack:
        mirrors = [stack.enter_context(xs.mirror(top, reconnect)) for top in tops]
        if initial:
            for mirror in mirrors:
                for path, node in mirror.copy().items():
                    yield Change(path, None, node)
        while True:
            for mirror in mirrors:
                try:
                    yield from filter(is_own, mirror.update())
                except TransactionConflictError:
                    pass  # the tree keeps changing: the next update continues
            out.flush()
            _await_news(mirrors)


def _await_news(mirrors: Sequence[Mirror]) -> None:
    """Sleep until one of the mirrors has something to process."""
    import select

    poll = select.poll()
    longest = None
    for mirror in mirrors:
        try:
            poll.register(mirror.fileno(), select.POLLIN)
        except ConnectionLostError:
            longest = _PAUSE
    poll.poll(longest)


def _topmost(paths: Sequence[str]) -> list[str]:
    """The paths without those that are below others, so that each change is reported once."""
    return [
        path for path in dict.fromkeys(paths) if not any(path != other and is_subpath(path, other) for other in paths)
    ]


def _is_near(path: str, tops: Sequence[str], depth: int) -> bool:
    """Whether a node is at most this many levels below one of these."""
    return depth < 0 or any(is_subpath(path, top) and level(path) - level(top) <= depth for top in tops)


COMMANDS = {"watch": Command(_arguments, watch, {"paths": PATHS})}
