"""What is seen from outside: the log ``xsffi``, and the trace on stderr.

The log is of the standard library's :mod:`logging`: that is imported where the program has done so, or there is
something to warn of.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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


def tell_of_requests(description: str, attempts: Sequence[tuple[str, OSError]]) -> Tell | None:
    """What is to be told of each request and reply of a client that is being opened: the log at DEBUG, or stderr where
    ``XSFFI_TRACE=1`` is in the environment; None where nobody looks.

    That one is told at once, and the log at INFO already, which backend was chosen, by its description, and why others
    that were tried are not.
    """
    traced = os.environ.get("XSFFI_TRACE", "0") not in ("", "0")
    if traced or is_enabled(INFO):
        refused = "".join([f"; not {what}: {error.strerror or error}" for what, error in attempts])
        (_to_stderr if traced else _to_info)(f"the backend is {description}{refused}")
    if traced:
        return _to_stderr
    return _to_log if is_enabled(DEBUG) else None


def _to_info(text: str) -> None:
    info("%s", text)


def _to_stderr(text: str) -> None:
    """Write a line there, in one piece; where stderr is closed, nowhere."""
    try:
        sys.stderr.write(f"xsffi: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
        pass  # it is closed, or this is a signal handler that came in the middle of the same: the program goes on


def _to_log(text: str) -> None:
    debug("%s", text)
