"""The loop that serves a store's clients over sockets: the only part of the server that waits and reads the clock."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ..errors import XenStoreError
from .connection import Connection
from .listener import Listener, hang_up
from .store import Peer, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..static_types import T

__all__ = ["Loop"]

_log = logging.getLogger("xsffi.server")

_RECEIVE_SIZE = 65536
_DELAYED_RETRY = 0.01  # seconds until delayed output that found no room is tried again
_DELAYED_MAX = 1000  # delayed pieces beyond which a client's requests are not processed
_ACCEPT_PAUSE = 0.1  # seconds to pause accepting when there are no descriptors left
# Seconds, even if nothing is due: a signal that arrives just before the kernel starts to wait does not end the wait,
# and Python runs its handler only afterwards.
_LONGEST_WAIT = 0.5


class Loop:
    """Serves a store in the thread that calls :meth:`run`. Other threads may only use :meth:`call` and :meth:`stop`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._selector = selectors.DefaultSelector()
        self._clients: dict[Peer, _Client] = {}
        self._listeners: list[tuple[int, Listener]] = []  # each with the domain that its clients belong to
        self._delayed: set[_Client] = set()
        self._accept_again = 0.0  # when to resume accepting; 0: not paused
        self._accepting_failed = False
        self._calls: deque[Callable[[], object]] = deque()
        self._stopping = False
        self._owner = os.getpid()
        self._closed = False
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer_calls)

    # From any thread.

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the loop's thread, between two requests, and return its result or raise its exception.

        Raises RuntimeError if the loop has ended, and in a child process, where the loop does not run.
        """
        if os.getpid() != self._owner:
            raise RuntimeError("the store belongs to the parent process: connect to its socket instead")
        # No lock, and a queue whose put() never waits: a signal handler that stops the store may interrupt this.
        outcome: SimpleQueue[tuple[T] | BaseException] = SimpleQueue()

        def work() -> None:
            try:
                outcome.put((function(),))
            except BaseException as error:
                outcome.put(error)

        self._calls.append(work)
        if self._closed:
            try:
                self._calls.remove(work)
            except ValueError:
                pass  # the loop took it first, and calls it as it ends
            else:
                raise RuntimeError("the store has been stopped")
        self._ring()
        result = outcome.get()
        if isinstance(result, BaseException):
            raise result
        return result[0]

    def stop(self) -> None:
        """Let :meth:`run` return. Safe in signal handlers."""
        self._stopping = True
        self._ring()

    # In the loop's thread, or before it runs.

    def listen(self, path: str, domid: int = 0) -> None:
        """Serve clients that connect to a unix socket at `path` as clients in a domain; raises OSError as
        :class:`.listener.Listener` does."""
        listener = Listener(path)
        self._listeners.append((domid, listener))
        if not self._accept_again:
            self._accept_from(listener, domid)

    def socket_path(self, domid: int) -> str | None:
        """The socket for clients in a domain, the first if there are several; None if there is none."""
        return next((listener.path for owner, listener in self._listeners if owner == domid), None)

    def add(self, connected: socket.socket, domid: int = 0) -> None:
        """Serve a client at the other end of a socket, taking ownership of it; raises NodeNotFoundError if its domain
        is not introduced."""
        connected.setblocking(False)
        client = _Client(connected, Connection(self.store, domid))
        self._clients[client.connection] = client
        self._selector.register(connected, selectors.EVENT_READ, client)

    def run(self) -> None:
        """Serve until :meth:`stop`, then close all connections and remove the sockets."""
        try:
            while not self._stopping:
                for key, mask in self._selector.select(self._timeout()):
                    if isinstance(key.data, _Client):
                        self._serve(key.data, mask)
                    else:
                        key.data(mask)
                self._send_all()
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections and remove the sockets. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._run_calls()
        for client in list(self._clients.values()):
            self._close(client)
        self._close_listeners(self._listeners)
        self.store.trace.close()
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    # Inside.

    def _serve(self, client: _Client, mask: int) -> None:
        if client.socket.fileno() < 0:
            return  # closed in this round
        if mask & selectors.EVENT_READ:
            try:
                data = client.socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(client)
                return
            self._guard(client.connection, lambda: client.connection.receive_data(data))
        self.store.talkative.add(client.connection)

    def _guard(self, connection: Connection, work: Callable[[], None]) -> None:
        """Do what a client requested; an internal error ends that connection, not the others."""
        try:
            work()
        except Exception:
            _log.exception("internal error in a request of domain %d", connection.domain.domid)
            connection.end("internal error")

    def _send_all(self) -> None:
        # Before the answer to RELEASE: once a client has that, the domain's sockets are gone.
        released = [(domid, listener) for domid, listener in self._listeners if not self._is_introduced(domid)]
        if released:
            self._close_listeners(released)
        talkative = self.store.talkative
        while talkative:
            client = self._clients.get(talkative.pop())
            if client is not None:
                self._send(client)
        if self._delayed:
            now = time.monotonic()
            for client in [client for client in self._delayed if client.next_delayed <= now]:
                self._send(client)

    def _send(self, client: _Client) -> None:
        """Send what can be sent, process requests that had to wait for that, and schedule the rest."""
        connection = client.connection
        try:
            blocked = self._push(client)
            while not blocked and connection.ended is None:
                self._guard(connection, connection.process)  # requests left while too many answers were unread
                if not connection.data_to_send():
                    break
                blocked = self._push(client)
        except OSError:
            self._close(client)
            return
        if connection.ended is not None and not blocked and client not in self._delayed:
            self._close(client)
            return
        reading = connection.wants_data and len(client.delayed) < _DELAYED_MAX
        interest = (selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if blocked else 0)
        self._set_interest(client, interest)

    def _push(self, client: _Client) -> bool:
        """Send; True if the client must read before more can be sent."""
        connection = client.connection
        delay = self.store.faults.delay
        if delay > 0 or client.delayed:
            self._hold_back(client, delay)
            return False
        while True:
            data = connection.data_to_send()
            if not data:
                return False
            try:
                count = client.socket.send(data)
            except BlockingIOError:
                return True
            connection.data_sent(count)

    def _hold_back(self, client: _Client, delay: float) -> None:
        """Take pending output, and send what has been delayed long enough."""
        now = time.monotonic()
        connection = client.connection
        while True:
            data = connection.data_to_send()
            if not data:
                break
            client.delayed.append((now + delay, data))
            connection.data_sent(len(data))
        while client.delayed and client.delayed[0][0] <= now:
            _, data = client.delayed.popleft()
            try:
                count = client.socket.send(data)
            except BlockingIOError:
                count = 0
            if count < len(data):
                client.delayed.appendleft((now + _DELAYED_RETRY, data[count:]))
                break
        if client.delayed:
            self._delayed.add(client)
        else:
            self._delayed.discard(client)

    def _set_interest(self, client: _Client, interest: int) -> None:
        if interest == client.interest:
            return
        if client.interest == 0:
            self._selector.register(client.socket, interest, client)
        elif interest == 0:
            self._selector.unregister(client.socket)
        else:
            self._selector.modify(client.socket, interest, client)
        client.interest = interest

    def _accept(self, listener: Listener, domid: int) -> None:
        while True:
            try:
                connected, _ = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Most likely there are no descriptors left. Pending clients can be accepted later.
                if not self._accepting_failed:
                    _log.warning("cannot accept a client: %s", error.strerror)
                self._accepting_failed = True
                self._pause_accepting()
                return
            self._accepting_failed = False
            try:
                self.add(connected, domid)
            except XenStoreError:
                hang_up(connected)

    def _accept_from(self, listener: Listener, domid: int) -> None:
        self._selector.register(listener.socket, selectors.EVENT_READ, lambda _: self._accept(listener, domid))

    def _pause_accepting(self) -> None:
        if not self._accept_again:
            for _, listener in self._listeners:
                self._selector.unregister(listener.socket)
        self._accept_again = time.monotonic() + _ACCEPT_PAUSE

    def _resume_accepting(self) -> None:
        self._accept_again = 0.0
        for domid, listener in self._listeners:
            self._accept_from(listener, domid)

    def _timeout(self) -> float:
        times = [client.next_delayed for client in self._delayed]
        if self._accept_again:
            if self._accept_again <= time.monotonic():
                self._resume_accepting()
            else:
                times.append(self._accept_again)
        if not times:
            return _LONGEST_WAIT
        return min(max(0.0, min(times) - time.monotonic()), _LONGEST_WAIT)

    def _close(self, client: _Client) -> None:
        if client.interest:
            self._selector.unregister(client.socket)
            client.interest = 0
        hang_up(client.socket)
        client.connection.close()
        self._clients.pop(client.connection, None)
        self._delayed.discard(client)

    def _close_listeners(self, closing: list[tuple[int, Listener]]) -> None:
        self._listeners = [one for one in self._listeners if one not in closing]
        for _, listener in closing:
            if not self._accept_again:
                self._selector.unregister(listener.socket)
            listener.close()

    def _is_introduced(self, domid: int) -> bool:
        domain = self.store.domains.find(domid)
        return domain is not None and domain.introduced

    def _ring(self) -> None:
        try:
            self._ringer.send(b"\0")
        except OSError:
            pass  # already rung, or closed

    def _answer_calls(self, mask: int) -> None:
        try:
            self._bell.recv(4096)
        except BlockingIOError:
            pass
        self._run_calls()

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()


class _Client:
    """A socket and its connection."""

    __slots__ = ("connection", "delayed", "interest", "socket")

    def __init__(self, connected: socket.socket, connection: Connection) -> None:
        self.socket = connected
        self.connection = connection
        self.interest = selectors.EVENT_READ  # what the selector waits for; 0: nothing
        self.delayed: deque[tuple[float, bytes]] = deque()  # delayed output, and until when

    @property
    def next_delayed(self) -> float:
        """When the next piece of delayed output is due."""
        return self.delayed[0][0]
