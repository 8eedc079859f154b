"""What Ctrl-C does to the command's process."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would import enum

__all__ = ["end_at_once", "raise_exceptions"]


def end_at_once() -> None:
    """Let Ctrl-C kill the process, as it does a program in C: even during an import, or a request over libxenstore to a
    daemon that does not answer. Closing the connection undoes everything it had set up."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def raise_exceptions() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on, since there is something to clean up."""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
