"""``xsffi control``, as xenstore-control: commands for the daemon itself (xenstore.txt, "CONTROL")."""

from __future__ import annotations

import argparse
import errno
import os
import time

from ..errors import XenStoreError
from .command import Command
from .output import text_of
from .parsers import Parser, number_of
from .values import shown_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sync.client import Client
    from .output import Output

__all__ = ["COMMANDS", "control"]

_FAILED = 3  # the exit status if the daemon refuses; 2 is for a wrong command line
_LIVE_UPDATE = "live-update"
_STUB_DOMAIN = "/tool/xenstored/domid"  # exists if xenstored runs in a domain of its own
_BUSY_PAUSE = 1.0  # seconds until a busy daemon is asked again


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", metavar="COMMAND", help="the daemon's command; help lists them")
    arguments = parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="arguments and options of the command"
    )
    arguments.required = False
    parser.usage = "%(prog)s [-h] COMMAND [ARGUMENT ...]"


def control(xs: Client, out: Output, command: str, arguments: Sequence[str]) -> int:
    """Send the daemon a command, and print its answer and a newline."""
    if command == _LIVE_UPDATE:
        return _live_update(xs, out, arguments)
    try:
        answer = _ask(xs, command, *arguments)
    except XenStoreError as error:
        if error.errno == errno.EINVAL:
            out.complain(f"the daemon does not accept this: {' '.join([command, *arguments])}", _commands(xs))
        else:
            out.complain(f"{command}: {text_of(error)}")
        return _FAILED
    if answer:
        out.line(shown_text(answer) if out.terminal else answer)
    return 0


def _ask(xs: Client, command: str, *arguments: str) -> str:
    """The daemon's answer, up to a NUL."""
    return xs.control(command, *map(os.fsencode, arguments)).partition("\0")[0]


def _commands(xs: Client) -> str:
    """The commands that the daemon says it accepts."""
    try:
        return "it accepts:\n" + shown_text(_ask(xs, "help"))
    except XenStoreError:
        return ""


def _live_update_parser() -> Parser:
    parser = Parser(prog=_LIVE_UPDATE, add_help=False)
    parser.add_argument("-c", dest="options", metavar="OPTIONS")
    parser.add_argument(
        "-t",
        dest="timeout",
        type=number_of(int, 1, "a timeout must be a whole number of seconds, at least 1"),
        default=60,
    )
    parser.add_argument("-F", dest="force", action="store_true")
    parser.add_argument("-v", dest="version", type=number_of(int, 1, "a version must be a whole number, at least 1"))
    parser.add_argument("file", metavar="FILE")
    return parser


def _live_update(xs: Client, out: Output, arguments: Sequence[str]) -> int:
    """Have the daemon replace itself by another program, which takes over the store.

    The steps are those of xenstore-control: the program, its command line if that changes, then start; or abort.
    """
    given = _live_update_parser().parse(arguments)
    try:
        if xs.exists(_STUB_DOMAIN):
            out.complain("xenstored runs in its own domain; use xenstore-control of the new release to update it")
            return _FAILED
        if not _agrees(out, _ask(xs, _LIVE_UPDATE, "-f", given["file"])):
            return _FAILED
        options = given["options"]
        started = False
        try:
            if options is None or _agrees(out, _ask(xs, _LIVE_UPDATE, "-c", options)):
                started = _agrees(out, _start(xs, given["timeout"], given["force"], given["version"]))
        finally:
            if not started:
                _give_up(xs)
        return 0 if started else _FAILED
    except XenStoreError as error:
        out.complain(f"{_LIVE_UPDATE}: {text_of(error)}")
        return _FAILED


def _start(xs: Client, timeout: int, force: bool, version: int | None) -> str:
    """Start the update; returns the daemon's last answer. Unless forced, it is busy while there are transactions."""
    start = [_LIVE_UPDATE, "-s", "-t", str(timeout)]
    if force:
        start.append("-F")
    if version is not None:
        start += ["-v", str(version)]
    end = time.monotonic() + timeout
    while True:
        answer = _ask(xs, *start)
        if answer != "BUSY" or time.monotonic() + _BUSY_PAUSE >= end:
            return answer
        time.sleep(_BUSY_PAUSE)


def _agrees(out: Output, answer: str) -> bool:
    """Whether the daemon accepted; otherwise its answer is printed."""
    if answer != "OK":
        first, _, others = answer.partition("\n")
        out.complain(f"{_LIVE_UPDATE}: the daemon says: {first}", shown_text(others))
    return answer == "OK"


def _give_up(xs: Client) -> None:
    try:
        _ask(xs, _LIVE_UPDATE, "-a")
    except XenStoreError:
        pass  # the first error was reported


COMMANDS = {"control": Command(_arguments, control)}
