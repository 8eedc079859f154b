"""Validation of arguments other than paths and values: timeouts, attempts, numbers of connections."""

from __future__ import annotations

import errno
import os

from .errors import InvalidArgumentError

__all__ = [
    "connections_from",
    "validate_attempts",
    "validate_callable",
    "validate_callback",
    "validate_count",
    "validate_depth",
    "validate_seconds",
    "validate_timeout",
]

_CONNECTIONS_MAX = 16
_DEPTH_MAX = 0x7FFFFFFF  # a C int in xenstored


def validate_timeout(timeout: float | None) -> None:
    """Raises TypeError or ValueError unless it is a number of seconds or None."""
    if timeout is not None:
        validate_seconds(timeout, "a timeout", " or None")


def validate_seconds(seconds: float, what: str, otherwise: str = "") -> None:
    """Raises TypeError or ValueError, with `what` as its name, unless it is a number of seconds."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{what} must be a number of seconds{otherwise}, not {type(seconds).__name__}: {seconds!r}")
    try:
        seconds = float(seconds)
    except OverflowError:
        raise ValueError(f"{what} must fit into a float") from None
    if not seconds >= 0:  # nor NaN
        raise ValueError(f"{what} must not be negative: {seconds!r}")


def validate_count(count: int, what: str) -> None:
    """Raises ValueError, with `what` as its name, unless it is a number of things."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{what} must be an int of at least 0, not {count!r}")


def validate_attempts(attempts: int) -> int:
    """`attempts` if it is a valid number of attempts; otherwise raises ValueError."""
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise ValueError(f"attempts must be an int of at least 1, not {attempts!r}")
    return attempts


def validate_depth(depth: int | None) -> None:
    """Raises TypeError or InvalidArgumentError unless it is a valid depth of a watch, or None."""
    if depth is None:
        return
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise TypeError(f"a depth must be an int or None, not {type(depth).__name__}: {depth!r}")
    if not 0 <= depth <= _DEPTH_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"a depth must be from 0 to {_DEPTH_MAX}, not {depth}")


def validate_callable(function: object, what: str) -> None:
    """Raises TypeError, with `what` as its name, if it is not callable."""
    if not callable(function):
        raise TypeError(f"{what} must be callable, not {type(function).__name__}: {function!r}")


def validate_callback(callback: object) -> None:
    """Raises TypeError if it is neither callable nor None."""
    if callback is not None:
        validate_callable(callback, "a callback")


def connections_from(number: int | None) -> int | None:
    """The most connections to use: `number`, or what ``XSFFI_CONNECTIONS`` says, or None."""
    if number is not None:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"connections must be an int or None, not {type(number).__name__}: {number!r}")
        if not 1 <= number <= _CONNECTIONS_MAX:
            raise ValueError(f"connections must be from 1 to {_CONNECTIONS_MAX}, not {number}")
        return number
    text = os.environ.get("XSFFI_CONNECTIONS")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= _CONNECTIONS_MAX):
        raise InvalidArgumentError(
            errno.EINVAL, f"XSFFI_CONNECTIONS must be from 1 to {_CONNECTIONS_MAX}, not {text!r}"
        )
    return int(text)
