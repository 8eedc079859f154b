"""The parsers of the command line: one for what stands before the command, and one for each command."""

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
    "HelpWanted",
    "Parser",
    "UsageError",
    "command_parser",
    "global_parser",
    "number_of",
    "seconds",
    "store_text",
    "whole_parser",
]

_WIDTH = 80  # of help where there is no terminal

_COMMANDS = """\
commands:
{commands}

`xsffi COMMAND -h` tells more of each. The options above go before the command.
"""
_STORE = """\
The store is where libxenstore would look: where XENSTORED_PATH says, else
{socket}, else the kernel's device, as in a guest.
Called by the name xenstore-read, xenstore-ls and so on, it is that tool.
"""


class UsageError(Exception):
    """The command line is wrong; `usage` says what would be right."""

    def __init__(self, text: str, usage: str) -> None:
        super().__init__(text)
        self.usage = usage


class HelpWanted(Exception):
    """The command line asks for help, which is the text of this."""


class Parser(argparse.ArgumentParser):
    """As argparse's, but what is wrong is raised, and nothing is imported to know how wide the terminal is before it is
    asked for help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _formatter, **options})

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """What is given; options may stand anywhere. Raises UsageError where it is wrong."""
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
    """What comes after the options is printed as it is."""
    return argparse.RawDescriptionHelpFormatter(prog, width=_width(), max_help_position=32)


def _width() -> int:
    """That of help. argparse would import shutil to know it, for each argument that is added."""
    try:
        return max(os.get_terminal_size().columns - 2, 40)
    except (OSError, ValueError):
        return _WIDTH


def global_parser(prog: str = "xsffi") -> Parser:
    """The parser of what stands before a command, which it leaves in ``command`` with what follows in ``rest``."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [OPTIONS] COMMAND …",
        description="XenStore at a shell.",
        epilog=_epilog(),
        formatter_class=_verbatim,
    )
    _add_options(parser)
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def whole_parser() -> Parser:
    """The parser of all, with that of each command, whose modules are all imported: for what is made of it."""
    parser = Parser(prog="xsffi", description="XenStore at a shell.", epilog=store_text())
    _add_options(parser)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, entry in COMMANDS.items():
        command_of(name).arguments(commands.add_parser(name, help=entry.summary, description=_sentence(entry.summary)))
    return parser


def command_parser(name: str, prog: str | None = None) -> Parser:
    """The parser of one command, under the name by which it was called."""
    command = command_of(name)
    parser = Parser(prog=prog or f"xsffi {name}", description=_sentence(COMMANDS[name].summary))
    command.arguments(parser)
    return parser


def number_of(kind: Callable[[str], float], least: float, rule: str) -> Callable[[str], Any]:
    """The type of an argument that is a number from so many on."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not least <= number < float("inf"):  # and no nan
            raise argparse.ArgumentTypeError(f"{rule}, not {text!r}")
        return number

    return parse


seconds = number_of(float, 0, "seconds are a number from 0 on")


def _options_first(
    parser: Parser, arguments: Sequence[str]
) -> tuple[Sequence[str], tuple[argparse.Action, list[str]] | None]:
    """The same arguments in an order that argparse of each version of Python takes: as with getopt, options may stand
    anywhere before a ``--``, and the value of one may begin with a dash. Apart from these, an option that takes all
    that follows it, and that, of which argparse would take a ``--`` away."""
    if not all(action.nargs in (0, None, argparse.REMAINDER) for action in parser._option_string_actions.values()):
        return arguments, None  # where an option's values end is for argparse to tell
    for action in parser._get_positional_actions():
        if action.nargs == argparse.REMAINDER:  # all behind what comes before it is another program's
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
        elif lacking.nargs is not None:  # all the rest is another program's
            return [*options, *others, argument], (lacking, list(rest))
        else:
            value = next(rest, None)
            if value is not None and value.startswith("-"):
                options.append(f"{argument}={value}" if argument.startswith("--") else f"{argument}{value}")
            else:
                options += [argument] if value is None else [argument, value]
    return [*options, "--", *others] if others else options, None


def _lacking_value(parser: Parser, argument: str) -> argparse.Action | None:
    """The option whose value is the next argument, if it is one. Raises UsageError where there is no such option."""
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
        parser.error(f"{option} stands before the command: xsffi {option} …")
    parser.error(f"unknown option {option}; put -- before arguments that begin with a dash")


def store_text() -> str:
    """Where the store is."""
    return _STORE.format(socket=default_socket())


def _add_options(parser: Parser) -> None:
    """Those that stand before a command."""
    parser.add_argument("--socket", metavar="PATH", help="the daemon's socket, or the kernel's device")
    parser.add_argument(
        "--backend", choices=("auto", "libxenstore", "wire"), default="auto", help="what carries the requests"
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
        help="relative paths, and a PATH that is not given, are of this domain's home; its number or name",
    )
    parser.add_argument("--trace", action="store_true", help="tell of each request and reply on stderr")
    parser.add_argument("--version", action="store_true", help="the versions of all that is at work, and which backend")


def _epilog() -> str:
    commands = "\n".join(f"  {name:<12} {entry.summary}" for name, entry in COMMANDS.items())
    return _COMMANDS.format(commands=commands) + store_text()


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."
