"""The backend that speaks the protocol itself: a session, a transport, and the threads that share them.

There is no thread of ours. Of those that wait, one leads: it reads for all, and wakes the others as their replies and
events come. When it has what it waited for, it leaves, and wakes one of those that follow to lead in its place.

The lock guards the session and is held for a few steps of Python only, never while waiting. It can be taken again by
the thread that has it, so that a signal handler may close a client whose call it interrupted.
"""

from __future__ import annotations

import errno
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from ..errors import ConnectionLostError, WaitTimeoutError, XenStoreError, error_from_errno
from ..paths import encode
from ..protocol.requests import Read, Request, Unwatch
from ..protocol.session import Batch, Pending, Session, error_reply
from ..protocol.wire import check_payload_size
from ..records import WatchEvent
from .base import Outcome, closed_error, forked_error, tell_of_forks
from .bell import Bell
from .transports import Transport, lost_error, open_transport
from .turns import Leader, Reply, Turns, nobody, open_turns

__all__ = ["WireBackend", "open_wire"]

T = TypeVar("T")

# A follower looks about itself once in so many seconds, in case that Ctrl-C hit the leader between leaving and waking
# it.
_FOLLOWER_PATIENCE = 0.5

_BATCHES = 8  # how many batches are on their way at a time
_NOT_YET_KNOWN = Read(b"")  # what a spare is for, until it is known


