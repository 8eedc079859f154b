"""``xsffi manual``: the man pages, generated from the parsers by argparse-manpage."""

from __future__ import annotations

import os

from ..lazy import imported
from . import COMMANDS as TABLE
from .command import Command
from .parsers import UsageError, command_parser, global_parser, store_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS", "manual"]

_INSTALL = "pip install 'xsffi[shell]'"


def _arguments(parser: ArgumentParser) -> None:
    parser.epilog = f"To read one: xsffi manual watch | man -l -. Requires argparse-manpage ({_INSTALL})."
    parser.add_argument(
        "page", metavar="PAGE", nargs="?", choices=tuple(TABLE), help="a command; by default, the page of xsffi itself"
    )
    parser.add_argument(
        "--directory", metavar="DIRECTORY", help="write all pages there: xsffi.1, xsffi-read.1 and so on"
    )


def manual(_: Opening, out: Output, page: str | None = None, directory: str | None = None) -> int:
    """Print a man page, or write all of them to files in an existing directory."""
    if directory is None:
        out.write(_page(page).encode("utf-8"))
        return 0
    if page is not None:
        raise UsageError(
            "--directory writes all pages, so it does not go with PAGE", "xsffi manual --directory DIRECTORY"
        )
    for name in (None, *TABLE):
        path = os.path.join(directory, f"{_title(name)}.1")
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(_page(name))
        except OSError as error:
            out.complain(f"{path}: {error.strerror}")
            return 1
    return 0


def _page(name: str | None) -> str:
    """The page of a command, or of xsffi, in man's format."""
    try:
        from argparse_manpage.manpage import Manpage
    except ImportError:
        raise UsageError("man pages require argparse-manpage, which is not installed", _INSTALL) from None
    page = Manpage(_main_parser() if name is None else command_parser(name))
    page.prog = _title(name)
    page.description = "XenStore at a shell" if name is None else TABLE[name].summary
    page.source = f"xsffi {imported('xsffi').__version__}"
    page.manual = "User Commands"
    others = [_title(other) for other in (None, *TABLE) if other != name]
    page.add_section("see also", "=", ",\n".join([f".BR {other} (1)" for other in others]).replace("-", "\\-"))
    return str(page)


def _main_parser() -> ArgumentParser:
    parser = global_parser()
    commands = parser.add_argument_group("commands")
    for name, entry in TABLE.items():
        commands.add_argument(name, help=entry.summary)
    parser.epilog = store_text()  # without the list of commands
    return parser


def _title(name: str | None) -> str:
    return "xsffi" if name is None else f"xsffi-{name}"


COMMANDS = {"manual": Command(_arguments, manual, connects_itself=True)}
