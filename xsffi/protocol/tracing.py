"""The text of the trace (see :func:`xsffi.log.tell_of_requests`). Values are never shown, only their length: they may
be secrets."""

from __future__ import annotations

import errno

from ..errors import XenStoreError
from ..records import Node
from .lookups import Nodes
from .requests import Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ..records import WatchEvent
    from .requests import Request

__all__ = ["event_text", "many_texts", "posted_text", "request_text", "told_text"]

_TEXT_MAX = 60  # characters of an answer in text form


def told_text(what: str, outcome: object, seconds: float) -> str:
    """A line for an operation, its outcome, and the time it took."""
    return f"{what}: {_outcome_text(outcome)}, {_time_text(seconds)}"


def many_texts(requests: Sequence[Request[Any]], tx_id: int, outcomes: list[Any], seconds: float) -> Iterator[str]:
    """Lines for many requests at once, one for each outcome."""
    took = f"{_time_text(seconds)} with all {len(requests)} at once"
    if isinstance(requests, Nodes):
        for path, outcome in zip(requests.paths, outcomes):
            yield f"READ, DIRECTORY and GET_PERMS {path}: {_node_text(outcome)}, {took}"
    else:
        for request, outcome in zip(requests, outcomes):
            yield f"{request_text(request, tx_id)}: {_outcome_text(outcome)}, {took}"


def posted_text(request: Request[Any], tx_id: int) -> str:
    """A line for a request whose reply is ignored."""
    return f"{request_text(request, tx_id)}: undoes an interrupted call"


def event_text(event: WatchEvent) -> str:
    """A line for an event."""
    return f"event at {event.path} of the watch {event.token}"


def request_text(request: Request[Any], tx_id: int) -> str:
    """A request as text."""
    what = request.path
    if what is None:  # about domains, or a command for the daemon
        what = request.payload().rstrip(b"\0").replace(b"\0", b" ")[:_TEXT_MAX]
    size = f" ({_size_text(request.value)})" if isinstance(request, Write) else ""
    within = f" in transaction {tx_id}" if tx_id else ""
    return f"{request.type.name} {what.decode('utf-8', 'backslashreplace')}".rstrip() + size + within


def _size_text(value: bytes) -> str:
    return "1 byte" if len(value) == 1 else f"{len(value)} bytes"


def _outcome_text(outcome: object) -> str:
    if isinstance(outcome, XenStoreError):
        return errno.errorcode.get(outcome.errno or 0, str(outcome.errno))
    if isinstance(outcome, BaseException):
        return f"ended by {type(outcome).__name__}"
    if outcome is None:
        return "done"
    if isinstance(outcome, bytes):
        return _size_text(outcome)
    if isinstance(outcome, (list, tuple)):
        return f"a list of {len(outcome)}"
    return repr(outcome)[:_TEXT_MAX]


def _node_text(outcome: Any) -> str:
    # A plain tuple contains the errors.
    return ", ".join([_outcome_text(each) for each in (outcome[1:] if isinstance(outcome, Node) else outcome)])


def _time_text(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"