class WireBackend:
    """One connection to the daemon's socket or the kernel's device (see :class:`~xsffi.backends.base.Backend`)."""

    name = "wire"

    def __init__(self, transport: Transport, timeout: float | None = None, path: str = "") -> None:
        """`transport`, which is connected to `path`, is the backend's from here on; `timeout`: how many seconds a reply
        may take (None: any time)."""
        self._path = path
        self._transport = transport
        self._timeout = timeout
        self._session = Session(transport.payload_max, transport.joined, transport.splitters)
        self._payload_max = transport.payload_max
        self._lock = threading.RLock()
        self._turns = open_turns(transport, self._session, self._lock)
        #: read() of the client starts with this (see :meth:`~xsffi.backends.base.Backend.finish_read`).
        self.try_read: Callable[[str], Any] = self._turns.read if timeout is None else Turns().read
        self._let_go = False  # descriptors were given back
        self._readiness: select.epoll | None = None
        self._bell: Bell | None = None  # rung while there are events, or the connection is over
        self._bell_rung = False
        tell_of_forks(self)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if request.leaves_something:
            return self._call_among_others(request, tx_id)
        payload = request.payload()
        check_payload_size(len(payload), self._payload_max)
        deadline = None if self._timeout is None else monotonic() + self._timeout
        reply = self._turns.call(request.type, payload, tx_id, self._timeout)
        result = request.decode(reply) if type(reply) is bytes else self._finish(request, tx_id, reply, deadline)
        if isinstance(request, Unwatch):
            self._drop_events(request.token.decode("utf-8", "surrogateescape"))
        return result

    def finish_read(self, path: str, tried: Any) -> bytes:
        return self._finish(Read(encode(path)), 0, tried, self._deadline())

    def call_many(self, requests: Sequence[Request[Any]], tx_id: int = 0) -> list[Outcome]:
        outcomes: list[Outcome] = []
        on_its_way: deque[Batch] = deque()
        start = 0
        try:
            while start < len(requests) or on_its_way:
                # While the daemon answers one batch, the next is encoded and sent, and the one before decoded.
                while start < len(requests) and len(on_its_way) < _BATCHES:
                    batch = self._send_many(requests, start, tx_id)
                    on_its_way.append(batch)
                    start += len(batch.requests)
                outcomes += self._outcomes(on_its_way)
        finally:
            with self._lock:
                for batch in on_its_way:
                    self._session.forget(batch)
        return outcomes

    def bulk(self) -> WireBackend:
        return self

    def sibling(self) -> WireBackend:
        with self._lock:
            self._check()
        return open_wire(self._path, self._timeout)

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        while True:
            with self._lock:
                event = self._take_event()
            if event is not None:
                return event
            received = self._turns.receive_now()
            if received is None or (received is False and timeout != 0):
                return self._wait_for_event(timeout)
            if received is False:
                return None
            with self._lock:
                if self._turns.over is None:
                    self._process()

    def _wait_for_event(self, timeout: float | None) -> WatchEvent | None:
        deadline = None if timeout is None else monotonic() + timeout
        in_time = True
        while True:
            with self._lock:
                event = self._take_event()
                if event is not None:
                    return event
                self._check()
            if not in_time:
                return None
            in_time = self._wait(self._has_event, deadline)

    def fileno(self) -> int:
        with self._lock:
            if self._let_go or self._turns.over is closed_error:
                self._check()
            if self._readiness is None:
                readiness, bell = select.epoll(), Bell()
                readiness.register(self._transport.fileno(), select.EPOLLIN)
                readiness.register(bell.fileno(), select.EPOLLIN)
                self._readiness, self._bell = readiness, bell
                self._update_bell()
            return self._readiness.fileno()

    def close(self) -> None:
        with self._lock:
            if self._turns.over is closed_error or self._turns.over is forked_error:
                return
            self._session.events.clear()
            self._end(closed_error)
            self._transport.shut()
            if self._turns.leader is None:
                self._give_back()
            else:
                self._transport.wake()  # it is inside wait(): it gives the descriptors back as it leaves

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have had it
        self._turns.over = forked_error
        self._session.events.clear()
        self._turns.leader = None
        self._give_back()

    # Requests.

    def _finish(self, request: Request[T], tx_id: int, reply: Reply, deadline: float | None) -> T:
        """Go on from what the short way came to, where that is not simply the reply."""
        if reply is None and not self._turns.spares:
            self._add_spare()
            reply = self._turns.call(request.type, request.payload(), tx_id, self._timeout)
            if isinstance(reply, bytes):
                return request.decode(reply)
        if isinstance(reply, Pending):
            pending: Pending[T] = reply
            pending.request = request
            self._add_spare()
            return self._await(pending, deadline)
        self._hand_over()
        if not isinstance(reply, tuple):
            return self._call_among_others(request, tx_id)
        type, payload = reply
        if type == request.type:
            return request.decode(payload)
        raise error_reply(request, type, payload)

    def _add_spare(self) -> None:
        """Have one more for requests that go the short way: there are to be as many as threads that do so at a time."""
        with self._lock:
            self._turns.spares.append(self._session.expect(_NOT_YET_KNOWN))

    def _call_among_others(self, request: Request[T], tx_id: int) -> T:
        """Send the request, and lead or follow until its reply is there."""
        pending: Pending[T] | None = None
        try:
            with self._sending():
                pending = self._session.send(request, tx_id)
                self._flush()
        except BaseException:
            if pending is not None:
                self._abandon(pending)
            raise
        return self._await(pending, self._deadline())

    def _await(self, pending: Pending[T], deadline: float | None) -> T:
        try:
            if not self._wait(pending.is_done, deadline, pending):
                raise self._timeout_error()
        except BaseException:
            self._abandon(pending)
            raise
        return pending.result()

    def _abandon(self, pending: Pending[Any]) -> None:
        with self._lock:
            self._session.abandon(pending)
            if self._turns.over is None:
                self._flush()  # what takes back what the request has set up, if its reply was faster

    def _send_many(self, requests: Sequence[Request[Any]], start: int, tx_id: int) -> Batch:
        with self._sending():
            batch = self._session.send_many(requests, start, tx_id)
            self._flush()
            return batch

    def _outcomes(self, on_its_way: deque[Batch]) -> list[Outcome]:
        batch = on_its_way[0]
        if not self._wait(batch.is_done, self._deadline(), batch):
            raise self._timeout_error()
        with self._lock:
            self._session.forget(batch)
        on_its_way.popleft()
        return batch.outcomes()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else monotonic() + self._timeout

    def _timeout_error(self) -> WaitTimeoutError:
        return WaitTimeoutError(errno.ETIMEDOUT, f"no reply came for {self._timeout} seconds")

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Have the session to oneself, to put a request into it; raises where it is over."""
        with self._lock:
            self._check()
            if self._turns.changing:
                raise _reentered_error()
            self._turns.changing = True
            try:
                yield
            finally:
                self._turns.changing = False

    def _flush(self, leading: bool = False) -> None:
        """Send what can be sent without waiting; the lock is held."""
        session = self._session
        send = self._transport.send
        try:
            while True:
                data = session.data_to_send()
                if data is None:
                    return
                try:
                    if not send(data, session.sent):
                        break
                except ConnectionLostError:
                    raise
                except XenStoreError as error:
                    session.refuse(error)
        except ConnectionLostError as error:
            self._lose(error)
            return
        if self._turns.leader is not None and not leading:
            self._transport.wake()  # it waits for what comes in: it must now wait for room to send too

    # Events.

    def _has_event(self) -> bool:
        return bool(self._session.events)

    def _take_event(self) -> WatchEvent | None:
        events = self._session.events
        if not events:
            return None
        event = events.popleft()
        if not events:
            self._update_bell()
        return event

    def _drop_events(self, token: str) -> None:
        """None comes any more for this token: those that came before are not to pile up, where nobody reads them."""
        with self._lock:
            events = self._session.events
            if any(event.token == token for event in events):
                kept = [event for event in events if event.token != token]
                events.clear()
                events.extend(kept)
                self._update_bell()

    def _update_bell(self) -> None:
        """Have the bell say what there is; the lock is held."""
        if self._bell is not None:
            ready = self._turns.over is not None or bool(self._session.events)
            if ready != self._bell_rung:
                self._bell_rung = ready
                self._bell.ring() if ready else self._bell.silence()

    # Waiting.

    def _wait(
        self, ready: Callable[[], bool], deadline: float | None, pending: Pending[Any] | Batch | None = None
    ) -> bool:
        """Wait until `ready`, leading or following; False where the deadline came first. Raises once the connection is
        over.

        `pending` is the request whose reply is waited for; without one it is events.
        """
        me = Leader()
        bell: SimpleQueue[None] | None = None
        try:
            while not ready():
                timeout = None if deadline is None else deadline - monotonic()
                with self._lock:
                    if ready():
                        return True
                    self._check()
                    leader = self._turns.leader
                    if leader is not None and leader.thread != me.thread:
                        if bell is None:
                            bell = self._enrol(pending)
                        leader = self._turns.leader  # again: who left just before that told nobody
                    if leader is None or leader.thread == me.thread:
                        if leader is not None and leader is not me:
                            me.outer = weakref.ref(leader)
                        self._turns.leader = me
                        if self._session.incoming:  # Ctrl-C hit a leader that had received and not yet handed on
                            self._process()
                            if ready():
                                return True
                            self._check()
                        writing = self._session.data_to_send() is not None
                if self._turns.leader is me:
                    self._read(timeout, pending.missing if pending is not None else 0, writing)
                elif bell is not None:
                    self._follow(bell, timeout)
                if timeout is not None and timeout <= 0:
                    return ready()
            return True
        finally:
            if self._turns.leader is me:
                outer = me.outer
                self._turns.leader = None if outer is nobody else outer()
            if me.outer is not nobody and self._turns.leader is not None:
                self._transport.wake()  # what the outer wait waits for may have been read here
            if bell is not None:
                self._turns.followers.pop(bell, None)
            if self._turns.leader is None:
                self._hand_over()

    def _enrol(self, pending: Pending[Any] | Batch | None) -> SimpleQueue[None]:
        bell: SimpleQueue[None] = SimpleQueue()
        self._turns.followers[bell] = pending is None
        if pending is not None:
            pending.wake = lambda: bell.put(None)
        return bell

    def _follow(self, bell: SimpleQueue[None], timeout: float | None) -> None:
        patience = _FOLLOWER_PATIENCE if timeout is None else min(max(timeout, 0.0), _FOLLOWER_PATIENCE)
        try:
            bell.get(timeout=patience)
        except Empty:
            pass

    def _read(self, timeout: float | None, want: int, writing: bool) -> None:
        """Lead: wait for what comes in, or for room to send, and hand on what came."""
        session = self._session
        try:
            self._transport.receive(session.incoming, timeout, want, writing)
        except ConnectionLostError as error:
            with self._lock:
                if self._turns.over is None:
                    self._process()  # what came before the end
                    self._lose(error)
            return
        with self._lock:
            if self._turns.over is None and self._process():
                self._flush(leading=True)

    def _process(self) -> bool:
        """Hand on what came in; the lock is held. False where that was nonsense, and the connection is lost."""
        session = self._session
        before = len(session.events)
        if self._turns.changing:
            raise _reentered_error()
        self._turns.changing = True
        try:
            session.process()
        except XenStoreError as error:
            self._lose(error)
            return False
        finally:
            self._turns.changing = False
        if len(session.events) > before:
            self._update_bell()
            self._wake_followers(of_events=True)
        return True

    def _hand_over(self) -> None:
        """Nobody leads: have a follower do so, or give back what a close left to the last one out."""
        with self._lock:
            if self._turns.leader is not None:
                return
            if self._turns.over is closed_error:
                self._give_back()
            for bell in list(self._turns.followers):
                bell.put(None)
                if self._turns.over is None:
                    break

    def _wake_followers(self, of_events: bool = False) -> None:
        for bell, waits_for_events in list(self._turns.followers.items()):
            if waits_for_events or not of_events:
                bell.put(None)

    # The end.

    def _check(self) -> None:
        over = self._turns.over
        if over is not None:
            raise over()

    def _lose(self, error: XenStoreError) -> None:
        lost = error if isinstance(error, ConnectionLostError) else lost_error(error)
        # Not the error itself: by its traceback it would hold on to the backend, which holds on to this.
        reason, text = lost.errno, lost.strerror
        self._end(lambda: ConnectionLostError(reason, text))
        self._transport.shut()

    def _end(self, over: Callable[[], XenStoreError]) -> None:
        """Nothing goes on from here; the lock is held."""
        self._turns.over = over
        self._session.fail(over)
        self._update_bell()
        self._wake_followers()

    def _give_back(self) -> None:
        if not self._let_go:
            self._let_go = True
            self._transport.close()
            if self._readiness is not None:
                self._readiness.close()
            if self._bell is not None:
                self._bell.close()


def open_wire(path: str, timeout: float | None = None) -> WireBackend:
    """Connect to the socket, or open the device, at `path`; raises OSError, with `path` as its filename, where it
    fails."""
    return WireBackend(open_transport(path, timeout), timeout, path)


def _reentered_error() -> XenStoreError:
    return error_from_errno(
        errno.EDEADLK, None, "a signal handler used the client that it had interrupted in the middle of a step"
    )
