"""The waist: what a backend is. All above it is the same for every backend; all below knows nothing of that."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, Union

from ..addresses import Kind
from ..errors import ClientClosedError, ForkedError, XenStoreError
from ..protocol.requests import Request
from ..records import WatchEvent

__all__ = ["Backend", "Forkable", "Outcome", "closed_error", "forked_error", "tell_of_forks"]

T = TypeVar("T")
Outcome = Union[Any, XenStoreError]  # what a request of a batch came to: its decoded reply, or its error


class Backend(Protocol):
    """One connection to the store. Every method may be called from any thread, at any time.

    Each raises :class:`~xsffi.errors.ConnectionLostError` once the daemon is gone,
    :class:`~xsffi.errors.ClientClosedError` once the backend is closed, also where it was waiting then, and
    :class:`~xsffi.errors.ForkedError` in a child process.
    """

    name: str  # "libxenstore" or "wire"
    kind: Kind  # what it talks through

    #: Reads the value of a node, outside a transaction, by the shortest way there is. It raises nothing: what comes
    #: instead of bytes, also where the path is wrong or the connection is over, is for :meth:`finish_read`.
    try_read: Callable[[str], Any]

    def finish_read(self, path: str, tried: Any) -> bytes:
        """Go on from what `try_read` came to: the value of the node, or the error."""

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Carry one request; give its decoded reply, or raise its error."""

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        """Carry many; an error stands in the place of its reply. Every reply is in before this returns."""

    def bulk(self) -> Backend:
        """The backend for many requests at once, which has them on their way together: this one, or one of its own to
        the same daemon. What :meth:`call` has done is seen there, transactions are of one or the other."""

    def sibling(self) -> Backend:
        """Another connection to the same place, over the wire, for whoever asks to use and to close."""

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event, its token as it came over the wire; None when none came for `timeout` seconds (None: for
        ever)."""

    def fileno(self) -> int:
        """A descriptor that is readable whenever :meth:`next_event` would return an event or raise."""

    def close(self) -> None:
        """Let go of the connection and wake every waiter. Closing again does nothing."""


class Forkable(Protocol):
    """What wants to be told, in a child process, that it is the parent's."""

    def after_fork_in_child(self) -> None:
        """Never use the connection again, and let go of the child's copies of its descriptors."""


_forkables: weakref.WeakValueDictionary[int, Forkable] = weakref.WeakValueDictionary()


def tell_of_forks(backend: Forkable) -> None:
    """Have `backend` told of every fork for as long as it lives."""
    _forkables[id(backend)] = backend


def _after_fork_in_child() -> None:
    for backend in list(_forkables.values()):
        backend.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def closed_error() -> ClientClosedError:
    """What a closed backend raises."""
    return ClientClosedError(errno.EBADF, "the client is closed")


def forked_error() -> ForkedError:
    """What a backend raises in a child of the process that opened it."""
    return ForkedError(errno.EBADF, "the client was opened by the parent of this process: a child opens one of its own")
