"""Whole trees: read as they are at one moment, by :func:`xsffi.protocol.trees.snapshot`, and written."""

from __future__ import annotations

import errno
import itertools

from ..errors import ClientClosedError, ConnectionLostError, ForkedError, WaitTimeoutError, XenStoreError
from ..paths import RELEASE_DOMAIN, encode
from ..permissions import parse_permissions
from ..protocol import programs, trees
from ..protocol.programs import NextEvent
from ..protocol.requests import Request, SetPermissions, Unwatch, Write
from .operations import encode_value
from .safeguards import any_domain_error, names_any_domain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..backends.base import Backend, Events
    from ..protocol.programs import Effect
    from ..records import Node
    from .safeguards import AnyDomain

__all__ = ["load", "snapshot"]

_numbers = itertools.count(1)
_LOAD_AT_ONCE = 4096  # nodes
# Nodes that lie equally deep depend on none of each other, so they are written at the same time; unless there are but
# few of them in a row.
_ROW_MIN = 256
_PARTS = 16


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


class _Writing:
    """What a node that is to be loaded is written by."""

    def __init__(self, node: Node) -> None:
        """Raises what is wrong with the node."""
        self.path = node.path
        path = encode(node.path)
        self.write = Write(path, encode_value(node.value))
        self.permissions = SetPermissions(path, parse_permissions(node.permissions)) if node.permissions else None
        self.errors: list[XenStoreError] = []

    def refuse_deadly(self, any_domain: AnyDomain) -> None:
        """Leave permissions out that would end the daemon: their error stands for them."""
        if self.permissions is not None and names_any_domain(self.permissions.permissions) and any_domain.is_deadly():
            self.permissions = None
            self.errors.append(any_domain_error(self.path))

    def requests(self) -> list[Request[Any]]:
        return [self.write] if self.permissions is None else [self.write, self.permissions]


def load(backend: Backend, any_domain: AnyDomain | None, nodes: Iterable[Node]) -> None:
    """Write nodes with their values and permissions; `any_domain` refuses those that would end the daemon (see
    :meth:`xsffi.Client.load`)."""
    nodes = iter(nodes)
    while some := [_Writing(node) for node in itertools.islice(nodes, _LOAD_AT_ONCE)]:
        if any_domain is not None:
            for writing in some:
                writing.refuse_deadly(any_domain)
        for parts in _steps(some):
            _carry(backend, parts)
        for writing in some:
            if writing.errors:
                raise writing.errors[0]


def _carry(backend: Backend, parts: list[list[_Writing]]) -> None:
    carried = backend.call_parts([[request for writing in part for request in writing.requests()] for part in parts])
    for part, outcomes in zip(parts, map(iter, carried)):
        for writing in part:
            of_it = itertools.islice(outcomes, len(writing.requests()))
            writing.errors += [outcome for outcome in of_it if isinstance(outcome, XenStoreError)]


def _steps(writings: list[_Writing]) -> list[list[list[_Writing]]]:
    """What is written one step after the other: in each step, parts that may be written at the same time."""
    rows = [list(row) for _, row in itertools.groupby(writings, lambda writing: writing.path.count("/"))]
    if len(writings) < _ROW_MIN * len(rows):
        return [[writings]]
    return [_parts(row) for row in rows]


def _parts(row: list[_Writing]) -> list[list[_Writing]]:
    parts: list[list[_Writing]] = [[] for _ in range(_PARTS)]
    for writing in row:
        # A node that is there twice is written in this order.
        parts[hash(writing.path) % _PARTS].append(writing)
    return parts
