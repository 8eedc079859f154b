"""The exceptions: one class hierarchy, and one registry of errno, wire name and class.

Every error of XenStore is an :class:`XenStoreError`, which is an :class:`OSError` with ``errno`` and, if it is about a
path, ``filename``. If Python has a builtin class for the case, the exception is one of that too, so that ``except
FileNotFoundError`` works as expected.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "RAISE",
    "AccessDeniedError",
    "BackendUnavailableError",
    "ClientClosedError",
    "ConnectionLostError",
    "ForkedError",
    "InvalidArgumentError",
    "NodeNotFoundError",
    "NotSupportedError",
    "ProtocolError",
    "QuotaExceededError",
    "TooBigError",
    "TransactionConflictError",
    "TransactionGoneError",
    "WaitTimeoutError",
    "WatchExistsError",
    "XenStoreError",
    "closed_error",
    "error_from_errno",
    "error_from_wire",
    "forked_error",
    "interrupted_error",
    "lost_error",
    "reentered_error",
    "timeout_error",
    "unavailable_error",
    "wire_name",
]


class _Raise:
    """A default that means that there is none."""

    def __repr__(self) -> str:
        return "<raise>"


RAISE: Any = _Raise()  #: instead of a default: raise the error


class XenStoreError(OSError):
    """The base class of all errors of this package; raised itself for errors without a class of their own.

    ``errno`` is the errno that the daemon, libxenstore or the kernel reported; ``filename`` is the node's path, or
    None; ``wire_name`` is the name as it was received, even if this version does not know it.
    """

    wire_name: str | None = None


class NodeNotFoundError(XenStoreError, FileNotFoundError):
    """No such node, watch or domain (ENOENT)."""


class WatchExistsError(XenStoreError, FileExistsError):
    """This path is already watched with this token (EEXIST)."""


class AccessDeniedError(XenStoreError, PermissionError):
    """The calling domain lacks permission for this (EACCES, EPERM)."""


class InvalidArgumentError(XenStoreError, ValueError):
    """A path, permission, number or text breaks a rule of XenStore (EINVAL); detected here or by the daemon."""


class TooBigError(XenStoreError):
    """A path, value or message is too long for XenStore (E2BIG); detected here or by the daemon."""


class QuotaExceededError(XenStoreError):
    """The calling domain has used up a quota (ENOSPC; oxenstored says EQUOTA, which is EDQUOT here)."""


class TransactionConflictError(XenStoreError):
    """The transaction was not committed: another client changed what it had used (EAGAIN). Nothing of it was written.

    Or something that takes several requests to read, a tree or a long list of children, kept changing meanwhile.
    """


class TransactionGoneError(XenStoreError):
    """The daemon does not, or no longer, know this transaction (xenstored says ENOENT, oxenstored EIO)."""


class NotSupportedError(XenStoreError, NotImplementedError):
    """The backend, library or daemon does not support this (ENOSYS); the text says which, and which version does."""


class WaitTimeoutError(XenStoreError, TimeoutError):
    """The time limit passed before anything arrived (ETIMEDOUT). Nothing is lost: the next wait continues from here."""


class ConnectionLostError(XenStoreError, ConnectionError):
    """The daemon is gone, or the connection broke. It cannot be restored: open a new client."""


class ProtocolError(XenStoreError):
    """The other end sent something that no daemon sends (EPROTO). If that broke the stream, the connection was
    closed."""


class ClientClosedError(XenStoreError, ValueError):
    """The client was closed (EBADF), before the call or while it waited."""


class ForkedError(XenStoreError, RuntimeError):
    """The client belongs to the parent of this process (EBADF). A child process must open its own client."""


class BackendUnavailableError(XenStoreError, ConnectionError):
    """No backend could be opened. ``attempts`` lists what was tried, each with the reason for its failure."""

    attempts: tuple[tuple[str, str], ...] = ()


# Errno, wire name, class. The names are those of xsd_errors in xs_wire.h, and EQUOTA, which oxenstored sends as well.
_REGISTRY: tuple[tuple[int, str, type[XenStoreError]], ...] = (
    (errno.EINVAL, "EINVAL", InvalidArgumentError),
    (errno.EACCES, "EACCES", AccessDeniedError),
    (errno.EEXIST, "EEXIST", WatchExistsError),
    (errno.EISDIR, "EISDIR", XenStoreError),
    (errno.ENOENT, "ENOENT", NodeNotFoundError),
    (errno.ENOMEM, "ENOMEM", XenStoreError),
    (errno.ENOSPC, "ENOSPC", QuotaExceededError),
    (errno.EIO, "EIO", XenStoreError),
    (errno.ENOTEMPTY, "ENOTEMPTY", XenStoreError),
    (errno.ENOSYS, "ENOSYS", NotSupportedError),
    (errno.EROFS, "EROFS", AccessDeniedError),
    (errno.EBUSY, "EBUSY", XenStoreError),
    (errno.EAGAIN, "EAGAIN", TransactionConflictError),
    (errno.EISCONN, "EISCONN", XenStoreError),
    (errno.E2BIG, "E2BIG", TooBigError),
    (errno.EPERM, "EPERM", AccessDeniedError),
    (errno.EDQUOT, "EQUOTA", QuotaExceededError),
)
_NAMES = {number: name for number, name, _ in _REGISTRY}
_NUMBERS = {name: number for number, name, _ in _REGISTRY}
_CLASSES = {number: error for number, _, error in _REGISTRY}


def error_from_errno(number: int, path: str | None = None, message: str | None = None) -> XenStoreError:
    """The exception for an errno, with the system's text for it or the given message."""
    cls = _CLASSES.get(number, XenStoreError)
    text = message or os.strerror(number)
    return cls(number, text) if path is None else cls(number, text, path)


