"""A whole tree as it is at one moment: a driver of :func:`xsffi.protocol.trees.snapshot`."""

from __future__ import annotations

import itertools

from ..errors import XenStoreError
from ..protocol import programs, trees
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..backends.base import Backend, Events
    from ..protocol.programs import Effect
    from ..records import Node

__all__ = ["snapshot"]

_numbers = itertools.count(1)


def snapshot(backend: Backend, top: str, rounds: int, timeout: float | None = None) -> list[Node]:
    """Every node from `top` down, parents first, as they were at one moment.

    `timeout`: how many seconds the first event of the watch may take (None: no limit). Raises TransactionConflictError
    if each of `rounds` rounds brought changes, WaitTimeoutError, and what the backend raises: ConnectionLostError if
    the daemon is gone.
    """
    events = backend.events(f"dump:{next(_numbers)}:")
    try:
        return _read(backend, events, top, rounds, timeout)
    finally:
        events.close()


def _read(backend: Backend, events: Events, top: str, rounds: int, timeout: float | None) -> list[Node]:
    token, released = events.new_token(), events.new_token()
    watches: list[Watch] = []  # those that are, or may be, set

    def carry(effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            event = events.next_event(timeout if effect.wait else 0.0)
            if event is None and effect.wait:
                raise trees.no_event_error(timeout, top)
            return event
        if not isinstance(effect, Watch):
            return backend.call(effect) if isinstance(effect, Request) else backend.call_many(effect)
        watches.append(effect)  # before the request, in case of an interruption
        try:
            return backend.call(effect)
        except XenStoreError:
            watches.remove(effect)
            raise

    try:
        return programs.run(trees.snapshot(top, rounds, token, released), carry)
    finally:
        try:
            _take_back(backend, watches)
        except BaseException:
            _take_back(backend, watches)  # after an interruption
            raise


def _take_back(backend: Backend, watches: list[Watch]) -> None:
    """Remove watches, without waiting: the daemon may be hung."""
    while watches:
        backend.post(Unwatch(watches[0].path, watches[0].token))
        del watches[0]
