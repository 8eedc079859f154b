"""One connection to the daemon, and the threads that share it.

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
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from ..errors import ConnectionLostError, ProtocolError, XenStoreError, error_from_errno
from ..protocol.requests import Read, Request
from ..protocol.session import Batch, Pending, Session
from ..records import WatchEvent
from .base import closed_error, forked_error
from .bell import Bell, one_wait
from .transports import Transport, lost_error
from .turns import Leader, nobody, open_turns

__all__ = ["SharedConnection"]

_NOT_YET_KNOWN = Read(b"")  # what a spare is for, until it is known
T = TypeVar("T")


class SharedConnection:
    """A session, its transport, and whose turn it is."""

    def __init__(self, transport: Transport) -> None:
        """`transport` is the connection's from here on."""
        self.session = Session(transport.payload_max, transport.joined, transport.splitters)
        self.lock = threading.RLock()
        self.turns = open_turns(transport, self.session, self.lock)
        self._transport = transport
        self._let_go = False  # descriptors were given back
        self._readiness: select.epoll | None = None
        self._bell: Bell | None = None  # rung while there are events, or the connection is over
        self._bell_rung = False

    # Sending.

    def send(self, request: Request[T], tx_id: int) -> Pending[T]:
        """Send a request whose reply somebody is going to :meth:`wait` for; raises where it is over."""
        sent: list[Pending[T]] = []

        def step() -> None:
            sent.extend(map(self.session.send, (request,), (tx_id,)))  # known as soon as it is there, also to Ctrl-C
            self._flush()

        try:
            with self.lock:
                self.check()
                self._do(step)
            return sent[0]
        except BaseException:
            for pending in sent:
                self.abandon(pending)
            raise

    def send_many(self, requests: Sequence[Request[Any]], start: int, tx_id: int) -> Batch:
        """Send a batch of the requests, from `start` on; raises where it is over."""

        def step() -> Batch:
            batch = self.session.send_many(requests, start, tx_id)
            self._flush()
            return batch

        with self.lock:
            self.check()
            return self._do(step)

    def abandon(self, pending: Pending[Any]) -> None:
        """Nobody waits for this reply any more."""
        with self.lock:
            self.session.abandon(pending)
            if self.turns.over is None:
                self._flush()  # what takes back what the request has set up, if its reply was faster

    def forget(self, batches: Iterable[Batch]) -> None:
        """Nobody waits for the replies to these batches any more, or they are all there."""
        with self.lock:
            for batch in batches:
                self.session.forget(batch)

    def add_spare(self) -> None:
        """Have one more for requests that go the short way: there are to be as many as threads that do so at a time.

        Not in the middle of a step, which a signal handler may have interrupted.
        """
        with self.lock:
            if not self.turns.changing:
                self._do(lambda: self.turns.spares.append(self.session.expect(_NOT_YET_KNOWN)))

    def _do(self, step: Callable[[], T]) -> T:
        """Take a step that changes the session, which nobody else may in the middle of it; the lock is held.

        It is no context manager, since Ctrl-C may hit between the end of the one's beginning and the ``with`` block.
        """
        if self.turns.changing:
            raise error_from_errno(
                errno.EDEADLK, None, "a signal handler used the client that it had interrupted in the middle of a step"
            )
        try:
            try:
                self.turns.changing = True
                return step()
            finally:
                self.turns.changing = False
        except BaseException:
            self.turns.changing = False  # again: before Python 3.10, Ctrl-C may have hit just before it was set
            raise

    def _flush(self, leading: bool = False) -> None:
        """Send what can be sent without waiting; the lock is held."""
        session = self.session
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
        if self.turns.leader is not None and not leading:
            self._transport.wake()  # it waits for what comes in: it must now wait for room to send too

    # Events.

    def next_event(self, timeout: float | None) -> WatchEvent | None:
        """See :meth:`~xsffi.backends.base.Backend.next_event`."""
        try:
            while True:
                with self.lock:
                    event = self._take_event()
                if event is not None:
                    return event
                received = self.turns.receive_now()
                if received is None or (received is False and timeout != 0):
                    return self._wait_for_event(timeout)
                with self.lock:
                    # Who leads by now is taking in more, and hands on this too.
                    if self.session.incoming and self.turns.over is None and self.turns.leader is None:
                        self._process()
                    if received is False:
                        event = self._take_event()
                        self._update_bell()
                        return event
        except BaseException:
            self._ring()
            raise

    def _wait_for_event(self, timeout: float | None) -> WatchEvent | None:
        deadline = None if timeout is None else monotonic() + timeout
        in_time = True
        while True:
            with self.lock:
                event = self._take_event()
                if event is not None:
                    return event
                self.check()
                if not in_time:
                    self._update_bell()
                    return None
            in_time = self.wait(self._has_event, deadline)

    def _has_event(self) -> bool:
        return bool(self.session.events)

    def _take_event(self) -> WatchEvent | None:
        events = self.session.events
        if not events:
            return None
        event = events.popleft()
        if not events:
            self._update_bell()
        return event

    def drop_events(self, token: str) -> None:
        """None comes any more for this token: those that came before are not to pile up, where nobody reads them."""
        with self.lock:
            events = self.session.events
            if any(event.token == token for event in events):
                kept = [event for event in events if event.token != token]
                events.clear()
                events.extend(kept)
                self._update_bell()

    def _update_bell(self) -> None:
        """Have the bell say what there is; the lock is held."""
        if self._bell is not None:
            ready = self.turns.over is not None or bool(self.session.events)
            if ready != self._bell_rung:
                self._bell_rung = ready
                if ready:
                    self._bell.ring()
                else:
                    self._bell.silence()

    def _ring(self) -> None:
        """Ctrl-C may have hit with something that came in and was not handed on: who polls is to look for events."""
        with self.lock:
            if self._bell is not None and not self._bell_rung:
                self._bell_rung = True
                self._bell.ring()

    def fileno(self) -> int:
        """See :meth:`~xsffi.backends.base.Backend.fileno`."""
        with self.lock:
            if self._let_go or self.turns.over is closed_error:
                self.check()
            if self._readiness is None:
                readiness, bell = select.epoll(), Bell()
                readiness.register(self._transport.fileno(), select.EPOLLIN)
                readiness.register(bell.fileno(), select.EPOLLIN)
                self._readiness, self._bell = readiness, bell
                self._update_bell()
            return self._readiness.fileno()

    # Waiting.

    def wait(
        self, ready: Callable[[], bool], deadline: float | None, pending: Pending[Any] | Batch | None = None
    ) -> bool:
        """Wait until `ready`, leading or following; False where the deadline came first. Raises once the connection is
        over.

        `pending` is the request whose reply is waited for; without one it is events.
        """
        me = Leader(threading.get_ident())
        bell: SimpleQueue[None] | None = None
        try:
            while not ready():
                timeout = None if deadline is None else deadline - monotonic()
                with self.lock:
                    leader = self.turns.leader
                    if leader is not None and leader.thread != me.thread:
                        if bell is None:
                            bell = self._enrol(pending)
                        leader = self.turns.leader  # again: who left just before that told nobody
                    if leader is None or leader.thread == me.thread:
                        if leader is not None and leader is not me:
                            me.outer = weakref.ref(leader)
                        self.turns.leader = me
                        if self.session.incoming and self.turns.over is None:
                            self._process()  # Ctrl-C hit a leader that had received and not yet handed on
                    # Last: from here on this is woken by who receives what it waits for, be it a signal handler.
                    if ready():
                        return True
                    self.check()
                    writing = self.session.data_to_send() is not None
                if self.turns.leader is me:
                    self._read(timeout, pending.missing if pending is not None else 0, writing)
                elif bell is not None:
                    self._follow(bell, timeout)
                if timeout is not None and timeout <= 0:
                    return ready()
            return True
        except BaseException:
            self._ring()
            raise
        finally:
            if self.turns.leader is me:
                outer = me.outer
                self.turns.leader = None if outer is nobody else outer()
            if me.outer is not nobody and self.turns.leader is not None:
                self._transport.wake()  # what the outer wait waits for may have been read here
            if bell is not None:
                self.turns.followers.pop(bell, None)
            if self.turns.leader is None:
                self.hand_over()

    def _enrol(self, pending: Pending[Any] | Batch | None) -> SimpleQueue[None]:
        bell: SimpleQueue[None] = SimpleQueue()
        self.turns.followers[bell] = pending is None
        if pending is not None:
            pending.wake = lambda: bell.put(None)
        return bell

    def _follow(self, bell: SimpleQueue[None], timeout: float | None) -> None:
        try:
            bell.get(timeout=one_wait(timeout))
        except Empty:
            pass  # it looks about itself, in case that Ctrl-C hit the leader between leaving and waking it

    def _read(self, timeout: float | None, want: int, writing: bool) -> None:
        """Lead: wait for what comes in, or for room to send, and hand on what came."""
        session = self.session
        try:
            self._transport.receive(session.incoming, timeout, want, writing)
        except ConnectionLostError as error:
            with self.lock:
                if self.turns.over is None:
                    self._process()  # what came before the end
                    self._lose(error)
            return
        with self.lock:
            if self.turns.over is None and self._process():
                self._flush(leading=True)

    def _process(self) -> bool:
        """Hand on what came in; the lock is held. False where that was nonsense, and the connection is lost."""
        session = self.session
        before = len(session.events)
        try:
            self._do(session.process)
        except ProtocolError as error:
            self._lose(error)
            return False
        if len(session.events) > before:
            self._update_bell()
            self._wake_followers(of_events=True)
        return True

    def hand_over(self) -> None:
        """Nobody leads: have a follower do so, or give back what a close left to the last one out."""
        with self.lock:
            if self.turns.leader is not None:
                return
            if self.turns.over is closed_error:
                self._give_back()
            for bell in list(self.turns.followers):
                bell.put(None)
                if self.turns.over is None:
                    break

    def _wake_followers(self, of_events: bool = False) -> None:
        for bell, waits_for_events in list(self.turns.followers.items()):
            if waits_for_events or not of_events:
                bell.put(None)

    # The end.

    def close(self) -> None:
        """See :meth:`~xsffi.backends.base.Backend.close`."""
        with self.lock:
            if self.turns.over is closed_error and self.turns.leader is None:
                self._give_back()  # Ctrl-C may have hit the last one out, to whom a close had left that
            if self.turns.over is closed_error or self.turns.over is forked_error:
                return
            self.session.events.clear()
            self.turns.over = closed_error
            self._end(closed_error)
            if self.turns.leader is None:
                self._give_back()
            else:
                self._transport.wake()  # it is inside wait(): it gives the descriptors back as it leaves

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.backends.base.Forkable.after_fork_in_child`."""
        self.lock = threading.RLock()  # another thread of the parent may have had it
        self.turns.over = forked_error
        self.session.events.clear()
        self.turns.leader = None
        self._give_back()

    def check(self) -> None:
        """Raise what ended the connection, if it is over."""
        over = self.turns.over
        if over is not None:
            raise over()

    def _lose(self, error: XenStoreError) -> None:
        lost = error if isinstance(error, ConnectionLostError) else lost_error(error)
        # Not the error itself: by its traceback it would hold on to the backend, which holds on to this.
        reason, text = lost.errno, lost.strerror

        def over() -> XenStoreError:
            return ConnectionLostError(reason, text)

        # A signal handler may have closed the client until here. From the look on nothing is called that lets one run.
        if self.turns.over is None:
            self.turns.over = over
            self._end(over)

    def _end(self, over: Callable[[], XenStoreError]) -> None:
        """Nothing goes on from here, and `turns` say so already; the lock is held."""
        self.session.fail(over)
        self._update_bell()
        self._wake_followers()
        self._transport.shut()

    def _give_back(self) -> None:
        if not self._let_go:
            self._let_go = True
            self._transport.close()
            if self._readiness is not None:
                self._readiness.close()
            if self._bell is not None:
                self._bell.close()
