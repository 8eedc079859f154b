"""The backend that implements the protocol itself: encodes requests, sends them, and decodes the replies."""

from __future__ import annotations

from ...addresses import Kind
from ...errors import ClientClosedError, ConnectionLostError, XenStoreError
from ...forks import tell_of_forks
from ...paths import encode
from ...protocol.lookups import Lookups, Nodes, Parts
from ...protocol.requests import KNOWN_PERMISSIONS, Read
from ...protocol.session import reply_of
from ...protocol.wire import DEVICE_PAYLOAD_MAX, PAYLOAD_MAX, too_big_error
from ...records import Node
from .batches import carry
from .native import open_connection
from .opening import open_further
from .several import CONNECTIONS_DEFAULT, FURTHER_PATIENCE, Several

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ...protocol.requests import Request
    from ...protocol.session import Reply
    from ...static_types import T
    from ..base import Events, Outcome
    from .native import Connection, Opened

__all__ = ["WireBackend", "open_wire"]


class WireBackend:
    """A connection to the daemon's socket or the kernel's device (see :class:`~xsffi.backends.base.Backend`), and
    further connections to the same socket for bulk work."""

    name = "wire"

    def __init__(self, opened: Opened, path: str, timeout: float | None, connections: int | None) -> None:
        """Takes ownership of `opened`, which is connected to `path`. `connections`: the most to use in all; None: as
        many as pay off."""
        self.kind = opened.kind
        self._payload_max = PAYLOAD_MAX if self.kind == Kind.SOCKET else DEVICE_PAYLOAD_MAX
        self._connection = opened.connection
        self._fetch: Any = getattr(opened.connection, "fetch", None)  # only the connection in C has it
        self._several = Several(opened.connection, self._number(connections), self._open_another)
        self.path = path
        self.description = f"the wire at {path}, {opened.description}"
        self._timeout = timeout
        self._peer = opened.peer
        tell_of_forks(self)

    def read(self, path: str) -> bytes:
        reply = self._connection.read(path)
        if type(reply) is bytes:
            return reply
        request = Read(encode(path))
        return self.call(request) if reply is None else reply_of(request, reply)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        payload = request.payload()
        if len(payload) > self._payload_max:
            raise too_big_error(len(payload), request.path, self._payload_max)
        reply = self._connection.carry(request.type, payload, tx_id)
        return request.decode(reply) if type(reply) is bytes else reply_of(request, reply)

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0, within: float | None = None) -> list[Outcome]:
        if isinstance(requests, Lookups):
            if tx_id:
                return self._look_up((self._connection,), requests, tx_id)
            return self._over_several(len(requests), lambda connections: self._look_up(connections, requests, 0))
        if isinstance(requests, Parts) and not tx_id:
            return self._over_several(
                len(requests), lambda connections: carry(connections, requests.parts, self._payload_max)
            )
        return carry((self._connection,), (requests,), self._payload_max, tx_id, within)

    def post(self, request: Request[Any], tx_id: int = 0) -> None:
        self._connection.post(request.type, request.payload(), tx_id)

    def events(self, prefix: str = "", limit: int = 0) -> Events:
        return self._connection.events(prefix, limit)

    def bulk(self) -> WireBackend:
        return self

    def close(self) -> None:
        self._several.close()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self._several.after_fork_in_child()

    def _over_several(self, requests: int, work: Callable[[Sequence[Connection]], list[Outcome]]) -> list[Outcome]:
        """Run `work` for this many requests, over as many connections as pay off."""
        connections = self._several.for_work(requests)
        try:
            return work(connections)
        except (ConnectionLostError, ClientClosedError):  # closed by another thread that found it lost
            if len(connections) == 1:
                raise
            # If only a further connection is lost, the first can do all the work; otherwise it raises the reason.
            self._several.drop()
            return work((self._connection,))

    def _look_up(self, connections: Sequence[Connection], lookups: Lookups, tx_id: int) -> list[Outcome]:
        of_nodes = isinstance(lookups, Nodes)
        if self._fetch is None or (of_nodes and tx_id):  # a list of children may be wrong then: see node_of()
            return self._look_up_in_python(connections, lookups, tx_id)
        outcomes: list[Outcome]
        try:
            outcomes, undecoded = self._fetch(
                tuple(connections[1:]),
                tuple(lookups.paths),
                tx_id,
                lookups.encode,
                Node if of_nodes else None,
                KNOWN_PERMISSIONS,
            )
        except OverflowError:  # a path too long for a message, which no daemon should list
            return self._look_up_in_python(connections, lookups, tx_id)
        for place in undecoded:
            one = type(lookups)([lookups.paths[place]], lookups.encode)
            outcomes[place] = one.combine([_decoded(*each) for each in zip(one, outcomes[place])])[0]
        return outcomes

    def _look_up_in_python(self, connections: Sequence[Connection], lookups: Lookups, tx_id: int) -> list[Outcome]:
        requests = list(lookups)  # validates all before any is sent
        share = -(-len(requests) // len(connections)) or 1
        parts = [requests[start : start + share] for start in range(0, len(requests), share)]
        return lookups.combine(carry(connections, parts, self._payload_max, tx_id))

    def _number(self, connections: int | None) -> int:
        if self.kind == Kind.DEVICE:
            return 1  # the device allows only one connection
        if connections is None:
            # A connection in Python is busy with one.
            return 1 if self._fetch is None else CONNECTIONS_DEFAULT
        return connections

    def _open_another(self) -> Connection:
        # If the first connection answers after this one was made, the daemon is still the same.
        return open_further(
            self.path, self._timeout, self._peer, lambda: self._connection.read("/"), FURTHER_PATIENCE
        ).connection


def _decoded(request: Request[T], reply: Reply) -> T | XenStoreError:
    try:
        return reply_of(request, reply)
    except XenStoreError as error:
        return error


def open_wire(
    path: str, timeout: float | None = None, connections: int | None = None, patience: float | None = None
) -> WireBackend:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, on failure.
    `timeout`: how many seconds connecting, and each reply, may take (None: no limit). `connections`: the most to open
    in all for bulk work (None: as many as pay off). `patience`: how many seconds connecting may take, if not
    `timeout`."""
    return WireBackend(open_connection(path, timeout, patience=patience), path, timeout, connections)


def open_beside(path: str, peer: int, check: Callable[[], object], connections: int | None) -> WireBackend:
    """A further backend for the same daemon as an open one, by :func:`~xsffi.backends.wire.opening.open_further`."""
    return WireBackend(open_further(path, None, peer, check), path, None, connections)
