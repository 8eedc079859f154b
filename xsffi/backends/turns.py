"""Whose turn it is on a connection that threads share, and the short way for a request that meets nobody there.

Of those that wait, one leads: it reads for all (:mod:`xsffi.backends.sharing`). A request that comes while nobody waits
for anything needs none of that: it is sent, and what comes in is its reply. On a unix socket :meth:`Turns.call` does
that, in C where the extension is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any, Union

from ..errors import XenStoreError
from ..paths import encode
from ..protocol.session import Pending, Session
from ..protocol.wire import HEADER_SIZE, MessageType, encode_packet, unpack_header
from .extension import shortcuts
from .transports import NativeSocketTransport, SocketTransport, Transport

__all__ = ["Leader", "Reply", "Turns", "nobody", "open_turns"]

_READ = int(MessageType.READ)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)
_PIECES = 4  # a reply that comes in more of them goes on the ordinary way: they are joined anew for each that comes

# What became of a request that went the short way: the payload of a reply of the type expected; type and payload of
# any other, or where somebody is to be told that the turn is over; the pending request, where something else came than
# its reply alone; None, where nothing was sent.
Reply = Union[bytes, "tuple[int, bytes]", Pending[Any], None]


class Leader:
    """The thread that reads for all, for one wait of it.

    A signal handler runs in the middle of the wait that it interrupted, and may use the client in its turn: it takes
    over from the outer wait of its own thread, and gives the lead back to it.
    """

    __slots__ = ("__weakref__", "outer", "thread")

    def __init__(self, thread: int) -> None:
        """`thread`: its identity, as :func:`threading.get_ident` tells it."""
        self.thread = thread
        # Weak, since Ctrl-C may have ended that wait before it could say so: then nobody else knows of it.
        self.outer: Callable[[], Leader | None] = nobody


def nobody() -> None:
    """No outer wait."""
    return


# Leads while threads carry their requests the short way in C, where no signal handler runs in the middle of it.
_ALONE = Leader(thread=-1)


class Turns:
    """The state that decides whose turn it is. A connection of another kind than a socket has no short way."""

    def __init__(self) -> None:
        self.leader: Leader | None = None  # who reads for all
        self.over: Callable[[], XenStoreError] | None = None  # makes what every call raises, once there is something
        self.changing = False  # the session is in the middle of a step
        self.followers: dict[SimpleQueue[None], bool] = {}  # each with whether it waits for events
        self.spares: list[Pending[Any]] = []  # known to the session, for requests that go the short way

    def call(self, type: int, payload: bytes, tx_id: int, timeout: float | None) -> Reply:
        """Carry a request the short way, if nobody else waits for anything; wait `timeout` seconds at most."""
        return None

    def read(self, path: str) -> Reply:
        """The same for READ outside a transaction; None, too, where the path is wrong."""
        return None

    def receive_now(self) -> bool | None:
        """Take in what is there, if nobody leads: False where nothing is. None: that is for who leads to find out."""
        return None


class SocketTurns(Turns):
    """Those of a unix socket, in Python.

    A signal handler may run between any two steps, and may lead and read for itself then. So what comes in is kept
    where the next one to receive finds it, :attr:`SocketTransport.held`, until it is known to be the reply, whole.
    """

    def __init__(self, transport: SocketTransport, session: Session, lock: threading.RLock) -> None:
        """Where the connection is used by the ordinary way too: its transport, its session, and the session's lock."""
        super().__init__()
        self._session = session
        self._lock = lock
        self._send, self._take = transport.send_now, transport.take_now
        self._wait, self._spin, self._held = transport.wait, transport.spin, transport.held
        self._incoming, self._outgoing = session.incoming, session.outgoing

    def read(self, path: str) -> Reply:
        try:
            encoded = encode(path)
        except (TypeError, XenStoreError):
            return None
        return self.call(_READ, encoded + b"\0", 0, None)

    def call(self, type: int, payload: bytes, tx_id: int, timeout: float | None) -> Reply:
        if self.over is not None:  # first of all: in a child process the lock may be taken for good
            return None
        me = Leader(threading.get_ident())
        pending: Pending[Any] | None = None
        reply: tuple[int, bytes] | None = None
        try:
            try:
                with self._lock:
                    if not (self._is_free() and self.spares) or self._incoming or self._outgoing:
                        return None
                    self.leader = me
                    pending = self.spares.pop()
                    # Within the lock, so that nothing of another thread's gets in between, nor this into the middle of
                    # that. A unix socket takes a message of this size whole or not at all.
                    is_sent = self._send(encode_packet(type, pending.req_id, tx_id, payload))
                if is_sent:
                    reply = self._reply(pending.req_id, timeout)
                    if reply is None:
                        return pending
                if not pending.done:  # else a handler took the reply too
                    self.spares.append(pending)
            finally:
                if self.leader is me:
                    self.leader = None
        except BaseException:
            if self.leader is me:
                self.leader = None  # again: before Python 3.10, Ctrl-C may have hit just before it was set
            if pending is not None and pending not in self.spares:
                self._session.expect_no_more(pending)
            raise
        if reply is not None and reply[0] == type and not self.followers and self.over is None:
            return reply[1]
        return reply

    def receive_now(self) -> bool | None:
        if self.over is not None:
            return None
        with self._lock:
            return self._take(self._incoming) if self._is_free() else None

    def _is_free(self) -> bool:
        """Whether nobody leads, and nothing waits for who leads next."""
        return self.leader is None and self.over is None and not self.changing and not self._held

    def _reply(self, req_id: int, timeout: float | None) -> tuple[int, bytes] | None:
        """Type and payload of the reply; None where something else came, or nothing in time, or a handler took it."""
        held = self._held
        begin = monotonic()
        spin = self._spin.time()
        until = begin + spin
        while True:
            taken = self._take(held)
            if taken is False:
                if monotonic() < until:
                    continue
                self._wait(None if timeout is None else begin + timeout - monotonic(), False)
                taken = self._take(held)
            if not taken or self._incoming:  # a handler that led has handed on, or still holds, what came first
                return None
            pieces = held[:]
            if not pieces or len(pieces) > _PIECES:
                return None
            data = b"".join(pieces)
            if len(data) < HEADER_SIZE:
                continue
            type, its_id, _, length = unpack_header(data)
            if type == _WATCH_EVENT or its_id != req_id or len(data) > HEADER_SIZE + length:
                return None
            if len(data) == HEADER_SIZE + length:
                if not held:
                    return None
                held.clear()
                self._spin.learn(spin > 0, begin)
                return type, data[HEADER_SIZE:]


def open_turns(transport: Transport, session: Session, lock: threading.RLock) -> Turns:
    """Those of this connection; `lock` guards the session."""
    if isinstance(transport, NativeSocketTransport):
        if shortcuts is None:  # PyPy has no such classes
            return Turns()
        turns: Turns = shortcuts.NativeTurns(*transport.in_c(), lock, session.incoming, session.outgoing, _ALONE)
        return turns
    if isinstance(transport, SocketTransport):
        return SocketTurns(transport, session, lock)
    return Turns()
