"""An unprivileged guest: the other end of the ring that a domain shares with the store daemon."""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import time
from contextlib import suppress

from .connection import TIMEOUT, Connection
from .daemon import Daemon

_RING = 1024
"""Bytes in each of the two rings; requests lie at the start of the page, replies and events behind them."""

# The offsets of the indices in the page, in 32-bit words: how far each ring has been read and written.
_REQUESTS_READ, _REQUESTS_WRITTEN, _REPLIES_READ, _REPLIES_WRITTEN = range(512, 516)

_FIRST_PORT = 100
"""The stand-in for the hypervisor binds domain N to this port + N."""

_RETRY = 0.001
"""Seconds until a doorbell that found the daemon's queue full is rung again."""


class Guest(Connection):
    """A domain's connection to the store. The domain is created (see Daemon.create_domain) if it does not exist.

    Unlike a socket, it never ends: the contents of the ring, and the domain's watches and transactions, outlive this
    object. A domain can have only one at a time.
    """

    def __init__(self, daemon: Daemon, domid: int) -> None:
        super().__init__()
        self.daemon = daemon
        self.domid = domid
        if not daemon.is_introduced(domid):
            daemon.create_domain(domid)
        descriptor = os.open(daemon.ring_path(domid), os.O_RDWR | os.O_CLOEXEC)
        try:
            self._page = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        # The daemon may read an index at any time. A store through this view is a single 32-bit store, whereas
        # struct.pack_into("<I") would write byte by byte.
        self._bytes = memoryview(self._page)
        self._indices = self._bytes.cast("I")
        self._port = struct.pack("@I", _FIRST_PORT + domid)
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._bell.setblocking(False)
        bell_path = daemon.directory / f"guest-{_FIRST_PORT + domid}"
        bell_path.unlink(missing_ok=True)
        self._bell.bind(str(bell_path))
        self._daemon_bell = str(daemon.directory / "evtchn")
        self.owes_ring = False
        """Whether the daemon's queue of doorbells was full, so that `ring` must be called again soon."""

    # The connection

    def send(self, data: bytes, timeout: float = TIMEOUT) -> None:
        deadline = time.monotonic() + timeout
        rest = memoryview(data)
        while True:
            rest = rest[self.put(rest) :]
            if not rest:
                return
            # The daemon may itself be waiting until we take what it wrote.
            self._splitter.feed(self.take(_RING))
            self._wait(deadline)

    def receive_bytes(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            data = self.take(_RING)
            if data:
                return data
            self._wait(deadline)

    def close(self) -> None:
        self._indices.release()
        self._bytes.release()
        self._page.close()
        self._bell.close()

    # The ring, without waiting

    def put(self, data: memoryview) -> int:
        """Writes as much as there is room for, and returns how much that was."""
        written = self._indices[_REQUESTS_WRITTEN]
        room = _RING - (written - self._indices[_REQUESTS_READ]) % 2**32
        start = written % _RING
        count = min(room, _RING - start, len(data))
        if count:
            self._bytes[start : start + count] = data[:count]
            self._indices[_REQUESTS_WRITTEN] = (written + count) % 2**32
            self.ring()
        return count

    def take(self, limit: int) -> bytes:
        """Reads up to so many bytes; none if there are none."""
        read = self._indices[_REPLIES_READ]
        start = read % _RING
        count = min((self._indices[_REPLIES_WRITTEN] - read) % 2**32, _RING - start, limit)
        data = bytes(self._bytes[_RING + start : _RING + start + count])
        if count:
            self._indices[_REPLIES_READ] = (read + count) % 2**32
            with suppress(ConnectionResetError):  # a daemon that has gone needs no notice; what it wrote is kept
                self.ring()
        return data

    @property
    def all_taken(self) -> bool:
        """Whether the daemon has read everything that was put."""
        return self._indices[_REQUESTS_READ] == self._indices[_REQUESTS_WRITTEN]

    def fileno(self) -> int:
        """A descriptor that becomes readable when the daemon has put or taken something."""
        return self._bell.fileno()

    def hear(self) -> None:
        """Clears the doorbell. Check the ring after this, not before, or a change could be missed."""
        try:
            while True:
                self._bell.recv(4)
        except BlockingIOError:
            pass

    def ring(self) -> None:
        """Rings the daemon's doorbell."""
        try:
            self._bell.sendto(self._port, self._daemon_bell)
            self.owes_ring = False
        except BlockingIOError:
            self.owes_ring = True
        except (ConnectionRefusedError, FileNotFoundError):
            self.owes_ring = False
            raise ConnectionResetError(f"{self.daemon.kind} is gone") from None

    def _wait(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"{self.daemon.kind} did not answer domain {self.domid} in time")
        if self.owes_ring:
            self.ring()
        timeout = min(remaining, _RETRY) if self.owes_ring else remaining
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(timeout * 1000):
            self.hear()
