"""What is seen from outside: the log ``xsffi``, and the trace on stderr.

The log is of the standard library's :mod:`logging`: that is imported where the program has done so, or there is
something to warn of.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    Tell = Callable[[str], object]  # is given a line of text

__all__ = ["DEBUG", "INFO", "debug", "exception", "info", "is_enabled", "logger", "tell_of_requests", "warning"]

DEBUG = 10  # the levels of logging
INFO = 20


def logger() -> Logger:
    """The log itself."""
    from logging import getLogger

    return getLogger("xsffi")


def is_enabled(level: int) -> bool:
    """Whether anybody may see what is said at this level, DEBUG or INFO: nobody can who has not imported logging."""
    return "logging" in sys.modules and logger().isEnabledFor(level)


def debug(text: str, *args: object) -> None:
    """Say something at DEBUG, if that is enabled."""
    if is_enabled(DEBUG):
        logger().debug(text, *args, stacklevel=2)


def info(text: str, *args: object) -> None:
    """Say something at INFO, if that is enabled."""
    if is_enabled(INFO):
        logger().info(text, *args, stacklevel=2)


def warning(text: str, *args: object) -> None:
    """Warn of something."""
    logger().warning(text, *args, stacklevel=2)


def exception(text: str, *args: object) -> None:
    """Report the exception that is being handled."""
    logger().error(text, *args, exc_info=True, stacklevel=2)


def tell_of_requests(choice: Callable[[], str]) -> Tell | None:
    """What is to be told of each request and reply of a client that is being opened: the log at DEBUG, or stderr where
    ``XSFFI_TRACE=1`` is in the environment; None where nobody looks. `choice` gives the text of which backend was
    chosen, which is told at once, to the log at INFO already."""
    if os.environ.get("XSFFI_TRACE", "0") not in ("", "0"):
        _to_stderr(choice())
        return _to_stderr
    if is_enabled(INFO):
        info("%s", choice())
    return _to_log if is_enabled(DEBUG) else None


def _to_stderr(text: str) -> None:
    """Write a line there, in one piece; where stderr is closed, nowhere."""
    try:
        sys.stderr.write(f"xsffi: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        pass  # it is closed, or this is a signal handler that came in the middle of the same: the program goes on


def _to_log(text: str) -> None:
    debug("%s", text)
