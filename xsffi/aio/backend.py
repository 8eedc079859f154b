"""The waist, awaited: requests become messages, and replies what they say. As :mod:`xsffi.backends.base` tells it, over
one connection: a further one would gain nothing where all is done in one thread of Python."""

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
    gone, :class:`~xsffi.errors.ClientClosedError` once it is closed, also where it was waiting then,
    :class:`~xsffi.errors.ForkedError` in a child process, and RuntimeError in another event loop."""

    name = "wire"

    def __init__(self, connection: Connection, kind: str, path: str) -> None:
        """`connection`, to `path`, is the backend's from here on."""
        self.kind = kind
        self.path = path
        self.description = f"the wire at {path}, in asyncio"
        self._connection = connection
        self._payload_max = PAYLOAD_MAX if kind == Kind.SOCKET else DEVICE_PAYLOAD_MAX

    async def call(self, request: Request[T], tx_id: int = 0, within: float | None = None) -> T:
        """Carry one request; give its decoded reply, or raise its error. `within`: how many seconds it may take, if
        that is less than the timeout of the connection."""
        payload = request.payload()
        if len(payload) > self._payload_max:
            raise too_big_error(len(payload), request.path, self._payload_max)
        connection = self._connection
        (reply,) = await connection.replies(connection.send_many(((request.type, payload),), tx_id), within)
        return request.decode(reply) if type(reply) is bytes else reply_of(request, reply)

    async def call_many(
        self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None
    ) -> list[Any]:
        """Carry many, in order; an error stands in the place of its reply. Those of
        :class:`~xsffi.protocol.lookups.Lookups` give what they come to for each path."""
        connection = self._connection
        # All are made, and so checked, before any is sent.
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
        """Have the daemon take back what an interrupted call may have set up; what it says to that is dropped, and
        nothing is done where the connection is over."""
        self._connection.post(request.type, request.payload(), tx_id)

    def open_queue(self, prefix: str, receiver: Receiver) -> EventQueue:
        """A new queue of events, which `receiver` receives. `prefix`: of its tokens; empty, or one that ends with a
        colon and that no other open queue has."""
        return self._connection.open_queue(prefix, receiver)

    def close_queue(self, queue: EventQueue) -> None:
        """Drop what comes for it still. Its watches are to be taken away before."""
        self._connection.close_queue(queue)

    def check(self) -> None:
        """Raise what every call raises that cannot be carried out."""
        self._connection.check()

    def check_place(self) -> None:
        """Raise what every call raises in a child process, and in another event loop."""
        self._connection.check_place()

    def close(self) -> None:
        """Let go of the connection and end every wait. Again does nothing."""
        self._connection.close()
