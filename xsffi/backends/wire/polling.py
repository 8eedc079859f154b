"""Waiting for descriptors, and ending such a wait from elsewhere; used by the connection in Python."""

from __future__ import annotations

import errno
import os
import select
import sys

from ...errors import NotSupportedError, error_from_errno

__all__ = ["Poller", "Wakeup", "combine", "one_wait"]

_LONGEST = 0.5  # seconds


def one_wait(timeout: float | None) -> float:
    """How many seconds to wait at a time, for a wait of up to `timeout` in total (None: no limit): never very long.

    A signal that arrives just before the kernel starts to wait does not end the wait, and Python runs its handler, that
    of Ctrl-C too, only afterwards.
    """
    return _LONGEST if timeout is None else min(max(0.0, timeout), _LONGEST)


class Wakeup:
    """Set by one thread or signal handler to end the wait of another thread. An eventfd, or a pipe where Python has
    none: before 3.10, and on PyPy.

    Raises XenStoreError if no descriptors are left.
    """

    def __init__(self) -> None:
        try:
            if sys.version_info >= (3, 10) and hasattr(os, "eventfd"):
                self._read_end = self._write_end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            else:
                self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise error_from_errno(error.errno or errno.EMFILE) from error

    def set(self) -> None:
        """Make the descriptor readable. Takes no lock."""
        try:
            os.write(self._write_end, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass  # full: already readable; closed: nobody waits any more

    def clear(self) -> None:
        """Make the descriptor unreadable, however often it was set."""
        try:
            while len(os.read(self._read_end, 4096)) == 4096:
                pass
        except OSError:
            pass  # empty, or closed

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._read_end

    def close(self) -> None:
        """Close the descriptors; nobody may wait for it any more."""
        read_end, write_end, self._read_end, self._write_end = self._read_end, self._write_end, -1, -1
        if read_end >= 0:
            os.close(read_end)
        if write_end not in (read_end, -1):
            os.close(write_end)


class Poller:
    """Waits until one of some descriptors is readable: with poll, or with select where that is missing, as after
    eventlet's monkey patching."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            for descriptor in descriptors:
                self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float, writing: int | None = None) -> list[int]:
        """The descriptors that became readable within `seconds`; also `writing`, once it is writable."""
        if self._poll is None:
            try:
                ready, writable, _ = select.select(
                    self._descriptors, () if writing is None else (writing,), (), seconds
                )
            except ValueError as error:  # select is limited to the first 1024
                raise error_from_errno(errno.EMFILE, None, str(error)) from error
            return ready + writable
        try:
            if writing is not None:
                self._poll.modify(writing, select.POLLIN | select.POLLOUT)
            # Rounded up: polling with 0 in the last millisecond would be a busy loop.
            return [descriptor for descriptor, _ in self._poll.poll(-int(-seconds * 1000 // 1))]
        finally:
            if writing is not None:
                self._poll.modify(writing, select.POLLIN)


def combine(*descriptors: int) -> select.epoll:
    """An epoll whose descriptor is readable while one of these descriptors is.

    Raises NotSupportedError if Python has no epoll, and XenStoreError if no descriptors are left.
    """
    if not hasattr(select, "epoll"):
        raise NotSupportedError(
            errno.ENOSYS, "without the extension, fileno() needs select.epoll, which monkey patching has taken away"
        )
    try:
        epoll = select.epoll()
        try:
            for descriptor in descriptors:
                epoll.register(descriptor, select.EPOLLIN)
        except BaseException:
            epoll.close()
            raise
        return epoll
    except OSError as error:
        raise error_from_errno(error.errno or errno.EMFILE) from error
