"""The interface of a backend. Code above it is the same for every backend; a backend knows nothing of callbacks,
retries or encodings."""

from __future__ import annotations

from ..errors import XenStoreError
from ..static_types import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Union

    from ..protocol.requests import Request
    from ..records import WatchEvent
    from ..static_types import T

    Outcome = Union[Any, XenStoreError]  # the result of one request in a batch: its decoded reply, or its error

__all__ = ["Backend", "Events", "Outcome"]


class Events(Protocol):
    """A queue of the events whose token starts with its prefix. Methods raise the same errors as the backend's."""

    def new_token(self) -> bytes:
        """A token for a watch whose events go to this queue; unique for the life of the connection."""

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event, with its token as received; None if none arrived within `timeout` seconds (None: no limit) or
        :meth:`wake` was called. Once the daemon is gone, events received earlier are returned first."""

    def put_back(self, event: WatchEvent) -> None:
        """Put back an event that was taken but could not be delivered; it is the next one again."""

    def drop(self, token: bytes) -> None:
        """Discard the pending events of a watch that was removed; the daemon sends no more."""

    def wake(self) -> None:
        """End the current, or else the next, wait in :meth:`next_event`. Takes no lock, so it is safe in any thread and
        signal handler."""

    def fileno(self) -> int:
        """A descriptor that is readable whenever :meth:`next_event` would return an event or raise."""

    def close(self) -> None:
        """Discard pending and future events. Remove the watches of this queue first."""


class Backend(Protocol):
    """One connection to the store. Every method may be called from any thread, at any time.

    Each method raises :class:`~xsffi.errors.ConnectionLostError` once the daemon is gone,
    :class:`~xsffi.errors.ClientClosedError` once the backend is closed, even while it waits, and
    :class:`~xsffi.errors.ForkedError` in a child process. A call made in a signal handler or finalizer that interrupts
    another call in the same thread either completes or raises XenStoreError with EDEADLK before anything is sent.
    """

    name: str  # "libxenstore" or "wire"
    kind: str  # what it is connected to: a Kind of xsffi.addresses
    path: str  # of that socket or device
    description: str  # human-readable: its name, its path, which parts are in C

    def read(self, path: str) -> bytes:
        """The value of a node, outside a transaction: :meth:`call` with Read, but faster."""

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Send one request; return its decoded reply, or raise its error."""

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Outcome]:
        """Send many requests, in order; return one outcome each, once all replies have arrived. `within`: time limit in
        seconds for a few requests, if shorter than the timeout; libxenstore ignores it.

        :class:`~xsffi.protocol.lookups.Lookups` are unordered, with one outcome per path;
        :class:`~xsffi.protocol.lookups.Parts` are ordered within each part. Outside a transaction, large ones of either
        kind are spread over several connections."""

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        """Have the daemon undo what an interrupted call may have set up. The reply is ignored, and nothing is done on a
        closed or lost connection. libxenstore waits for the reply."""

    def events(self, prefix: str = "", limit: int = 0) -> Events:
        """A new queue of events. `prefix` selects by token: it is empty, or ends with a colon and is used by no other
        open queue. `limit`: how many events may be pending, 0 for no limit; on overflow the pending ones are discarded,
        and an event with an empty path and token takes their place."""

    def bulk(self) -> Backend:
        """The backend for many requests at once, which pipelines them: this one, or another connection to the same
        daemon, opened on first use and closed with this one. It sees the effects of :meth:`call`; transactions and
        watches belong to one or the other."""

    def close(self) -> None:
        """Close the connection and wake every waiter. Idempotent. Takes no lock, so any thread and any signal handler
        may call it; the last thread to leave closes the descriptors."""
