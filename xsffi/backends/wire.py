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
from ..protocol.requests import Request, Unwatch
from ..protocol.session import Batch, Pending, Session, error_reply
from ..protocol.wire import check_payload_size
from ..records import WatchEvent
from .base import Outcome, closed_error, forked_error, tell_of_forks
from .bell import Bell
from .transports import Transport, lost_error, open_transport

__all__ = ["WireBackend", "open_wire"]

T = TypeVar("T")

# A follower looks about itself once in so many seconds, in case that Ctrl-C hit the leader between leaving and waking
# it.
_FOLLOWER_PATIENCE = 0.5


_BATCHES = 8  # how many batches are on their way at a time


class _Leader:
    """The thread that reads for all, for one wait of it.

    A signal handler runs in the middle of the wait that it interrupted, and may use the client in its turn: it takes
    over from the outer wait of its own thread, and gives the lead back to it.
    """

    __slots__ = ("__weakref__", "outer", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        # Weak, since Ctrl-C may have ended that wait before it could say so: then nobody else knows of it.
        self.outer: Callable[[], _Leader | None] = _nobody


def _nobody() -> None:
    return None


class WireBackend:
    """One connection to the daemon's socket or the kernel's device (see :class:`~xsffi.backends.base.Backend`)."""

    name = "wire"

    def __init__(self, transport: Transport, timeout: float | None = None, path: str = "") -> None:
        """`transport`, which is connected to `path`, is the backend's from here on; `timeout`: how many seconds a reply
        may take (None: any time)."""
        self._path = path
        self._transport = transport
        self._timeout = timeout
        self._session = Session(transport.payload_max, transport.joined)
        self._payload_max = transport.payload_max
        self._fast = transport.calls
        self._lock = threading.RLock()
        self._leader: _Leader | None = None
        self._followers: dict[SimpleQueue[None], bool] = {}  # each with whether it waits for events
        self._changing = False  # the session is in the middle of a step
        self._over: Callable[[], XenStoreError] | None = None  # makes what every call raises, once there is something
        self._let_go = False  # descriptors were given back
        self._readiness: select.epoll | None = None
        self._bell: Bell | None = None  # rung while there are events, or the connection is over
        self._bell_rung = False
        tell_of_forks(self)

    def call(self, request: Request[T], tx_id: int = 0) -> T:
        if self._fast and not request.leaves_something:
            result = self._call_alone(request, tx_id)
        else:
            result = self._call_among_others(request, tx_id)
        if isinstance(request, Unwatch):
            self._drop_events(request.token.decode("utf-8", "surrogateescape"))
        return result

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
            if self._let_go or self._over is closed_error:
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
            if self._over is closed_error or self._over is forked_error:
                return
            self._session.events.clear()
            self._end(closed_error)
            self._transport.shut()
            if self._leader is None:
                self._give_back()
            else:
                self._transport.wake()  # it is inside wait(): it gives the descriptors back as it leaves

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have had it
        self._over = forked_error
        self._session.events.clear()
        self._leader = None
        self._give_back()

    # Requests.

    def _call_alone(self, request: Request[T], tx_id: int) -> T:
        """Have the transport carry the request by itself, which takes nobody else waiting for anything."""
        payload = request.payload()
        check_payload_size(len(payload), self._payload_max)
        session = self._session
        deadline = self._deadline()
        me = _Leader()
        pending: Pending[T] | None = None
        reply: tuple[int, bytes] | bool = False
        try:
            with self._lock:
                if self._leader is None and self._over is None and not self._changing and session.is_idle():
                    self._leader = me
                    # Known to the session before it is sent: a signal handler that uses the client may read the reply.
                    pending = session.expect(request)
            if pending is not None:
                reply = self._transport.call(request.type, pending.req_id, tx_id, payload, self._timeout)
                if reply is not True:
                    with self._lock:
                        session.expect_no_more(pending)
        except BaseException:
            if pending is not None:
                self._abandon(pending)
            raise
        finally:
            if self._leader is me:
                self._leader = None
                if self._followers or self._over is not None:
                    self._hand_over()
        if pending is None or reply is False:
            return self._call_among_others(request, tx_id)
        if reply is True:
            return self._await(pending, deadline)
        type, payload = reply
        if type == request.type:
            return request.decode(payload)
        raise error_reply(request, type, payload)

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
            if self._over is None:
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
            if self._changing:
                raise _reentered_error()
            self._changing = True
            try:
                yield
            finally:
                self._changing = False

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
        if self._leader is not None and not leading:
            self._transport.wake()  # it waits for what comes in: it must now wait for room to send too

    # Events.

    def _has_event(self) -> bool:
        return bool(self._session.events)

    def _take_event(self) -> WatchEvent | None:
        events = self._session.events
        if not events:
            return None
        event = events.popleft()
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
            ready = self._over is not None or bool(self._session.events)
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
        me = _Leader()
        bell: SimpleQueue[None] | None = None
        try:
            while not ready():
                timeout = None if deadline is None else deadline - monotonic()
                with self._lock:
                    if ready():
                        return True
                    self._check()
                    leader = self._leader
                    if leader is None or leader.thread == me.thread:
                        if leader is not None and leader is not me:
                            me.outer = weakref.ref(leader)
                        self._leader = me
                        if self._session.incoming:  # Ctrl-C hit a leader that had received and not yet handed on
                            self._process()
                            if ready():
                                return True
                            self._check()
                        writing = self._session.data_to_send() is not None
                    elif bell is None:
                        bell = self._enrol(pending)
                if self._leader is me:
                    self._read(timeout, pending.missing if pending is not None else 0, writing)
                elif bell is not None:
                    self._follow(bell, timeout)
                if timeout is not None and timeout <= 0:
                    return ready()
            return True
        finally:
            if self._leader is me:
                outer = me.outer
                self._leader = None if outer is _nobody else outer()
            if me.outer is not _nobody and self._leader is not None:
                self._transport.wake()  # what the outer wait waits for may have been read here
            if bell is not None:
                self._followers.pop(bell, None)
            if self._leader is None:
                self._hand_over()

    def _enrol(self, pending: Pending[Any] | Batch | None) -> SimpleQueue[None]:
        bell: SimpleQueue[None] = SimpleQueue()
        self._followers[bell] = pending is None
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
                if self._over is None:
                    self._process()  # what came before the end
                    self._lose(error)
            return
        with self._lock:
            if self._over is None and self._process():
                self._flush(leading=True)

    def _process(self) -> bool:
        """Hand on what came in; the lock is held. False where that was nonsense, and the connection is lost."""
        session = self._session
        before = len(session.events)
        if self._changing:
            raise _reentered_error()
        self._changing = True
        try:
            session.process()
        except XenStoreError as error:
            self._lose(error)
            return False
        finally:
            self._changing = False
        if len(session.events) > before:
            self._update_bell()
            self._wake_followers(of_events=True)
        return True

    def _hand_over(self) -> None:
        """Nobody leads: have a follower do so, or give back what a close left to the last one out."""
        with self._lock:
            if self._leader is not None:
                return
            if self._over is closed_error:
                self._give_back()
            for bell in list(self._followers):
                bell.put(None)
                if self._over is None:
                    break

    def _wake_followers(self, of_events: bool = False) -> None:
        for bell, waits_for_events in list(self._followers.items()):
            if waits_for_events or not of_events:
                bell.put(None)

    # The end.

    def _check(self) -> None:
        over = self._over
        if over is not None:
            raise over()

    def _lose(self, error: XenStoreError) -> None:
        lost = error if isinstance(error, ConnectionLostError) else lost_error(error)
        self._end(lambda: ConnectionLostError(lost.errno, lost.strerror))
        self._transport.shut()

    def _end(self, over: Callable[[], XenStoreError]) -> None:
        """Nothing goes on from here; the lock is held."""
        self._over = over
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
