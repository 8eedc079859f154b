"""Where the process of the command begins: Ctrl-C ends it without a traceback while it is importing, too."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would import enum

_HELD = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
if _HELD:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from .main import main as _main  # noqa: E402

__all__ = ["main"]


def main() -> int:
    """See :func:`xsffi.cli.main.main`."""
    if _HELD:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return _main()