def error_from_wire(name: str, path: str | None = None, message: str | None = None) -> XenStoreError:
    """The exception for the payload of an ERROR message, with the system's text for its errno or the given message.

    An unknown name becomes an :class:`XenStoreError` with errno EIO; its text and ``wire_name`` contain the name.
    """
    number = _NUMBERS.get(name)
    if number is None:
        error = error_from_errno(errno.EIO, path, f"the daemon answered with an unknown error, {name!r}")
    else:
        error = error_from_errno(number, path, message)
    error.wire_name = name
    return error


def wire_name(number: int) -> str:
    """The wire name of an errno; EINVAL if the protocol has none, as the daemons do."""
    return _NAMES.get(number, "EINVAL")


def closed_error() -> ClientClosedError:
    """What calls on a closed client raise."""
    return ClientClosedError(errno.EBADF, "the client is closed")


def forked_error() -> ForkedError:
    """What calls in a child of the process that opened the client raise."""
    return ForkedError(
        errno.EBADF, "the client was opened by the parent of this process: a child process must open its own"
    )


def lost_error(reason: str | None = None) -> ConnectionLostError:
    """What calls on a lost connection raise, with the reason if it is known."""
    return ConnectionLostError(
        errno.ECONNRESET, f"the connection to the store is lost: {reason or 'the daemon closed it'}"
    )


def interrupted_error(kind: type[BaseException]) -> ConnectionLostError:
    """What calls raise after an exception of this kind interrupted a step, so that the connection was closed."""
    return lost_error(f"{kind.__name__} interrupted it in the middle of a step, which left its state unknown")


def timeout_error(seconds: float | None) -> WaitTimeoutError:
    """What a request raises if its reply is late."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"no reply within {seconds} seconds")


def reentered_error() -> XenStoreError:
    """What a call raises that interrupts another call of its own thread and cannot be carried out there."""
    return error_from_errno(
        errno.EDEADLK,
        None,
        "a signal handler or finalizer used the client in the middle of another call of its own thread",
    )


def unavailable_error(attempts: Sequence[tuple[str, OSError]]) -> BackendUnavailableError:
    """The error that no backend could be opened: what was tried, and why it failed."""
    reasons = tuple((what, error.strerror or str(error)) for what, error in attempts)
    # The first of libxenstore's reasons is not about a place.
    number = next((error.errno for what, error in attempts if " at " in what and error.errno), errno.ENOENT)
    tried = "; ".join(f"{what}: {why}" for what, why in reasons)
    unavailable = BackendUnavailableError(number, f"cannot connect to the store. Tried {tried}")
    unavailable.attempts = reasons
    return unavailable
