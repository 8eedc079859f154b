"""What a command is made of."""

from __future__ import annotations

from collections import namedtuple

from . import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping
    from typing import Any, NamedTuple

    class Command(NamedTuple):
        """A command, as its module has it in ``COMMANDS``, by its name.

        `arguments` tells a parser what it takes. `run` is called as ``run(xs, out, **arguments)`` with a client, an
        :class:`~xsffi.cli.output.Output` and what the parser found, and gives the exit status. `paths` names which
        arguments are paths, so that relative ones are those of the domain that was asked for; of an argument that is a
        list, a slice. One that is None becomes the top: ``/``, or that domain's home.

        A command that `connects_itself`, perhaps never, is given an :class:`~xsffi.cli.opening.Opening` in place of the
        client, and paths as they are. `failure` is the exit status where the store, or a node, stands in the way.
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

ALL = slice(None)  # of an argument: it is a path, or a list of them
OPTIONAL = None  # it is a path, which stays None without a domain


def command_of(name: str) -> Command:
    """The command of a name of the table; its module is imported."""
    module: Any = __import__(f"{__package__}.{COMMANDS[name].module}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[name]
    return command
