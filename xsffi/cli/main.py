"""From the command line to the exit status."""

from __future__ import annotations

import gc
import os
import sys

from ..errors import XenStoreError
from . import COMMANDS
from .command import command_of
from .homes import resolve
from .opening import Opening
from .output import standard_output, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .output import Output

__all__ = ["main", "run"]

_ALL_TOOLS = "xenstore"
_TOOL_PREFIX = "xenstore-"


def main() -> int:
    """Carry out the command line of this process; return the exit status.

    If called as, say, ``xenstore-read``, it acts as that tool; as ``xenstore``, it takes the tool's name as the first
    argument. Ctrl-C and a closed pipe end the process by their signals, as they do a C program.
    """
    if hasattr(gc, "freeze"):
        gc.disable()  # until nearly all is imported: it would find nothing, and take a tenth of the time of a read
    called = os.path.basename(sys.argv[0])
    arguments = sys.argv[1:]
    out = standard_output()
    try:
        if called.startswith(_TOOL_PREFIX):
            out.name = called
            status = run([called[len(_TOOL_PREFIX) :], *arguments], out, prog=called)
        else:
            if called == _ALL_TOOLS:
                out.name = called
            status = run(arguments, out)
        out.flush()
        return status
    except KeyboardInterrupt:
        return _end_by("SIGINT", out)
    except BrokenPipeError:
        return _end_by("SIGPIPE", out)
    except OSError as error:
        _drop_output()
        out.complain(f"cannot write the output: {error.strerror}")
        return out.failure
    except MemoryError:
        _drop_output()
        out.complain("out of memory")
        return out.failure
    except Exception as error:
        _drop_output()
        out.complain(f"internal error: {type(error).__name__}: {error}")
        return out.failure


def run(arguments: Sequence[str], out: Output, prog: str | None = None) -> int:
    """Carry out a command line; return the exit status. Errors of the store or the command line are reported; errors of
    the output are raised. `prog`: the name of the command, by default that of xsffi and its own."""
    from .parsers import HelpWanted, UsageError, command_parser, global_parser

    options: dict[str, Any] = {}
    status = 2
    try:
        if arguments and arguments[0] in COMMANDS:  # skips the parser of the global options
            name, *rest = arguments
        else:
            options = vars(global_parser(out.name).parse_args(arguments))
            word, rest = options["command"], options["rest"]
            if options["version"] or word == "version":
                return _print_versions(options, out)
            if word == "help":
                return run([*rest, "-h"], out)
            name = _known(word, out.name)
        status = COMMANDS[name].usage_status
        parsed = command_parser(name, prog or f"{out.name} {name}").parse(rest)
    except UsageError as error:
        out.complain(str(error), error.usage)
        return status
    except HelpWanted as help:
        out.write(str(help).encode("utf-8"))
        return 0
    try:
        return _carry_out(name, parsed, options, out)
    except UsageError as error:  # errors that no parser can detect
        out.complain(str(error), error.usage)
        return status
    except XenStoreError as error:
        out.complain(text_of(error))
        return out.failure


def _carry_out(name: str, parsed: dict[str, Any], options: dict[str, Any], out: Output) -> int:
    command = command_of(name)
    domain = options.get("domain")
    if domain is not None and not command.kinds:
        from .parsers import UsageError

        raise UsageError(f"--domain does not apply to {name}", f"see {out.name} {name} -h")
    out.failure = command.failure
    if options.get("trace"):
        import logging

        logging.basicConfig(format="%(name)s: %(message)s", level=logging.DEBUG)
    opening = Opening(options)
    if command.connects_itself:
        _collect_from_here_on()
        return command.run(opening, out, **parsed)
    with opening() as xs:
        _collect_from_here_on()
        return command.run(xs, out, **resolve(xs, parsed, command.kinds, domain))


def _collect_from_here_on() -> None:
    """Exclude existing objects from garbage collection, including the one at exit."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _known(name: str | None, prog: str) -> str:
    """The name of a command, validated."""
    from .parsers import UsageError

    if name in COMMANDS:
        return name
    if name is None:
        raise UsageError("no command given", f"{prog} -h shows them all")
    from difflib import get_close_matches

    similar = get_close_matches(name, COMMANDS, 1)
    raise UsageError(
        f"unknown command {name!r}", f"did you mean {similar[0]}?" if similar else f"{prog} -h shows them all"
    )


def _print_versions(options: dict[str, Any], out: Output) -> int:
    from platform import python_implementation, python_version

    from ..backends.selection import describe
    from ..lazy import imported

    out.line(f"xsffi {imported('xsffi').__version__}, {python_implementation()} {python_version()}")
    try:
        for backend, state in describe().items():
            out.line(f"{backend}: {state}")
    except XenStoreError as error:  # a variable of the environment is invalid
        out.line(f"backends: {text_of(error)}")
    try:
        with Opening(options)() as xs:
            out.line(f"store: {xs.backend.description}")
    except XenStoreError as error:
        out.line(f"store: {text_of(error)}")
    return 0


def _end_by(name: str, out: Output) -> int:
    """End this process by a signal."""
    import signal

    number = signal.Signals[name]
    _drop_output()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number  # the signal is blocked


def _drop_output() -> None:
    """Discard unwritten output, so that it is not tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
