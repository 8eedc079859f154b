"""Carries bytes both ways between two ends of any kind, without ever blocking on one of them."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import time
from typing import Protocol

from .guest import Guest

_CHUNK = 65536
_HELD = 65536
"""Once so many bytes wait for one end, no more are read from the other: it feels the backpressure."""

_SOON = 0.00002
"""Seconds between looks at whether a piece has been taken, of which no descriptor tells."""


class End(Protocol):
    """One end of a pump. No method blocks."""

    def fileno(self) -> int: ...

    def wanted(self, reading: bool, writing: bool) -> int:
        """The events to poll fileno for, to learn that reading or writing can continue."""

    def woken(self) -> None:
        """Called when that poll has succeeded."""

    def timeout(self) -> float | None:
        """Seconds after which to call again in any case; None for never."""

    def receive(self) -> bytes | None:
        """Some bytes; None if there are none now; b"" if there will be no more."""

    def send(self, data: memoryview) -> int:
        """Sends as much as possible now, and returns how much that was."""

    def all_taken(self) -> bool:
        """Whether the program at the other end has read everything sent."""


class _DescriptorEnd:
    """What sockets and terminals have in common."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def wanted(self, reading: bool, writing: bool) -> int:
        return (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)

    def woken(self) -> None:
        pass

    def timeout(self) -> float | None:
        return None

    def receive(self) -> bytes | None:
        try:
            return os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return None

    def send(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0


class SocketEnd(_DescriptorEnd):
    """A connected stream socket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection.fileno())

    def all_taken(self) -> bool:
        return _count(self._descriptor, termios.TIOCOUTQ) == 0


class TerminalEnd(_DescriptorEnd):
    """The master of a pseudo-terminal whose slave is also open in this process."""

    def __init__(self, master: int, slave: int) -> None:
        super().__init__(master)
        self._slave = slave

    def all_taken(self) -> bool:
        return _count(self._slave, termios.FIONREAD) == 0


class RingEnd:
    """A guest's ring."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.is_gone = False
        """Whether the daemon is no longer there. A ring tells of that only when it is written to."""

    def fileno(self) -> int:
        return self._guest.fileno()

    def wanted(self, reading: bool, writing: bool) -> int:
        return select.POLLIN  # the same doorbell signals both

    def woken(self) -> None:
        self._guest.hear()

    def timeout(self) -> float | None:
        if not self._guest.owes_ring:
            return None
        try:
            self._guest.ring()
        except ConnectionResetError:
            self.is_gone = True
        return 0.001

    def receive(self) -> bytes | None:
        return self._guest.take(_CHUNK) or (b"" if self.is_gone else None)

    def send(self, data: memoryview) -> int:
        try:
            return self._guest.put(data)
        except ConnectionResetError:
            self.is_gone = True
            raise

    def all_taken(self) -> bool:
        return self._guest.all_taken


class _Direction:
    """Bytes on their way from one end to the other."""

    def __init__(self, source: End, target: End, fragment: int | None) -> None:
        self.source = source
        self.target = target
        self._fragment = fragment
        self._held = bytearray()
        self._source_ended = False
        self._target_ended = False
        self.waits_for_taking = False
        """Whether the next piece waits until the last one has been taken, lest the reader gets both as one."""

    def move(self) -> bool:
        """Moves whatever can be moved now, and returns whether anything was."""
        moved = False
        if self.reads:
            data = self._receive()
            if data is not None:
                self._held += data
                self._source_ended = not data
                moved = True
        # Checked only once: a piece taken between two checks, before the poll, would be missed there.
        self.waits_for_taking = self._fragment is not None and bool(self._held) and not self.target.all_taken()
        if self.writes:
            with memoryview(self._held) as view, view[: self._fragment] as piece:
                count = self._send(piece)
            del self._held[:count]
            moved = moved or count > 0
        return moved

    def _receive(self) -> bytes | None:
        try:
            return self.source.receive()
        except ConnectionResetError:  # closed without reading everything it was sent
            return b""

    def _send(self, data: memoryview) -> int:
        if not self._target_ended:
            try:
                return self.target.send(data)
            except (BrokenPipeError, ConnectionResetError):
                self._target_ended = True
        # From now on bytes are read from the source and discarded, so that it can reach its own end.
        return len(data)

    @property
    def reads(self) -> bool:
        return len(self._held) < _HELD and not self._source_ended

    @property
    def writes(self) -> bool:
        return bool(self._held) and not self.waits_for_taking

    @property
    def ended(self) -> bool:
        return self._source_ended and not self._held


def pump(one: End, other: End, stop: int, fragment: int | None = None) -> None:
    """Carries bytes both ways until one end has closed and everything it sent is delivered, or until `stop` is
    readable.

    With `fragment`, they are passed on in pieces of at most so many bytes, each once the previous one has been read.
    """
    directions = [_Direction(one, other, fragment), _Direction(other, one, fragment)]
    while not any(direction.ended for direction in directions):
        moved = [direction.move() for direction in directions]
        if _wait(directions, stop, at_once=any(moved)):
            return


def _wait(directions: list[_Direction], stop: int, at_once: bool) -> bool:
    """Waits until something can move, or only checks if `at_once`; returns whether to stop."""
    there, back = directions
    poll = select.poll()
    poll.register(stop, select.POLLIN)
    ends = {}
    for end, reading, writing in ((there.source, there.reads, back.writes), (back.source, back.reads, there.writes)):
        wanted = end.wanted(reading, writing)
        if wanted:  # a descriptor with no events requested would still wake us again and again after a hang-up
            poll.register(end.fileno(), wanted)
            ends[end.fileno()] = end
    timeouts = [end.timeout() for end in (there.source, back.source)]
    waits = [timeout * 1000 for timeout in timeouts if timeout is not None]
    looks_again = any(direction.waits_for_taking for direction in directions)
    ready = poll.poll(0 if at_once or looks_again else min(waits, default=None))
    for descriptor, _ in ready:
        if descriptor == stop:
            return True
        ends[descriptor].woken()
    if looks_again and not ready and not at_once:
        time.sleep(_SOON)
    return False


def _count(descriptor: int, request: int) -> int:
    """The result of an ioctl that counts bytes."""
    answer: int = struct.unpack("@i", fcntl.ioctl(descriptor, request, bytes(struct.calcsize("@i"))))[0]
    return answer
