"""``xsffi wait``."""

from __future__ import annotations

import errno
import os

from ..errors import BackendUnavailableError, WaitTimeoutError
from .command import Command
from .homes import absolute
from .parsers import UsageError, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS", "wait"]

_TO_ANSWER = 1.0  # seconds more that the daemon may take, so that with no time at all there is one look


def _arguments(parser: ArgumentParser) -> None:
    parser.epilog = "The exit status is 0 once it is so, 1 when the time is up, 2 where that cannot be said."
    parser.add_argument("path", metavar="PATH", help="the node, there or not yet")
    parser.add_argument("value", metavar="VALUE", nargs="?", help="the value; by default any, so that it is there")
    parser.add_argument("--gone", action="store_true", help="wait until there is no such node")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait; for ever by default",
    )


def wait(
    opening: Opening,
    out: Output,
    path: str,
    value: str | None = None,
    gone: bool = False,
    timeout: float | None = None,
) -> int:
    """Wait until a node has a value, is there, or is gone: 0 once that is so, 1 when the time is up, in silence; also
    where that is since the daemon does not answer, which the wire alone can tell."""
    if gone and value is not None:
        raise UsageError("a node that is gone has no value: --gone stands without VALUE", "xsffi wait PATH --gone")
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


COMMANDS = {"wait": Command(_arguments, wait, connects_itself=True, failure=2)}
