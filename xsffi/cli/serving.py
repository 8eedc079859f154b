"""``xsffi serve``: the same as ``python -m xsffi.server``."""

from __future__ import annotations

import argparse

from ..server.__main__ import add_arguments, serve
from .command import Command
from .output import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .opening import Opening
    from .output import Output

__all__ = ["COMMANDS"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Runs until SIGTERM or Ctrl-C. Clients find it with XENSTORED_PATH or --socket set to PATH."
    add_arguments(parser)


def _serve(_: Opening, out: Output, **options: Any) -> int:
    def fail(error: OSError) -> int:
        out.complain(text_of(error))
        return 1

    return serve(argparse.Namespace(**options), fail)


COMMANDS = {"serve": Command(_arguments, _serve, connects_itself=True)}
