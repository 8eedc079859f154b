"""Many requests over one connection, in batches: while the daemon answers some, the next are encoded and sent, and
others decoded."""

from __future__ import annotations

from collections import deque

from ..errors import XenStoreError
from .session import reply_of
from .wire import too_big_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .requests import Request
    from .session import Message, Reply

__all__ = ["BATCHES", "Lane"]

BATCHES = 8  # how many are on their way at a time, over one connection

# What makes a batch: few enough that the daemon has not answered it all, and found the buffer of the socket full,
# before it is received, while others are encoded and decoded.
_BATCH_REQUESTS = 64
_BATCH_BYTES = 65536


class _Batch:
    """Requests on their way."""

    def __init__(self, requests: Sequence[Request[Any]], refused: dict[int, XenStoreError], exchange: Any) -> None:
        self.requests = requests
        self.refused = refused  # by their place, those that were not sent
        self.exchange = exchange  # of the others

    def outcomes(self, replies: Sequence[Reply]) -> list[Any]:
        """What the requests came to; an error stands in the place of its reply."""
        following = iter(replies)
        outcomes: list[Any] = []
        for place, request in enumerate(self.requests):
            if place in self.refused:
                outcomes.append(self.refused[place])
                continue
            try:
                outcomes.append(reply_of(request, next(following)))
            except XenStoreError as error:
                outcomes.append(error)
        return outcomes


class Lane:
    """The requests that one connection carries in order, and what they came to."""

    def __init__(
        self, requests: Sequence[Request[Any]], payload_max: int, send: Callable[[Sequence[Message]], Any]
    ) -> None:
        """`payload_max`: the longest payload of a request; what is longer is not sent, and comes to an error. `send`
        sends messages, and gives what their replies are waited for by."""
        self._requests = requests
        self._payload_max = payload_max
        self._send = send
        self._next = 0
        self._on_their_way: deque[_Batch] = deque()
        self.outcomes: list[Any] = []

    def send(self, batches: int) -> bool:
        """Have so many batches on their way, or all that are left; whether there is one."""
        while self._next < len(self._requests) and len(self._on_their_way) < batches:
            batch = self._make_batch()
            self._on_their_way.append(batch)
            self._next += len(batch.requests)
        return bool(self._on_their_way)

    @property
    def exchanges(self) -> list[Any]:
        """What `send` gave for the batches on their way, the first of which is the next to be waited for."""
        return [batch.exchange for batch in self._on_their_way]

    def take(self, replies: Sequence[Reply]) -> None:
        """The replies of the first batch on its way have come."""
        self.outcomes += self._on_their_way[0].outcomes(replies)
        self._on_their_way.popleft()

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
        return _Batch(requests, refused, self._send(messages))
