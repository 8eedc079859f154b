"""A backend that traces each request and reply, as :mod:`xsffi.backends.trace` does."""

from __future__ import annotations

from time import perf_counter

from ..protocol.tracing import event_text, many_texts, posted_text, request_text, told_text
from .backend import Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..errors import XenStoreError
    from ..log import Tell
    from ..protocol.requests import Request
    from ..protocol.session import EventQueue
    from ..records import WatchEvent
    from ..static_types import T
    from .connection import Receiver

__all__ = ["TracedBackend"]


class TracedBackend(Backend):
    """A backend that traces its requests and events."""

    def __init__(self, backend: Backend, tell: Tell) -> None:
        """`tell` is called with a line of text for each; it must not raise."""
        super().__init__(backend._connection, backend.kind, backend.path)
        self.description = backend.description
        self._tell = tell

    async def call(self, request: Request[T], tx_id: int = 0, within: float | None = None) -> T:
        begin = perf_counter()
        outcome: object = None
        try:
            result = await super().call(request, tx_id, within)
            outcome = result
            return result
        except BaseException as error:
            outcome = error
            raise
        finally:
            self._tell(told_text(request_text(request, tx_id), outcome, perf_counter() - begin))

    async def call_many(
        self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None
    ) -> list[Any]:
        begin = perf_counter()
        try:
            outcomes = await super().call_many(requests, tx_id, within)
        except BaseException as error:
            self._tell(told_text(f"{len(requests)} requests at once", error, perf_counter() - begin))
            raise
        for text in many_texts(requests, tx_id, outcomes, perf_counter() - begin):
            self._tell(text)
        return outcomes

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self._tell(posted_text(request, tx_id))
        super().post(request, tx_id)

    def open_queue(self, prefix: str, receiver: Receiver) -> EventQueue:
        return super().open_queue(prefix, _TracedReceiver(receiver, self._tell))

    def close(self) -> None:
        super().close()
        self._tell("closed")


class _TracedReceiver:
    """Wraps a receiver and traces its events."""

    def __init__(self, receiver: Receiver, tell: Tell) -> None:
        self._receiver = receiver
        self._tell = tell
        self.end: Callable[[Callable[[], XenStoreError]], None] = receiver.end

    def receive(self, event: WatchEvent) -> None:
        self._tell(event_text(event))
        self._receiver.receive(event)
