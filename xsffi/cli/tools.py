"""What is common to the commands that xenstore-utils also have."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..sync.client import Client
    from ..sync.nodes import NodeOperations

__all__ = ["add_socket_flag", "together"]

_ATTEMPTS = 1000  # some 50 seconds; xenstore-utils retry forever


class _Ignore(argparse.Action):
    """An option that is ignored."""

    def __call__(self, *_: Any) -> None:
        pass


def add_socket_flag(parser: argparse.ArgumentParser) -> None:
    """``-s``, which selected the daemon's socket until Xen 4.14, and is still accepted by xenstore-utils."""
    parser.add_argument(
        "-s",
        "--socket",
        action=_Ignore,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="ignored, as by xenstore-utils",
    )


def together(xs: Client, work: Callable[[NodeOperations], object], alone: bool) -> None:
    """Do some work in a transaction, retried on conflicts; directly if it is a single request (`alone`)."""
    if alone:
        work(xs)
    else:
        xs.transact(work, _ATTEMPTS)
