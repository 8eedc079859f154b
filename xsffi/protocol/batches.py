"""Many requests over one connection, in batches: while the daemon answers some, the next are encoded and sent, and
earlier replies are decoded."""

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

BATCHES = 8  # how many are in flight over one connection

# The size of a batch: small enough that the daemon does not answer all of it, and fill the socket's buffer, before its
# replies are received, while other batches are encoded and decoded.
_BATCH_REQUESTS = 64
_BATCH_BYTES = 65536


class _Batch:
    """Requests in flight."""

    def __init__(self, requests: Sequence[Request[Any]], refused: dict[int, XenStoreError], exchange: Any) -> None:
        self.requests = requests
        self.refused = refused  # the errors of those that were not sent, by index
        self.exchange = exchange  # of the others

    def outcomes(self, replies: Sequence[Reply]) -> list[Any]:
        """The outcome of each request: its decoded reply, or its error."""
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
    """The requests that one connection carries in order, and their outcomes."""

    def __init__(
        self, requests: Sequence[Request[Any]], payload_max: int, send: Callable[[Sequence[Message]], Any]
    ) -> None:
        """`payload_max`: the longest payload of a request; a longer one is not sent, and its outcome is an error.
        `send` sends messages, and returns what their replies are waited for by."""
        self._requests = requests
        self._payload_max = payload_max
        self._send = send
        self._next = 0
        self._on_their_way: deque[_Batch] = deque()
        self.outcomes: list[Any] = []

    def send(self, batches: int) -> bool:
        """Bring the number of batches in flight up to `batches`, as far as there are requests left; whether any is in
        flight."""
        while self._next < len(self._requests) and len(self._on_their_way) < batches:
            batch = self._make_batch()
            self._on_their_way.append(batch)
            self._next += len(batch.requests)
        return bool(self._on_their_way)

    @property
    def exchanges(self) -> list[Any]:
        """What `send` returned for the batches in flight; the first is the next to wait for."""
        return [batch.exchange for batch in self._on_their_way]

    def take(self, replies: Sequence[Reply]) -> None:
        """Process the replies to the first batch in flight."""
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
