"""The wire's connection in pure Python: one lock, and one reader at a time.

A thread that makes a request takes the lock, sends, and reads until its reply arrives. What arrives for others
meanwhile is put where they find it: replies into their exchange, events into their queue. A thread that waits for
events sleeps without the lock.

Python may run a signal handler between any two bytecodes. If one raises while a thread sleeps, it ends that wait and
nothing else. If one raises in the middle of a step, the state of the connection is unknown, so the connection is
closed, and every later call says why.
"""

from __future__ import annotations

import select
import threading
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from os import getpid
from threading import get_ident
from time import monotonic

from ...errors import (
    ConnectionLostError,
    ProtocolError,
    XenStoreError,
    closed_error,
    forked_error,
    interrupted_error,
    lost_error,
    reentered_error,
    timeout_error,
)
from ...paths import encode
from ...protocol.session import SUSPECTS_GRACE, Session
from ...protocol.wire import MessageType
from .events import Queue
from .polling import Poller, Wakeup, combine, one_wait
from .spin import Spin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...protocol.session import EventQueue, Exchange, Message, Reply
    from ...static_types import T
    from .transports import Transport

__all__ = ["Connection"]

_READ = int(MessageType.READ)
# How many reads one look for events makes at most: a peer that never stops sending must not block the caller.
_ROUNDS_MAX = 16


def _always_readable() -> Wakeup | None:
    try:
        wakeup = Wakeup()
    except XenStoreError:
        return None
    wakeup.set()
    return wakeup


# An epoll silently drops descriptors that are closed, though somebody may still be polling it. This descriptor, open
# for the life of the process and always readable, replaces them.
_EVER_READY = _always_readable()


