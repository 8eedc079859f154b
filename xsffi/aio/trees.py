"""A whole tree as it is at one moment: a driver of :func:`xsffi.protocol.trees.snapshot`."""

from __future__ import annotations

import asyncio
import itertools

from ..protocol import trees
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch
from .driver import run
from .events import EventStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..protocol.programs import Effect
    from ..protocol.session import EventQueue
    from ..records import Node
    from .backend import Backend

__all__ = ["snapshot"]

_numbers = itertools.count(1)


async def snapshot(backend: Backend, top: str, rounds: int, timeout: float | None = None) -> list[Node]:
    """Every node from `top` down, parents first, as they were at one moment.

    `timeout`: how many seconds the first event of the watch may take (None: no limit). Raises TransactionConflictError
    if each of `rounds` rounds brought changes, WaitTimeoutError, and what the backend raises: ConnectionLostError if
    the daemon is gone.
    """
    events = EventStream(asyncio.get_running_loop())
    queue = backend.open_queue(f"dump:{next(_numbers)}:", events)
    try:
        return await _read(backend, queue, events, top, rounds, timeout)
    finally:
        backend.close_queue(queue)


async def _read(
    backend: Backend, queue: EventQueue, events: EventStream, top: str, rounds: int, timeout: float | None
) -> list[Node]:
    token, released = queue.new_token(), queue.new_token()
    watches: list[Watch] = []  # those that are set

    async def carry(effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            taken = await events.next(timeout) if effect.wait else events.take()
            if taken is None and effect.wait:
                raise trees.no_event_error(timeout, top)
            return None if taken is None else taken[1]
        outcome = await (backend.call(effect) if isinstance(effect, Request) else backend.call_many(effect))
        if isinstance(effect, Watch):
            watches.append(effect)
        return outcome

    try:
        return await run(trees.snapshot(top, rounds, token, released), carry)
    finally:
        for watch in watches:
            backend.post(Unwatch(watch.path, watch.token))
