"""The parsers of the command line: one for the global options and the command's name, and one for each command."""

from __future__ import annotations

import argparse
import os

from ..addresses import default_socket
from . import COMMANDS
from .command import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

__all__ = [
    "DESCRIPTION",
    "USAGE",
    "HelpWanted",
    "Parser",
    "UsageError",
    "add_global_options",
    "command_parser",
    "global_parser",
    "number_of",
    "seconds",
    "store_text",
    "whole_parser",
]

_WIDTH = 80  # of help if there is no terminal

USAGE = "%(prog)s [OPTIONS] COMMAND …"
DESCRIPTION = "XenStore at a shell."

_COMMANDS = """\
commands:
{commands}

`xsffi COMMAND -h` shows its options. The options above go before the command.
"""
_STORE = """\
The store is found where libxenstore would look: at XENSTORED_PATH if set, else
{socket}, else the kernel's device, as in a guest.
If called as xenstore-read, xenstore-ls and so on, it acts as that tool.
"""


class UsageError(Exception):
    """The command line is wrong; `usage` says what would be right."""

    def __init__(self, text: str, usage: str) -> None:
        super().__init__(text)
        self.usage = usage


class HelpWanted(Exception):
    """The command line asks for help; this is its text."""


class Parser(argparse.ArgumentParser):
    """argparse's parser, but errors are raised, and the terminal's width is only determined when help is requested."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _formatter, **options})

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The parsed arguments; options may be anywhere. Raises UsageError if they are wrong."""
        ordered, program = _options_first(self, arguments)
        found = vars(self.parse_args(ordered))
        if program is not None:
            option, found_program = program
            found[option.dest] = found_program
        return found

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage().rstrip())

    def print_help(self, file: object = None) -> NoReturn:
        raise HelpWanted(self.format_help())


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=_width(), max_help_position=32)


def _verbatim(prog: str) -> argparse.HelpFormatter:
    """Prints the text after the options as it is."""
    return argparse.RawDescriptionHelpFormatter(prog, width=_width(), max_help_position=32)


def _width() -> int:
    """The width of help. argparse would import shutil to determine it for each argument that is added."""
    try:
        return max(os.get_terminal_size().columns - 2, 40)
    except (OSError, ValueError):
        return _WIDTH


def global_parser(prog: str = "xsffi") -> Parser:
    """The parser of the global options; leaves the command's name in ``command`` and what follows in ``rest``."""
    parser = Parser(
        prog=prog,
        usage=USAGE,
        description=DESCRIPTION,
        epilog=_epilog(),
        formatter_class=_verbatim,
    )
    add_global_options(parser)
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def whole_parser() -> Parser:
    """The parser with all commands, whose modules it imports: for completion and man pages."""
    parser = Parser(prog="xsffi", description=DESCRIPTION, epilog=store_text())
    add_global_options(parser)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, entry in COMMANDS.items():
        command_of(name).arguments(commands.add_parser(name, help=entry.summary, description=_sentence(entry.summary)))
    return parser


def command_parser(name: str, prog: str | None = None) -> Parser:
    """The parser of one command, with the name it was called by."""
    command = command_of(name)
    parser = Parser(prog=prog or f"xsffi {name}", description=_sentence(COMMANDS[name].summary))
    command.arguments(parser)
    return parser


def number_of(kind: Callable[[str], float], least: float, rule: str) -> Callable[[str], Any]:
    """The type of an argument that is a number of at least `least`."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not least <= number < float("inf"):  # also excludes NaN
            raise argparse.ArgumentTypeError(f"{rule}, not {text!r}")
        return number

    return parse


seconds = number_of(float, 0, "seconds must be a number of at least 0")


def _options_first(
    parser: Parser, arguments: Sequence[str]
) -> tuple[Sequence[str], tuple[argparse.Action, list[str]] | None]:
    """The same arguments in an order that argparse in every version of Python accepts: as with getopt, options may be
    anywhere before a ``--``, and the value of one may start with a dash. Separately, an option that takes all following
    arguments, and these, from which argparse would remove a ``--``."""
    if not all(action.nargs in (0, None, argparse.REMAINDER) for action in parser._option_string_actions.values()):
        return arguments, None  # only argparse knows where an option's values end
    for action in parser._get_positional_actions():
        if action.nargs == argparse.REMAINDER:  # everything after the arguments before it is another program's
            place = next((place for place, text in enumerate(arguments, 1) if not text.startswith("-")), len(arguments))
            return arguments[:place], (action, list(arguments[place:]))
    options: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others += rest
            break
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
            continue
        lacking = _lacking_value(parser, argument)
        if lacking is None:
            options.append(argument)
        elif lacking.nargs is not None:  # the rest is another program's
            return [*options, *others, argument], (lacking, list(rest))
        else:
            value = next(rest, None)
            if value is not None and value.startswith("-"):
                options.append(f"{argument}={value}" if argument.startswith("--") else f"{argument}{value}")
            else:
                options += [argument] if value is None else [argument, value]
    return [*options, "--", *others] if others else options, None


def _lacking_value(parser: Parser, argument: str) -> argparse.Action | None:
    """The option whose value is the next argument, if any. Raises UsageError for an unknown option."""
    known = parser._option_string_actions
    if argument.startswith("--"):
        name, equals, _ = argument.partition("=")
        names = [name] if name in known else [each for each in known if each.startswith(name)]
        if not names:
            _refuse(parser, name)
        return known[names[0]] if not equals and len(names) == 1 and known[names[0]].nargs != 0 else None
    for end, letter in enumerate(argument[1:], 2):
        if f"-{letter}" not in known:
            _refuse(parser, f"-{letter}")
        if known[f"-{letter}"].nargs is None:
            return known[f"-{letter}"] if end == len(argument) else None
    return None


def _refuse(parser: Parser, option: str) -> NoReturn:
    if option in global_parser()._option_string_actions:
        parser.error(f"{option} must come before the command: xsffi {option} …")
    parser.error(f"unknown option {option}; put -- before arguments that begin with a dash")


def store_text() -> str:
    """Where the store is."""
    return _STORE.format(socket=default_socket())


def add_global_options(parser: Parser) -> None:
    """Add the global options."""
    parser.add_argument("--socket", metavar="PATH", help="the daemon's socket, or the kernel's device")
    parser.add_argument(
        "--backend", choices=("auto", "libxenstore", "wire"), default="auto", help="how to reach the store"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long the daemon may take to reply; no limit by default; implies the wire backend",
    )
    parser.add_argument(
        "--domain",
        metavar="DOMAIN",
        help="start relative paths, and a missing PATH, at this domain's home (number or name)",
    )
    parser.add_argument("--trace", action="store_true", help="print each request and reply on stderr")
    parser.add_argument(
        "--version", action="store_true", help="print the versions of all components, and which backend is used"
    )


def _epilog() -> str:
    commands = "\n".join(f"  {name:<12} {entry.summary}" for name, entry in COMMANDS.items())
    return _COMMANDS.format(commands=commands) + store_text()


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."