class Connection:
    """A connection to the daemon's socket or the kernel's device."""

    def __init__(self, transport: Transport, timeout: float | None) -> None:
        """Takes ownership of `transport`. `timeout`: how many seconds a reply may take (None: no limit).

        Raises XenStoreError if no descriptors are left.
        """
        self._closers: list[Callable[[], None]] = []
        self._transport = transport
        self._timeout = timeout
        self._patience = -1.0 if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        self._pid = getpid()
        self._session = Session(transport.joined)
        self._lock = threading.Lock()  # guards session and transport
        self._incoming: list[bytes] = []  # received but not yet processed
        self._inside: set[int] = set()  # threads in the middle of a call; those asleep for events do not count
        self._asleep: set[object] = set()  # other users of the descriptors
        self._busy = False  # the thread that holds the lock is in the middle of a step
        # The error of every call once closed, or in a child process; and once lost. Two fields, so that a close()
        # during the discovery of a loss is not forgotten.
        self._ended: Callable[[], XenStoreError] | None = None
        self._lost: Callable[[], XenStoreError] | None = None
        self._spin = Spin()
        self._queues: set[Queue] = set()
        self._followers: set[Queue] = set()  # queues whose reader waits for its turn to read the stream
        self._free_wakeups: list[Wakeup] = []  # of closed queues
        self._epolls: dict[Wakeup, select.epoll] = {}  # behind each queue's fileno(), created on first use
        self._wakeup = self._new_wakeup()  # ends the wait of the thread that holds the lock
        self._closers.append(transport.close)
        self._poller = Poller(transport.fileno(), self._wakeup.fileno())

    def __del__(self) -> None:
        if hasattr(self, "_closers"):  # otherwise __init__ failed
            self._close_descriptors()

    # Requests.

    def read(self, path: str) -> Reply:
        """The reply to READ."""
        return self.carry(_READ, encode(path) + b"\0")

    def carry(self, type: int, payload: bytes, tx_id: int = 0) -> Reply:
        """Send a request, and wait for its reply."""
        deadline = self._deadline()
        return self._locked(lambda: self._complete(self._session.send(((type, payload),), tx_id), deadline))[0]

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Send a request whose reply is ignored; does nothing on a closed or lost connection."""

        def step() -> None:
            self._session.post(type, payload, tx_id)
            self._flush()

        if not self.is_over:
            self._locked(step)

    def send_many(self, messages: Sequence[Message], tx_id: int = 0) -> Exchange:
        """Send requests whose replies :meth:`replies` waits for."""

        def step() -> Exchange:
            exchange = self._session.send(messages, tx_id)
            self._flush()
            return exchange

        return self._locked(step)

    def replies(self, exchange: Exchange, within: float | None = None) -> list[Reply]:
        """The replies to an exchange, in order. `within`: how many seconds they may take, if less than the timeout of
        the connection; includes the time of any other thread that reads meanwhile."""
        deadline = self._deadline()
        if within is not None:
            deadline = min(monotonic() + within, inf if deadline is None else deadline)
        return self._locked(lambda: self._complete(exchange, deadline))

    def forget(self, exchange: Exchange) -> None:
        """Ignore the replies to an exchange; requests not yet sent are dropped."""
        if not self.is_over:
            self._locked(lambda: self._session.abandon(exchange))

    def _complete(self, exchange: Exchange, deadline: float | None) -> list[Reply]:
        """Send, and read until the exchange is complete; the lock is held."""
        session = self._session
        try:
            unsent = self._flush()
            begin = monotonic()
            spin = self._spin.time() if len(exchange.messages) == 1 else 0.0
            while True:
                if not exchange.missing:
                    if len(exchange.messages) == 1:
                        self._spin.learn(spin > 0, begin)
                    return exchange.replies  # type: ignore[return-value]  # complete
                self._busy = False
                if self._ended is not None or self._lost is not None:
                    self.check()
                if deadline is not None and monotonic() >= deadline:
                    raise timeout_error(self._timeout)
                ready = self._sleep(begin + spin, deadline, unsent)
                self._busy = True
                if ready:
                    self._take_in()
                elif session.suspects:
                    session.accept_suspects()
                if session.has_data_to_send:
                    unsent = self._flush()
        except BaseException:
            if not self._busy and not self.is_over:
                self._busy = True
                self._process()
                session.abandon(exchange)
                self._flush()
                self._busy = False
            raise

    def _sleep(self, spin_until: float, deadline: float | None, unsent: bool) -> bool:
        """Wait for input, or for room to send; the lock is held, but not in the middle of a step."""
        while monotonic() < spin_until:
            if self._receive():
                return True
        seconds = one_wait(None if deadline is None else deadline - monotonic())
        if self._session.suspects:
            seconds = min(seconds, SUSPECTS_GRACE)
        if unsent and self._transport.write_retry is not None:
            seconds = min(seconds, self._transport.write_retry)
        return bool(self._poller.wait(seconds, self._transport.fileno() if unsent else None))

    def _flush(self) -> bool:
        """Send what can be sent without blocking; whether something is left. The lock is held."""
        session = self._session
        while (data := session.data_to_send()) is not None:
            try:
                size = self._transport.send(data)
            except ConnectionLostError as error:
                raise self._find_lost(error) from None
            except XenStoreError as error:
                session.refuse(error)
                continue
            if not size:
                return True
            session.data_sent(size)
        return False

    def _take_in(self) -> bool:
        """Receive and process what has arrived; whether something had. The lock is held."""
        if not self._incoming:
            self._receive()
        return self._process()

    def _receive(self) -> bool:
        """Append what has arrived to what :meth:`_process` takes; whether something had."""
        try:
            return self._transport.receive(self._incoming)
        except ConnectionLostError as error:
            raise self._find_lost(error) from None

    def _process(self) -> bool:
        """Dispatch what was received."""
        incoming = self._incoming
        if not incoming:
            return False
        try:
            for data in incoming:
                self._session.receive_data(data)
        except ProtocolError as error:
            raise self._lose(error) from None
        incoming.clear()
        if self._queues:
            for queue in list(self._queues):
                queue.update()
        return True

    # Events.

    def events(self, prefix: str, limit: int = 0) -> Queue:
        """See :meth:`~xsffi.backends.base.Backend.events`."""
        with self.used():
            self.check()
            try:
                wakeup = self._free_wakeups.pop()
                wakeup.clear()
            except IndexError:
                wakeup = self._new_wakeup()
            try:
                queue = Queue(self, self._session.queues.open(prefix, limit), wakeup)
            except ValueError:
                self.take_back(wakeup)
                raise
            self._queues.add(queue)
            return queue

    def look(self) -> bool:
        """Process what has arrived; False if another thread is reading."""

        def step() -> bool:
            for _ in range(_ROUNDS_MAX):
                if not self._take_in():
                    break
            self._flush()  # there may be a transaction to abort that nobody waits for
            return True

        try:
            return self._locked(step, wait=False)
        except BlockingIOError:
            return False

    def sleep(self, queue: Queue, wakeup: Wakeup, timeout: float | None, look: bool) -> None:
        """Wait until the wakeup is set or, if `look`, input arrives. Call without the lock, within :meth:`used`."""
        if self.is_over:
            return
        if look:
            Poller(self._transport.fileno(), wakeup.fileno()).wait(one_wait(timeout))
            return
        # A reader wakes the followers when it stops reading.
        self._followers.add(queue)
        if self._lock.locked():
            Poller(wakeup.fileno()).wait(one_wait(timeout))
        self._followers.discard(queue)

    def descriptor(self, wakeup: Wakeup) -> int:
        """A descriptor that is readable while the wakeup is set, or input has arrived."""
        with self.used():
            if self._ended is not None:
                raise self._ended()
            epoll = self._epolls.get(wakeup)
            if epoll is None:
                epoll = self._epolls[wakeup] = combine(self._transport.fileno(), wakeup.fileno())
                self._closers.append(epoll.close)
            return epoll.fileno()

    def new_token(self, queue: EventQueue) -> bytes:
        """A token for the queue, unique across threads."""
        return queue.new_token() if self.is_over else self._locked(queue.new_token)

    def close_queue(self, queue: Queue, of: EventQueue) -> None:
        """Forget a closed queue."""
        self._session.queues.close(of)
        self._queues.discard(queue)

    def take_back(self, wakeup: Wakeup) -> None:
        """Reuse the wakeup of a closed queue that nobody waits for any more."""
        self._free_wakeups.append(wakeup)

    # Entry and exit.

    def _locked(self, step: Callable[[], T], wait: bool = True) -> T:
        """Run `step` with the lock held; without `wait`, raise BlockingIOError if another thread holds it."""
        if getpid() != self._pid:
            self.after_fork_in_child()  # a finalizer may run before the fork hooks
        me = get_ident()
        if me in self._inside:
            raise reentered_error()
        lock = self._lock  # a signal handler may fork meanwhile, and the child has a new one
        held: list[bool] = []
        try:
            self._inside.add(me)
            try:
                # One call, so that no exception can come between taking the lock and recording that.
                held.extend(map(lock.acquire, (wait,), (self._patience if wait else -1,)))
                if not held[0]:
                    raise timeout_error(self._timeout) if wait else BlockingIOError()
                if self._ended is not None or self._lost is not None:
                    self.check()
                self._busy = True
                result = step()
                self._busy = False
                return result
            except BaseException as error:
                if self._busy and held and held[0]:
                    self._lose(interrupted_error(type(error)))
                raise
            finally:
                if held and held[0]:
                    self._busy = False
                    lock.release()
                if self._followers:
                    for queue in list(self._followers):
                        queue.notify()
        finally:
            self._inside.discard(me)
            if self._ended is not None:
                self._release()

    def _new_wakeup(self) -> Wakeup:
        wakeup = Wakeup()
        try:
            self._closers.append(wakeup.close)
        except BaseException:
            wakeup.close()
            raise
        return wakeup

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the descriptors open meanwhile, without taking the lock."""
        user = object()
        try:
            self._asleep.add(user)
            yield
        finally:
            self._asleep.discard(user)
            self._release()

    def check(self) -> None:
        """Raise the reason if the connection has ended."""
        over = self._ended or self._lost
        if over is not None:
            raise over()

    @property
    def is_over(self) -> bool:
        """Whether it was closed or lost."""
        return self._ended is not None or self._lost is not None

    def _deadline(self) -> float | None:
        return None if self._timeout is None else monotonic() + self._timeout

    # Closing.

    def close(self) -> None:
        """See :meth:`~xsffi.backends.base.Backend.close`."""
        if self._ended is forked_error:
            return
        self._ended = closed_error
        for queue in list(self._queues):
            queue.clear()
        if _EVER_READY is not None:
            for epoll in list(self._epolls.values()):
                with suppress(OSError, ValueError):  # already closed
                    epoll.register(_EVER_READY.fileno(), select.EPOLLIN)
        self._end()

    def after_fork_in_child(self) -> None:
        """See :meth:`~xsffi.forks.Forkable.after_fork_in_child`."""
        self._ended = forked_error
        self._pid = getpid()
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._inside.clear()
        self._asleep.clear()
        self._close_descriptors()
        for queue in list(self._queues):
            queue.clear()

    def _lose(self, error: XenStoreError) -> XenStoreError:
        """Mark the connection as lost for this reason, if it has not ended yet. Returns what to raise; the lock is
        held."""
        over = self._ended or self._lost
        if over is not None:
            error = over()
        elif isinstance(error, ConnectionLostError):
            self._lost = partial(ConnectionLostError, error.errno, error.strerror)
        else:
            self._lost = partial(lost_error, f"it was closed: {error.strerror}")
        self._end()  # perhaps again: it may have been interrupted
        return error

    def _find_lost(self, error: ConnectionLostError) -> XenStoreError:
        """The other end is gone: returns what to raise, once all that it sent has been processed. The lock is held."""
        self._busy = True
        self._take_the_rest()
        return self._lose(error)

    def _take_the_rest(self) -> None:
        """Process what arrived before the end."""
        try:
            while self._transport.receive(self._incoming):
                pass
        except ConnectionLostError:
            pass
        try:
            self._process()
        except XenStoreError:
            pass  # it ended with garbage

    def _end(self) -> None:
        """Wake every waiter; the reason is already recorded."""
        with self.used():
            self._transport.shut()
            self._wakeup.set()
            for queue in list(self._queues):
                queue.notify()

    def _release(self) -> None:
        """After close(), the last thread to leave closes the descriptors."""
        if self._ended is closed_error and not self._inside and not self._asleep:
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        closers = self._closers
        while closers:
            try:
                closers.pop()()
            except IndexError:
                pass  # another thread took it first
