"""What can go wrong, as exceptions: one tree, and one registry of errno, wire name and class.

Every error of XenStore is an :class:`XenStoreError`, which is an :class:`OSError` with ``errno`` and, where one path is
concerned, ``filename``. Where Python has a builtin for the case, the class is that builtin too, so that
``except FileNotFoundError`` does what a reader expects.
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
    """The default that is none."""

    def __repr__(self) -> str:
        return "<raise>"


RAISE: Any = _Raise()  #: in place of a default: the error is raised


class XenStoreError(OSError):
    """The base of all errors of this package, and the class of those that have none of their own.

    ``errno`` is the errno that the daemon, libxenstore or the kernel gave; ``filename`` is the node's path, or None;
    ``wire_name`` is the name that came over the wire, also where it is one that this version does not know.
    """

    wire_name: str | None = None


class NodeNotFoundError(XenStoreError, FileNotFoundError):
    """There is no such node, watch or domain (ENOENT)."""


class WatchExistsError(XenStoreError, FileExistsError):
    """The same path is watched with the same token already (EEXIST)."""


class AccessDeniedError(XenStoreError, PermissionError):
    """The domain that asks has no right to do that (EACCES, EPERM)."""


class InvalidArgumentError(XenStoreError, ValueError):
    """A path, permission, number or text breaks a rule of XenStore (EINVAL), found here or by the daemon."""


class TooBigError(XenStoreError):
    """A path, value or message is longer than XenStore carries (E2BIG), found here or by the daemon."""


class QuotaExceededError(XenStoreError):
    """The domain that asks has used up a quota (ENOSPC; oxenstored says EQUOTA, which is EDQUOT here)."""


class TransactionConflictError(XenStoreError):
    """The transaction was not committed: somebody else changed what it had used (EAGAIN). Nothing of it was written.

    Or what takes several requests to read, a whole tree or a long list of children, kept changing meanwhile.
    """


class TransactionGoneError(XenStoreError):
    """The daemon does not know this transaction, or no longer (xenstored says ENOENT, oxenstored EIO)."""


class NotSupportedError(XenStoreError, NotImplementedError):
    """This backend, library or daemon cannot do that (ENOSYS); the text says which, and since when others can."""


class WaitTimeoutError(XenStoreError, TimeoutError):
    """The time given was up before anything came (ETIMEDOUT). Nothing is lost: the next wait goes on from here."""


class ConnectionLostError(XenStoreError, ConnectionError):
    """The daemon is gone, or the connection broke. It does not come back: open a new client."""


class ProtocolError(XenStoreError):
    """The other end sent what no daemon sends (EPROTO). Where that broke the stream, the connection was given up."""


class ClientClosedError(XenStoreError, ValueError):
    """The client was closed (EBADF), before the call or while it waited."""


class ForkedError(XenStoreError, RuntimeError):
    """The client belongs to the parent of this process (EBADF). A child opens a client of its own."""


class BackendUnavailableError(XenStoreError, ConnectionError):
    """No backend could be opened. ``attempts`` lists what was tried, each with the reason why it failed."""

    attempts: tuple[tuple[str, str], ...] = ()


# Errno, name over the wire, class. The names are those of xs_wire.h's xsd_errors, and EQUOTA, which oxenstored sends
# beside them.
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
    """The exception for an errno, with the system's text for it or one of your own."""
    cls = _CLASSES.get(number, XenStoreError)
    text = message or os.strerror(number)
    return cls(number, text) if path is None else cls(number, text, path)


def error_from_wire(name: str, path: str | None = None, message: str | None = None) -> XenStoreError:
    """The exception for the payload of an ERROR message, with the system's text for its errno or one of your own.

    A name that nobody knows becomes an :class:`XenStoreError` with errno EIO whose text and ``wire_name`` tell the
    name.
    """
    number = _NUMBERS.get(name)
    if number is None:
        error = error_from_errno(errno.EIO, path, f"the daemon answered {name!r}, an error unknown here")
    else:
        error = error_from_errno(number, path, message)
    error.wire_name = name
    return error


def wire_name(number: int) -> str:
    """The name that goes over the wire for an errno; EINVAL where the protocol has none, as the daemons do."""
    return _NAMES.get(number, "EINVAL")


def closed_error() -> ClientClosedError:
    """What a closed client raises."""
    return ClientClosedError(errno.EBADF, "the client is closed")


def forked_error() -> ForkedError:
    """What a client raises in a child of the process that opened it."""
    return ForkedError(errno.EBADF, "the client was opened by the parent of this process: a child opens one of its own")


def lost_error(reason: str | None = None) -> ConnectionLostError:
    """What is raised once the connection is lost, with what is known of the reason."""
    return ConnectionLostError(
        errno.ECONNRESET, f"the connection to the store is lost: {reason or 'the daemon closed it'}"
    )


def interrupted_error(kind: type[BaseException]) -> ConnectionLostError:
    """What is raised once an exception of this kind has come in the middle of a step, so that the connection was given
    up."""
    return lost_error(f"{kind.__name__} came in the middle of a step, and nobody knows how far it got")


def timeout_error(seconds: float | None) -> WaitTimeoutError:
    """What a request raises whose reply did not come in time."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"no reply came for {seconds} seconds")


def reentered_error() -> XenStoreError:
    """What a call raises that interrupts its own thread's call where it cannot be carried out."""
    return error_from_errno(
        errno.EDEADLK, None, "a signal handler or finalizer used the client in the middle of its own thread's call"
    )


def unavailable_error(attempts: Sequence[tuple[str, OSError]]) -> BackendUnavailableError:
    """What is raised where there is no way to the store: what was tried, and why it failed."""
    reasons = tuple((what, error.strerror or str(error)) for what, error in attempts)
    # The first of libxenstore's reasons says nothing of the places.
    number = next((error.errno for what, error in attempts if " at " in what and error.errno), errno.ENOENT)
    tried = "; ".join(f"{what}: {why}" for what, why in reasons)
    unavailable = BackendUnavailableError(number, f"no way to the store was found. Tried {tried}")
    unavailable.attempts = reasons
    return unavailable
