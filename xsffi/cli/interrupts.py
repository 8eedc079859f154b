"""What Ctrl-C does to the process of the command."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would import enum

__all__ = ["end_at_once", "raise_exceptions"]


def end_at_once() -> None:
    """Ctrl-C ends the process, as it ends one in C: also in the middle of an import, or of a request over libxenstore
    to a daemon that does not answer. With its connection all is gone that was set up."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def raise_exceptions() -> None:
    """It raises KeyboardInterrupt from here on, since there is something to be put right before the end."""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
