"""``xsffi manual``: the man pages, generated from the parsers by argparse-manpage."""

from __future__ import annotations

import os

from ..lazy import imported
from . import COMMANDS as TABLE
from .command import Command
from .manual_texts import ENVIRONMENT, EXAMPLES, exit_statuses
from .parsers import DESCRIPTION, USAGE, Parser, UsageError, add_global_options, command_parser, store_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS", "manual"]

_INSTALL = "pip install 'xsffi[shell]'"
_LINE_MAX = 80
_EXAMPLE = """\
{}
.PP
.RS 4
.nf
$ {}
.fi
.RE
"""


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
    parser = _main_parser() if name is None else command_parser(name)
    epilog, parser.epilog = parser.epilog, None  # it would become a section named COMMENTS
    page = Manpage(parser)
    page.prog = _title(name)
    page.synopsis = [parser.prog, *map(_escaped, parser.format_usage().split()[1 + len(parser.prog.split()) :])]
    page.description = "XenStore at a shell" if name is None else TABLE[name].summary
    page.source = f"xsffi {imported('xsffi').__version__}"
    page.manual = "User Commands"
    sections = {
        "exit status": _list({str(status): meaning for status, meaning in exit_statuses(name).items()}),
        "environment": _list(ENVIRONMENT),
        "notes": page.format_text(epilog) if epilog else "",
        "examples": ".PP\n".join([_EXAMPLE.format(*map(_escaped, pair[::-1])) for pair in EXAMPLES[name].items()]),
        "see also": ",\n".join([f".BR {_escaped(_title(other))} (1)" for other in (None, *TABLE) if other != name]),
    }
    for heading, text in sections.items():
        if text:
            page.add_section(heading, "=", text.rstrip("\n"))
    lines = str(page).replace(_escaped(page.date), page.date, 1).splitlines()
    return "".join([f"{part}\n" for line in lines for part in _wrapped(line)])


def _main_parser() -> ArgumentParser:
    parser = Parser(prog="xsffi", usage=USAGE, epilog=store_text(), description=DESCRIPTION)
    add_global_options(parser)
    commands = parser.add_argument_group("commands")
    for name, entry in TABLE.items():
        commands.add_argument(name, help=entry.summary)
    return parser


def _list(meanings: Mapping[str, str]) -> str:
    return "".join([f".TP\n.B {term}\n{_escaped(meaning)}\n" for term, meaning in meanings.items()])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _wrapped(line: str) -> list[str]:
    """A line of text in several short ones, which makes no difference, but where it would become a macro of man's."""
    if len(line) <= _LINE_MAX or line.startswith("."):
        return [line]
    from textwrap import wrap

    parts = wrap(line, _LINE_MAX, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{part}" if part.startswith((".", "'")) else part for part in parts]


def _title(name: str | None) -> str:
    return "xsffi" if name is None else f"xsffi-{name}"


COMMANDS = {"manual": Command(_arguments, manual, connects_itself=True)}
