"""A whole tree as it is at one moment: the driver of :func:`xsffi.protocol.trees.snapshot`."""

from __future__ import annotations

import errno
import itertools

from ..errors import ClientClosedError, ConnectionLostError, ForkedError, WaitTimeoutError, XenStoreError
from ..paths import RELEASE_DOMAIN, encode
from ..protocol import programs, trees
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, Unwatch

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

    `timeout`: how many seconds the first event of the watch may take (None: any time). Raises
    TransactionConflictError where each of so many `rounds` brought changes, WaitTimeoutError, and what the backend
    does: ConnectionLostError where the daemon is gone.
    """
    events = backend.events(f"dump:{next(_numbers)}:")
    try:
        return _read(backend, events, top, rounds, timeout)
    finally:
        events.close()


def _read(backend: Backend, events: Events, top: str, rounds: int, timeout: float | None) -> list[Node]:
    token, released = events.new_token(), events.new_token()
    watches = [Unwatch(encode(top), token), Unwatch(encode(RELEASE_DOMAIN), released)]

    def carry(effect: Effect) -> Any:
        if isinstance(effect, NextEvent):
            event = events.next_event(timeout if effect.wait else 0.0)
            if event is None and effect.wait:
                raise WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch came for {timeout} seconds", top)
            return event
        return backend.call(effect) if isinstance(effect, Request) else backend.call_many(effect)

    try:
        nodes = programs.run(trees.snapshot(top, rounds, token, released), carry)
        _unset(backend, watches)
        return nodes
    except (ConnectionLostError, ClientClosedError, ForkedError):
        raise  # the watches went with the connection
    except BaseException as error:
        if isinstance(error, XenStoreError) and not isinstance(error, WaitTimeoutError):
            _unset(backend, watches)
        else:
            for watch in watches:
                backend.post(watch)  # and wait for nothing: perhaps the daemon does not answer
        raise


def _unset(backend: Backend, watches: list[Unwatch]) -> None:
    for request in watches:
        try:
            backend.call(request)
        except XenStoreError:
            pass  # what the reading came to is what matters
