"""The parts of a command."""

from __future__ import annotations

from collections import namedtuple

from . import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping
    from typing import Any, NamedTuple

    class Command(NamedTuple):
        """A command, listed by name in its module's ``COMMANDS``.

        `arguments` adds its arguments to a parser. `run` is called as ``run(xs, out, **arguments)`` with a client, an
        :class:`~xsffi.cli.output.Output` and the parsed arguments, and returns the exit status. `kinds` says which
        arguments are paths or domains, for the option ``--domain`` and for completion; a command without any refuses
        that option.

        A command that `connects_itself`, if at all, is given an :class:`~xsffi.cli.opening.Opening` instead of the
        client, and unresolved paths. `failure` is the exit status for errors of the store or a node.
        """

        arguments: Callable[[ArgumentParser], object]
        run: Callable[..., int]
        kinds: Mapping[str, str] = {}
        connects_itself: bool = False
        failure: int = 1
else:
    Command = namedtuple(
        "Command", ["arguments", "run", "kinds", "connects_itself", "failure"], defaults=[{}, False, 1]
    )

__all__ = [
    "DOMAIN",
    "FILE_OR_PATH",
    "OPTIONAL_PATH",
    "PATH",
    "PATHS",
    "PATHS_AND_VALUES",
    "Command",
    "command_of",
]

# The kinds of arguments. Relative paths are below the home of the domain in --domain.
PATH = "path"  # if missing, that home, or the root
PATHS = "paths"  # a list; if empty, of that home, or the root
PATHS_AND_VALUES = "paths and values"  # a list of both in turn
OPTIONAL_PATH = "optional path"  # if missing, that home; None without one
FILE_OR_PATH = "file or path"
DOMAIN = "domain"  # if missing, the domain in --domain


def command_of(name: str) -> Command:
    """The command of this name in COMMANDS; imports its module."""
    module: Any = __import__(f"{__package__}.{COMMANDS[name].module}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[name]
    return command
