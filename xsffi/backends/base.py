"""The waist: what a backend is. All above it is the same for every backend; all beneath knows nothing of callbacks,
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

    Outcome = Union[Any, XenStoreError]  # what a request of a batch came to: its decoded reply, or its error

__all__ = ["Backend", "Events", "Outcome"]


class Events(Protocol):
    """The queue of those events whose token has its prefix. Its methods raise what those of its backend do."""

    def new_token(self) -> bytes:
        """A token for a watch whose events are to come here. No other watch of the connection ever had it."""

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        """The next event, its token as it came over the wire; None when none came for `timeout` seconds (None: for
        ever), or earlier where :meth:`wake` was called. When the daemon is gone, what came before is given first."""

    def put_back(self, event: WatchEvent) -> None:
        """Make this the next event: it was taken, and could not be handed on."""

    def drop(self, token: bytes) -> None:
        """Drop the events of a watch that was taken away; none comes any more."""

    def wake(self) -> None:
        """End the wait of :meth:`next_event`, or the next one. Any thread and any signal handler may: it takes no
        lock."""

    def fileno(self) -> int:
        """A descriptor that is readable whenever :meth:`next_event` would return an event or raise."""

    def close(self) -> None:
        """Drop what is here, and what comes for it still. Its watches are to be taken away before."""


class Backend(Protocol):
    """One connection to the store. Every method may be called from any thread, at any time.

    Each raises :class:`~xsffi.errors.ConnectionLostError` once the daemon is gone,
    :class:`~xsffi.errors.ClientClosedError` once the backend is closed, also where it was waiting then, and
    :class:`~xsffi.errors.ForkedError` in a child process. One that interrupts its own thread's call, from a signal
    handler or a finalizer, is carried out whole, or raises XenStoreError with EDEADLK before anything is sent.
    """

    name: str  # "libxenstore" or "wire"
    kind: str  # what it talks through: a Kind of xsffi.addresses
    path: str  # where it is connected to: a socket or a device
    description: str  # what it is, for people: its name, where it is connected to, what of it is in C

    def read(self, path: str) -> bytes:
        """The value of a node, outside a transaction: as :meth:`call` with Read, in less time."""

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        """Carry one request; give its decoded reply, or raise its error."""

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Outcome]:
        """Carry many, in order; an error stands in the place of its reply. Every reply is in before this returns.
        `within`: how many seconds a few may take, if that is less than the timeout; libxenstore knows no such thing.

        :class:`~xsffi.protocol.lookups.Lookups` are in no order, and give what they come to for each path;
        :class:`~xsffi.protocol.lookups.Parts` are in order within each part. Outside a transaction both go over several
        connections where they are many."""

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        """Have the daemon take back what an interrupted call may have set up; what it says to that is dropped, and
        nothing is done where the connection is over. libxenstore waits for the reply."""

    def events(self, prefix: str = "", limit: int = 0) -> Events:
        """A new queue of events. `prefix`: of its tokens; empty, or one that ends with a colon and that no other open
        queue has. `limit`: how many events may wait in it, 0 for any number; where there is one more, those before it
        are dropped, and an event whose path and token are empty stands for them."""

    def bulk(self) -> Backend:
        """The backend for many requests at once, which has them on their way together: this one, or a further
        connection to the same daemon, opened when first wanted and closed with this one. What :meth:`call` has done is
        seen there; transactions and watches are of one or the other."""

    def close(self) -> None:
        """Let go of the connection and wake every waiter. Again does nothing. It takes no lock, so that any thread and
        any signal handler may call it; the last thread out releases the descriptors."""
