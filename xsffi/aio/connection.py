"""The connection to the daemon, awaited: requests and their replies, and delivery of events.

Everything runs in the thread of one event loop, so nothing can intervene between two awaits, and no lock is needed.
Requests that tasks make in one iteration of the loop are sent together.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import contextmanager
from functools import partial

from ..addresses import Kind
from ..errors import (
    ConnectionLostError,
    ForkedError,
    ProtocolError,
    closed_error,
    error_from_errno,
    forked_error,
    interrupted_error,
    lost_error,
    timeout_error,
)
from ..protocol.session import SUSPECTS_GRACE, Session
from ..static_types import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..errors import XenStoreError
    from ..protocol.session import EventQueue, Exchange, Message, Reply
    from ..records import WatchEvent
    from .transport import Transport

__all__ = ["Connection", "Receiver"]

# The errnos of a device that is gone, as opposed to those about one message.
_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.EBADF)


class Receiver(Protocol):
    """Receives the events of a queue."""

    def receive(self, event: WatchEvent) -> None:
        """Called with each event, with its token as received."""

    def end(self, error: Callable[[], XenStoreError]) -> None:
        """Called when no more events will arrive: the connection has ended. `error` makes the exception for that."""


class Connection:
    """One connection, which belongs to the event loop that opened it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport, timeout: float | None) -> None:
        """Takes ownership of `transport`. `timeout`: how many seconds a reply may take (None: no limit).

        Raises OSError, after closing the transport, if the loop cannot poll it.
        """
        self._loop = loop
        self._transport = transport
        self._timeout = timeout
        self._pid = os.getpid()
        self._session = Session(transport.kind == Kind.SOCKET, _complete)
        self._receivers: dict[EventQueue, Receiver] = {}
        self._over: Callable[[], XenStoreError] | None = (
            None  # makes the error of every call once the connection has ended
        )
        self._will_flush = False
        self._grace: asyncio.TimerHandle | None = None
        try:
            transport.start(self._receive, self._flush)
        except BaseException:
            transport.close()
            raise

    # Requests.

    def send_many(self, messages: Sequence[Message], tx_id: int = 0) -> Exchange:
        """Send requests whose replies :meth:`replies` waits for."""
        self.check()
        try:
            exchange = self._session.send(messages, tx_id)
            self._flush_soon()
            return exchange
        except BaseException as error:
            self._give_up(error)
            raise

    async def replies(self, exchange: Exchange, within: float | None = None) -> list[Reply]:
        """The replies to an exchange, in order. If the wait ends early, late replies are dropped, and a watch or
        transaction that was to be set up is undone. `within`: how many seconds they may take, if less than the timeout
        of the connection."""
        timer = None
        timeout = self._timeout
        if within is not None and (timeout is None or within < timeout):
            timeout = within
        try:
            if exchange.missing:
                self.check()
                exchange.waiter = waiter = self._loop.create_future()
                if timeout is not None:
                    timer = self._loop.call_later(timeout, _time_out, waiter, timeout)
                await waiter
            return exchange.replies  # type: ignore[return-value]  # complete
        except BaseException:
            self.forget(exchange)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def forget(self, exchange: Exchange) -> None:
        """Ignore the replies to an exchange; requests not yet sent are dropped."""
        if self._over is None and self._is_here():
            with self._step():
                if exchange.missing:
                    self._session.abandon(exchange)
                else:
                    self._session.take_back(exchange)
                self._flush_soon()

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Send a request whose reply is ignored; does nothing on a closed or lost connection, or outside its loop."""
        if self._over is None and self._is_here():
            with self._step():
                self._session.post(type, payload, tx_id)
                self._flush_soon()

    # Events.

    def open_queue(self, prefix: str, receiver: Receiver) -> EventQueue:
        """A new queue of events, delivered to `receiver`."""
        self.check()
        queue = self._session.queues.open(prefix)
        self._receivers[queue] = receiver
        return queue

    def close_queue(self, queue: EventQueue) -> None:
        """Forget a queue whose watches were removed."""
        self._session.queues.close(queue)
        self._receivers.pop(queue, None)

    # Closing.

    def check(self) -> None:
        """Raise if no call can succeed."""
        self.check_place()
        if self._over is not None:
            raise self._over()

    def check_place(self) -> None:
        """Raise ForkedError in a child process, and RuntimeError in another event loop."""
        if os.getpid() != self._pid:
            raise forked_error()
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the client belongs to another event loop, which opened it")

    def _is_here(self) -> bool:
        try:
            self.check_place()
        except (ForkedError, RuntimeError):
            return False
        return True

    def close(self) -> None:
        """Close it, and end every wait."""
        if os.getpid() == self._pid:
            self._end(closed_error)

    # Inside.

    def _flush_soon(self) -> None:
        if not self._will_flush:
            self._loop.call_soon(self._flush)
            self._will_flush = True

    def _flush(self) -> None:
        self._will_flush = False
        with self._step():
            self._send()

    def _send(self) -> None:
        session = self._session
        while self._over is None and (data := session.data_to_send()) is not None:
            try:
                size = self._transport.send(data)
            except OSError as error:
                if self._transport.kind == Kind.SOCKET or error.errno in _GONE:
                    while self._over is None and self._take_in():
                        pass  # what arrived before the end still counts
                    self._lose(error)
                else:
                    session.refuse(error_from_errno(error.errno or errno.EIO))
                continue
            if not size:
                self._transport.wait_for_room()
                return
            session.data_sent(size)
        if self._over is None:
            self._transport.has_room()

    def _receive(self) -> None:
        with self._step():
            self._take_in()

    def _take_in(self) -> bool:
        """Receive and process some input; whether there was any."""
        ended: OSError | None = None
        try:
            data = self._transport.receive()
            if data is None:
                return False
            if not data:
                raise lost_error()
            self._session.receive_data(data)
        except OSError as error:
            ended = error
        for queue, receiver in list(self._receivers.items()):
            events = queue.events
            while events:
                receiver.receive(events.popleft())
        if ended is not None:
            self._lose(ended)
            return False
        if self._session.suspects and self._grace is None:
            self._grace = self._loop.call_later(SUSPECTS_GRACE, self._accept_suspects)
        if self._session.has_data_to_send:
            self._flush_soon()  # there may be a transaction to abort that nobody waits for
        return True

    @contextmanager
    def _step(self) -> Iterator[None]:
        """An exception in the middle of this (Ctrl-C, or out of memory) closes the connection."""
        try:
            yield
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Close the connection after an exception at an unknown point."""
        self._end(partial(interrupted_error, type(error)))

    def _accept_suspects(self) -> None:
        self._grace = None
        if self._session.suspects:
            self._session.accept_suspects()

    def _lose(self, error: OSError) -> None:
        if isinstance(error, ConnectionLostError):
            self._end(lost_error)
        elif isinstance(error, ProtocolError):
            self._end(partial(lost_error, f"it was closed: {error.strerror}"), error)
        else:
            self._end(partial(lost_error, error.strerror))

    def _end(self, over: Callable[[], XenStoreError], first: XenStoreError | None = None) -> None:
        """The connection has ended: end every wait, the first one with `first` if given."""
        if self._over is not None:
            return
        self._over = over
        self._transport.close()
        if self._loop.is_closed():
            return  # nobody waits
        if self._grace is not None:
            self._grace.cancel()
        for exchange in self._session.unanswered():
            if exchange.waiter is not None and not exchange.waiter.done():
                exchange.waiter.set_exception(first or over())
                first = None
        self._session = Session()  # drops what is in the old one
        for receiver in list(self._receivers.values()):
            receiver.end(over)


def _time_out(waiter: asyncio.Future[None], timeout: float) -> None:
    if not waiter.done():
        waiter.set_exception(timeout_error(timeout))


def _complete(exchange: Exchange) -> None:
    """All replies have arrived: wake the waiter."""
    if exchange.waiter is not None and not exchange.waiter.done():
        exchange.waiter.set_result(None)
