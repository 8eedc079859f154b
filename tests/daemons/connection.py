"""One end of a XenStore connection: requests out, replies and events in."""

from __future__ import annotations

import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import NamedTuple, TypeVar

from .messages import MessageType, Packet, PacketSplitter, strings

TIMEOUT = 5.0
"""Seconds to wait for a daemon. They answer in microseconds; this is for a machine under load."""

_Self = TypeVar("_Self", bound="Connection")


class Reply(NamedTuple):
    type: int
    payload: bytes


def error_reply(name: str) -> Reply:
    """The reply that reports an error, such as "ENOENT"."""
    return Reply(MessageType.ERROR, strings(name))


class Event(NamedTuple):
    path: bytes
    token: bytes


class Connection(ABC):
    """Packets over any stream of bytes. Events that arrive while waiting for a reply are kept in `events`."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self._splitter = PacketSplitter()
        self._last_request_id = 0xF0000000  # far from the first ids of any client that may have used the same ring

    @abstractmethod
    def send(self, data: bytes, timeout: float = TIMEOUT) -> None:
        """Sends all the bytes, as they are."""

    @abstractmethod
    def receive_bytes(self, timeout: float) -> bytes:
        """Waits for some bytes, and returns them."""

    @abstractmethod
    def close(self) -> None: ...

    def receive(self, timeout: float = TIMEOUT) -> Packet:
        """The next packet of any kind."""
        deadline = time.monotonic() + timeout
        while True:
            packet = self._splitter.next_packet()
            if packet is not None:
                return packet
            self._splitter.feed(self.receive_bytes(max(0.0, deadline - time.monotonic())))

    def call(self, type: int, payload: bytes = b"\0", tx_id: int = 0, timeout: float = TIMEOUT) -> Reply:
        """Sends one request and returns the type and payload of its reply. Other replies are dropped."""
        self._last_request_id += 1
        request = Packet(type, self._last_request_id, tx_id, payload)
        self.send(request.encode(), timeout)
        deadline = time.monotonic() + timeout
        while True:
            packet = self.receive(max(0.0, deadline - time.monotonic()))
            if packet.type == MessageType.WATCH_EVENT:
                self.events.append(_event(packet))
            elif packet.request_id == request.request_id:
                return Reply(packet.type, packet.payload)

    def next_event(self, timeout: float = TIMEOUT) -> Event:
        """The oldest kept event, or the next one to arrive. Replies that arrive before it are dropped."""
        deadline = time.monotonic() + timeout
        while not self.events:
            packet = self.receive(max(0.0, deadline - time.monotonic()))
            if packet.type == MessageType.WATCH_EVENT:
                self.events.append(_event(packet))
        return self.events.popleft()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SocketConnection(Connection):
    """A connection to a daemon's unix socket, as dom0."""

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        super().__init__()
        self._socket = connect(path, timeout)

    def send(self, data: bytes, timeout: float = TIMEOUT) -> None:
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(data)
        except socket.timeout:
            raise TimeoutError(f"the store daemon did not take {len(data)} bytes within {timeout} s") from None

    def receive_bytes(self, timeout: float) -> bytes:
        self._socket.settimeout(max(timeout, 0.001))  # zero would make the socket non-blocking, with a different error
        try:
            data = self._socket.recv(65536)
        except socket.timeout:
            raise TimeoutError("the store daemon did not answer in time") from None
        if not data:
            raise ConnectionResetError("the store daemon closed the connection")
        return data

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def connect(path: str, timeout: float = TIMEOUT) -> socket.socket:
    """A blocking socket, connected to the one at that path.

    The daemons' queue of connections not yet accepted holds only one or two, and a socket with a Python timeout, which
    is non-blocking, is refused while it is full. With a timeout set in the kernel, connect waits instead.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _set_send_timeout(connection, timeout)
        connection.connect(path)
        _set_send_timeout(connection, 0)
    except BlockingIOError:
        connection.close()
        raise TimeoutError(f"{path} accepted no connection within {timeout} s") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _set_send_timeout(connection: socket.socket, seconds: float) -> None:
    timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


def _event(packet: Packet) -> Event:
    path, token = packet.payload.split(b"\0")[:2]
    return Event(path, token)
