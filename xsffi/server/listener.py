"""The unix socket that clients connect to: for this user only, never replacing one in use."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

__all__ = ["Listener", "hang_up"]

_log = logging.getLogger("xsffi.server")

_BACKLOG = 128
_LOCK_MAX = 1.0  # seconds that another server may take to create its socket; it takes milliseconds
_LOCK_RETRY = 0.01


class Listener:
    """A listening unix socket, from construction until :meth:`close`, which removes it."""

    def __init__(self, path: str) -> None:
        """Listen at `path`, accessible for the user only.

        A socket that nobody listens on is replaced. Raises OSError with `path` as its filename: EADDRINUSE if somebody
        listens there, EEXIST if there is something other than a socket, ENAMETOOLONG if the path is too long for a
        socket.
        """
        self.path = path
        self._identity: tuple[int, int] | None = None
        try:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        try:
            with _lock(path):
                self._bind(path)
                self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening and remove the socket, unless it has been replaced. Idempotent.

        Pending connections are refused, even if a forked child has a copy of the descriptor.
        """
        if self.socket.fileno() < 0:
            return
        try:
            # While this listens, no other server replaces the socket, so it does not change between check and removal.
            if self._identity is not None and _identity(self.path) == self._identity:
                os.unlink(self.path)
        except OSError as error:
            _log.warning("the socket %s cannot be removed: %s", self.path, error.strerror)
        self._refuse_all()
        self.socket.close()

    def _bind(self, path: str) -> None:
        # Before bind, so that nobody can connect in between; the umask can only take away, not add.
        os.fchmod(self.socket.fileno(), 0o600)
        _remove_dead(path)
        try:
            self.socket.bind(path)
        except OSError as error:
            # Python itself refuses a path that is too long, without an errno.
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from None
        self._identity = _identity(path)
        os.chmod(path, 0o600)  # in case fchmod had no effect

    def _refuse_all(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # nobody can connect any more
            while True:
                waiting, _ = self.socket.accept()
                hang_up(waiting)
        except OSError:
            pass  # no more, or it never listened


def hang_up(connected: socket.socket) -> None:
    """Close a connection so that the other end notices even if a forked child has a copy of the descriptor."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other end closed it first
    connected.close()


@contextmanager
def _lock(path: str) -> Iterator[None]:
    """Exclude other servers that create a socket at `path`: they might take this one, not listening yet, for dead.

    The lock is on a temporary file beside the socket, accessible for this user only. Raises OSError, with `path` as its
    filename: EADDRINUSE if another server holds it for too long.
    """
    folder, name = os.path.split(path)
    file = os.path.join(folder, f".{name}.xsffi-lock")
    deadline = monotonic() + _LOCK_MAX
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            why = error.strerror if error.errno == errno.ENOENT else f"{error.strerror}: its lock, {file}"
            raise OSError(error.errno, why, path) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if monotonic() > deadline:
                raise OSError(errno.EADDRINUSE, "another server is just starting there", path) from None
            sleep(_LOCK_RETRY)
            continue
        except OSError:
            pass  # a file system without locks
        if _identity(file) == _identity(descriptor):
            break
        os.close(descriptor)  # the previous owner has just removed the file
    try:
        yield
    finally:
        # Remove the file first: whoever has opened it sees that it is gone, and creates a new one.
        try:
            os.unlink(file)
        except FileNotFoundError:
            pass  # the directory was removed meanwhile
        finally:
            os.close(descriptor)


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "not a socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # full, or not ours: it is in use
    raise OSError(errno.EADDRINUSE, "another server already listens there", path)


def _identity(place: str | int) -> tuple[int, int] | None:
    """What identifies a file, given by path or descriptor; None if there is none."""
    try:
        status = os.lstat(place) if isinstance(place, str) else os.fstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
