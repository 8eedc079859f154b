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
        :class:`~xsffi.cli.output.Output` and the parsed arguments, and returns the exit status. `paths` names the
        arguments that are paths, so that relative ones can be resolved against the domain given; for a list, a slice of
        it. A path that is None becomes the top: ``/``, or that domain's home.

        A command that `connects_itself`, if at all, is given an :class:`~xsffi.cli.opening.Opening` instead of the
        client, and unresolved paths. `failure` is the exit status for errors of the store or a node.
        """

        arguments: Callable[[ArgumentParser], object]
        run: Callable[..., int]
        paths: Mapping[str, slice | None] = {}
        connects_itself: bool = False
        failure: int = 1
else:
    Command = namedtuple(
        "Command", ["arguments", "run", "paths", "connects_itself", "failure"], defaults=[{}, False, 1]
    )

__all__ = ["ALL", "OPTIONAL", "Command", "command_of"]

ALL = slice(None)  # the whole argument: a path, or a list of paths
OPTIONAL = None  # a path, which stays None without a domain


def command_of(name: str) -> Command:
    """The command of this name in COMMANDS; imports its module."""
    module: Any = __import__(f"{__package__}.{COMMANDS[name].module}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[name]
    return command
