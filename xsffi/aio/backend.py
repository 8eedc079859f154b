"""The backend interface, awaited: encodes requests and decodes replies. Like :mod:`xsffi.backends.base`, but over a
single connection: in one thread of Python, more would gain nothing."""

from __future__ import annotations

from ..addresses import Kind
from ..protocol.batches import BATCHES, Lane
from ..protocol.lookups import Lookups
from ..protocol.session import reply_of
from ..protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, too_big_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..protocol.requests import Request
    from ..protocol.session import EventQueue
    from ..static_types import T
    from .connection import Connection, Receiver

__all__ = ["Backend"]


class Backend:
    """One connection to the store. Each method raises :class:`~xsffi.errors.ConnectionLostError` once the daemon is
    gone, :class:`~xsffi.errors.ClientClosedError` once it is closed, even while it waits,
    :class:`~xsffi.errors.ForkedError` in a child process, and RuntimeError in another event loop."""

    name = "wire"

    def __init__(self, connection: Connection, kind: str, path: str) -> None:
        """Takes ownership of `connection`, which is connected to `path`."""
        self.kind = kind
        self.path = path
        self.description = f"the wire at {path}, in asyncio"
        self._connection = connection
        self._payload_max = PAYLOAD_MAX if kind == Kind.SOCKET else DEVICE_PAYLOAD_MAX

    async def call(self, request: Request[T], tx_id: int = 0, within: float | None = None) -> T:
        """Send one request; return its decoded reply, or raise its error. `within`: how many seconds it may take, if
        less than the timeout of the connection."""
        payload = request.payload()
        if len(payload) > self._payload_max:
            raise too_big_error(len(payload), request.path, self._payload_max)
        connection = self._connection
        (reply,) = await connection.replies(connection.send_many(((request.type, payload),), tx_id), within)
        return request.decode(reply) if type(reply) is bytes else reply_of(request, reply)

    async def call_many(
        self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None
    ) -> list[Any]:
        """Send many requests, in order; return one outcome each. For :class:`~xsffi.protocol.lookups.Lookups` there is
        one for each path."""
        connection = self._connection
        # Encodes, and so validates, all before any is sent.
        lane = Lane(list(requests), self._payload_max, lambda messages: connection.send_many(messages, tx_id))
        try:
            while lane.send(BATCHES):
                lane.take(await connection.replies(lane.exchanges[0], within))
        except BaseException:
            for exchange in lane.exchanges:
                connection.forget(exchange)
            raise
        return requests.combine(lane.outcomes) if isinstance(requests, Lookups) else lane.outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        """Have the daemon undo what an interrupted call may have set up. The reply is ignored, and nothing is done on a
        closed or lost connection."""
        self._connection.post(request.type, request.payload(), tx_id)

    def open_queue(self, prefix: str, receiver: Receiver) -> EventQueue:
        """A new queue of events, delivered to `receiver`. `prefix` selects by token: it is empty, or ends with a colon
        and is used by no other open queue."""
        return self._connection.open_queue(prefix, receiver)

    def close_queue(self, queue: EventQueue) -> None:
        """Discard future events of the queue. Remove its watches first."""
        self._connection.close_queue(queue)

    def check(self) -> None:
        """Raise if no call can succeed: closed, lost, in a child process or another event loop."""
        self._connection.check()

    def check_place(self) -> None:
        """Raise in a child process or another event loop."""
        self._connection.check_place()

    def close(self) -> None:
        """Close the connection and end every wait. Idempotent."""
        self._connection.close()
