"""A bell: a descriptor that is readable from when it is rung until it is silenced; and how long to wait for one."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["Bell", "one_wait"]

_LONGEST = 0.5  # seconds


def one_wait(timeout: float | None) -> float:
    """How many seconds to wait in one go for what may take as long as `timeout` (None: for ever): never very long.

    A signal that comes just before the kernel begins to wait does not end that, and Python runs its handler, also that
    of Ctrl-C, only once the wait is over.
    """
    return _LONGEST if timeout is None else min(max(0.0, timeout), _LONGEST)


class Bell:
    """Rung by one thread, or by a signal handler, to end the wait of another. An eventfd, or a pipe before 3.10."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 10):
            self._read_end = self._write_end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def ring(self) -> None:
        """Make the descriptor readable; it needs no lock, so a signal handler may."""
        with contextlib.suppress(BlockingIOError):  # rung so often that it is full: it is readable
            os.write(self._write_end, b"\1\0\0\0\0\0\0\0")

    def silence(self) -> None:
        """Make the descriptor not readable, however often it was rung."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._read_end, 4096)) == 4096:
                pass

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._read_end

    def close(self) -> None:
        """Give the descriptors back. The bell is not to be used any more."""
        read_end, write_end, self._read_end, self._write_end = self._read_end, self._write_end, -1, -1
        if read_end >= 0:
            os.close(read_end)
        if write_end not in (read_end, -1):
            os.close(write_end)
