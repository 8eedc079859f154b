"""Many requests over one connection, or over several at once, each of which carries its own requests in order."""

from __future__ import annotations

from itertools import islice

from ...protocol.batches import BATCHES, Lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ...protocol.requests import Request
    from ..base import Outcome
    from .native import Connection

__all__ = ["carry"]

_BATCHES_OF_SEVERAL = 2  # in flight over each of several connections: fewer suffice to keep the daemon busy


def carry(
    connections: Sequence[Connection],
    parts: Sequence[Sequence[Request[Any]]],
    payload_max: int,
    tx_id: int = 0,
    within: float | None = None,
) -> list[Outcome]:
    """Carry out all parts, distributed over the connections; return the outcomes in order. `within`: how many seconds
    each batch may take, if less than the timeout of its connection."""
    count = len(connections)
    lanes = [
        (connection, _lane(connection, parts[place::count], payload_max, tx_id))
        for place, connection in enumerate(connections)
    ]
    batches = BATCHES if count == 1 else _BATCHES_OF_SEVERAL
    try:
        on_their_way = lanes
        while on_their_way:
            on_their_way = [(connection, lane) for connection, lane in on_their_way if lane.send(batches)]
            for connection, lane in on_their_way:
                lane.take(connection.replies(lane.exchanges[0], within))
    except BaseException:
        for connection, lane in lanes:
            for exchange in lane.exchanges:
                connection.forget(exchange)
        raise
    outcomes = [iter(lane.outcomes) for _, lane in lanes]
    return [outcome for place, part in enumerate(parts) for outcome in islice(outcomes[place % count], len(part))]


def _lane(connection: Connection, parts: Sequence[Sequence[Request[Any]]], payload_max: int, tx_id: int) -> Lane:
    requests = [request for part in parts for request in part]
    return Lane(requests, payload_max, lambda messages: connection.send_many(messages, tx_id))
