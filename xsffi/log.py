"""The log ``xsffi``, of the standard library's :mod:`logging`: that is imported where the program has done so, or there
is something to warn of."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

__all__ = ["DEBUG", "INFO", "debug", "exception", "info", "is_enabled", "logger", "warning"]

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
