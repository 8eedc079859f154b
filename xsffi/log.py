"""Diagnostics: the log ``xsffi``, and the trace on stderr.

The log uses the standard library's :mod:`logging`, which is only imported if the program has done so, or there is a
warning to log.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import Logger

    Tell = Callable[[str], object]  # called with a line of text

__all__ = ["DEBUG", "INFO", "debug", "exception", "info", "is_enabled", "logger", "tell_of_requests", "warning"]

DEBUG = 10  # as in logging
INFO = 20
_WARNING = 30
_ERROR = 40


def logger() -> Logger | None:
    """The logger ``xsffi``; None if logging cannot be imported, since no descriptors are left."""
    try:
        from logging import getLogger
    except OSError:
        return None
    return getLogger("xsffi")


def is_enabled(level: int) -> bool:
    """Whether anybody may see messages at this level, DEBUG or INFO: nobody can if logging was never imported."""
    return "logging" in sys.modules and (found := logger()) is not None and found.isEnabledFor(level)


def debug(text: str, *args: object) -> None:
    """Log at DEBUG, if that is enabled."""
    if is_enabled(DEBUG):
        _log(DEBUG, text, args)


def info(text: str, *args: object) -> None:
    """Log at INFO, if that is enabled."""
    if is_enabled(INFO):
        _log(INFO, text, args)


def warning(text: str, *args: object) -> None:
    """Log a warning."""
    _log(_WARNING, text, args)


def exception(text: str, *args: object) -> None:
    """Log the exception that is being handled."""
    _log(_ERROR, text, args, exc_info=True)


def tell_of_requests(description: str, attempts: Sequence[tuple[str, OSError]]) -> Tell | None:
    """Where a client that is being opened traces requests and replies: the log at DEBUG, or stderr if ``XSFFI_TRACE=1``
    is in the environment; None if tracing is off.

    Logs, at INFO or to the trace, the description of the backend that was chosen, and why others that were tried were
    not.
    """
    traced = os.environ.get("XSFFI_TRACE", "0") not in ("", "0")
    if traced or is_enabled(INFO):
        refused = "".join([f"; not {what}: {error.strerror or error}" for what, error in attempts])
        (_to_stderr if traced else _to_info)(f"the backend is {description}{refused}")
    if traced:
        return _to_stderr
    return _to_log if is_enabled(DEBUG) else None


def _log(level: int, text: str, args: tuple[object, ...], exc_info: bool = False) -> None:
    if found := logger():
        found.log(level, text, *args, exc_info=exc_info, stacklevel=3)  # as the caller of the function above


def _to_info(text: str) -> None:
    info("%s", text)


def _to_stderr(text: str) -> None:
    """Write a line to stderr in one piece; nothing if that is closed."""
    try:
        sys.stderr.write(f"xsffi: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        pass  # closed, or this is a signal handler that interrupted the same write


def _to_log(text: str) -> None:
    debug("%s", text)
