"""A whole tree as it is at one moment: the driver of :func:`xsffi.protocol.programs.snapshot`."""

from __future__ import annotations

import errno
from typing import Any

from .backends.base import Backend
from .errors import WaitTimeoutError
from .protocol import programs
from .protocol.programs import Effect, NextEvent
from .records import Node

__all__ = ["snapshot"]


def snapshot(backend: Backend, top: str, rounds: int, timeout: float | None = None) -> list[Node]:
    """Every node from `top` down, parents first, as they were at one moment.

    `backend` is used for this alone: its events are taken to be of this. `timeout`: how many seconds the first event of
    the watch may take (None: any time).
    """

    def carry(effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            event = backend.next_event(timeout if effect.wait else 0.0)
            if event is None and effect.wait:
                raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch came for {timeout} seconds", top)
            return event
        return backend.call_many(effect) if isinstance(effect, list) else backend.call(effect)

    return programs.run(programs.snapshot(top, rounds), carry)
