"""Many requests over one connection, or over several at the same time: each of these carries its own in order."""

from __future__ import annotations

from collections import deque
from itertools import islice

from ...errors import XenStoreError
from ...protocol.session import reply_of
from ...protocol.wire import too_big_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ...protocol.requests import Request
    from ...protocol.session import Message
    from ..base import Outcome
    from .native import Connection

__all__ = ["carry"]

# What makes a batch: few enough that the daemon has not answered it all, and found the buffer of the socket full,
# before it is received, while others are encoded and decoded.
_BATCH_REQUESTS = 64
_BATCH_BYTES = 65536
_BATCHES = 8  # how many are on their way at a time


class _Batch:
    """Requests on their way."""

    def __init__(self, requests: Sequence[Request[Any]], refused: dict[int, XenStoreError], exchange: Any) -> None:
        self.requests = requests
        self.refused = refused  # by their place, those that were not sent
        self.exchange = exchange  # of the others


class _Lane:
    """The requests that one connection carries, and what they came to."""

    def __init__(self, connection: Connection, requests: Sequence[Request[Any]], payload_max: int, tx_id: int) -> None:
        self._connection = connection
        self._requests = requests
        self._payload_max = payload_max
        self._tx_id = tx_id
        self._next = 0
        self._on_their_way: deque[_Batch] = deque()
        self.outcomes: list[Outcome] = []

    def send(self, batches: int) -> bool:
        """Have so many batches on their way, or all that are left; whether there is one."""
        while self._next < len(self._requests) and len(self._on_their_way) < batches:
            batch = self._make_batch()
            self._on_their_way.append(batch)
            self._next += len(batch.requests)
        return bool(self._on_their_way)

    def take(self) -> None:
        """Wait for the first batch on its way."""
        self.outcomes += self._outcomes(self._on_their_way[0])
        self._on_their_way.popleft()

    def forget(self) -> None:
        """Nobody waits for what is on its way any more."""
        for batch in self._on_their_way:
            self._connection.forget(batch.exchange)

    def _make_batch(self) -> _Batch:
        messages: list[Message] = []
        refused: dict[int, XenStoreError] = {}
        size = 0
        requests = self._requests[self._next : self._next + _BATCH_REQUESTS]
        for place, request in enumerate(requests):
            payload = request.payload()
            if len(payload) > self._payload_max:
                refused[place] = too_big_error(len(payload), request.path, self._payload_max)
            else:
                messages.append((request.type, payload))
                size += len(payload)
                if size > _BATCH_BYTES:
                    requests = requests[: place + 1]
                    break
        return _Batch(requests, refused, self._connection.send_many(messages, self._tx_id))

    def _outcomes(self, batch: _Batch) -> list[Outcome]:
        replies = iter(self._connection.replies(batch.exchange))
        outcomes: list[Outcome] = []
        for place, request in enumerate(batch.requests):
            if place in batch.refused:
                outcomes.append(batch.refused[place])
                continue
            try:
                outcomes.append(reply_of(request, next(replies)))
            except XenStoreError as error:
                outcomes.append(error)
        return outcomes


def carry(
    connections: Sequence[Connection], parts: Sequence[Sequence[Request[Any]]], payload_max: int, tx_id: int = 0
) -> list[Outcome]:
    """Carry all parts, which the connections take in turn; what their requests come to, in order.

    While the daemon answers some, the next are encoded and sent, and others decoded.
    """
    count = len(connections)
    lanes = [
        _Lane(connection, [request for part in parts[place::count] for request in part], payload_max, tx_id)
        for place, connection in enumerate(connections)
    ]
    # Over several connections it has work enough with fewer.
    batches = _BATCHES if count == 1 else 2
    try:
        on_their_way = lanes
        while on_their_way:
            on_their_way = [lane for lane in on_their_way if lane.send(batches)]
            for lane in on_their_way:
                lane.take()
    except BaseException:
        for lane in lanes:
            lane.forget()
        raise
    outcomes = [iter(lane.outcomes) for lane in lanes]
    return [outcome for place, part in enumerate(parts) for outcome in islice(outcomes[place % count], len(part))]
