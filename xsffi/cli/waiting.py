"""``xsffi wait``."""

from __future__ import annotations

import errno
import os

from ..errors import BackendUnavailableError, WaitTimeoutError
from .command import PATH, Command
from .homes import absolute
from .parsers import UsageError, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS", "wait"]

_TO_ANSWER = 1.0  # extra seconds for the daemon, so that even with a timeout of 0 there is one check


def _arguments(parser: ArgumentParser) -> None:
    parser.epilog = "The exit status is 0 once the condition holds, 1 on timeout, 2 on errors."
    parser.add_argument("path", metavar="PATH", help="the node, which need not exist yet")
    parser.add_argument("value", metavar="VALUE", nargs="?", help="the value; by default, wait until the node exists")
    parser.add_argument("--gone", action="store_true", help="wait until there is no such node")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait; no limit by default",
    )


def wait(
    opening: Opening,
    out: Output,
    path: str,
    value: str | None = None,
    gone: bool = False,
    timeout: float | None = None,
) -> int:
    """Wait until a node has a value, exists, or is gone; returns 0 once that is so, 1 on timeout; prints nothing. A
    daemon that does not answer is a timeout too; only the wire can detect that."""
    if gone and value is not None:
        raise UsageError("--gone does not go with VALUE: a node that is gone has no value", "xsffi wait PATH --gone")
    wanted = None if value is None else os.fsencode(value)
    try:
        with opening(None if timeout is None else timeout + _TO_ANSWER) as xs:
            path = absolute(path, opening.home(xs))
            if gone:
                xs.wait_for(path, None, timeout)
            else:
                xs.wait_for(path, lambda found: found is not None and wanted in (None, found), timeout)
    except (WaitTimeoutError, BackendUnavailableError) as error:
        if error.errno != errno.ETIMEDOUT:
            raise
        return 1
    return 0


COMMANDS = {"wait": Command(_arguments, wait, {"path": PATH}, connects_itself=True, failure=2)}
