"""The unix socket that clients connect to: made for this user alone, never in the place of one that lives."""

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
_LOCK_MAX = 1.0  # seconds that another server may take to make its socket; it takes milliseconds
_LOCK_RETRY = 0.01


class Listener:
    """A listening unix socket, from its making until :meth:`close`, which removes it."""

    def __init__(self, path: str) -> None:
        """Listen at `path`, readable and writable for the user alone.

        A socket that nobody listens on any more is replaced. Raises OSError with `path` as its filename: EADDRINUSE
        where somebody listens there, EEXIST where there is something else than a socket, ENAMETOOLONG where the path is
        too long for a socket.
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
        """Stop listening and remove the socket, unless another has taken its place. Again does nothing.

        Whoever waits to be accepted is refused, also where a forked child has a copy of the descriptor.
        """
        if self.socket.fileno() < 0:
            return
        try:
            # While it listens no other server takes its place, so what is there now is still there when it is removed.
            if self._identity is not None and _identity(self.path) == self._identity:
                os.unlink(self.path)
        except OSError as error:
            _log.warning("the socket %s cannot be removed: %s", self.path, error.strerror)
        self._refuse_all()
        self.socket.close()

    def _bind(self, path: str) -> None:
        # Before the socket has a name, so that nobody can connect in between; the umask may take away, not add.
        os.fchmod(self.socket.fileno(), 0o600)
        _remove_dead(path)
        try:
            self.socket.bind(path)
        except OSError as error:
            # Python refuses what is too long by itself, without an errno.
            raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from None
        self._identity = _identity(path)
        os.chmod(path, 0o600)  # where the above had no effect

    def _refuse_all(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # from here on nobody can connect
            while True:
                waiting, _ = self.socket.accept()
                hang_up(waiting)
        except OSError:
            pass  # there are no more, or it never listened


def hang_up(connected: socket.socket) -> None:
    """Close a connection so that the other end notices, also where a forked child has a copy of the descriptor."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other end was faster
    connected.close()


@contextmanager
def _lock(path: str) -> Iterator[None]:
    """Make no socket at `path` while another server does: it might take this one, which does not listen yet, for dead.

    The lock is on a file beside the socket, which is there for that time, and for this user alone. Raises OSError, with
    `path` as its filename: EADDRINUSE where another server has it for too long.
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
                raise OSError(errno.EADDRINUSE, "another server is about to listen there", path) from None
            sleep(_LOCK_RETRY)
            continue
        except OSError:
            pass  # a file system without locks
        if _identity(file) == _identity(descriptor):
            break
        os.close(descriptor)  # who had the lock removed the file just before
    try:
        yield
    finally:
        # The file first: whoever has opened it sees that it is gone, and takes a new one.
        try:
            os.unlink(file)
        except FileNotFoundError:
            pass  # the folder was removed meanwhile
        finally:
            os.close(descriptor)


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something else than a socket", path)
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
            pass  # full, or not ours: there is somebody
    raise OSError(errno.EADDRINUSE, "somebody listens there already", path)


def _identity(place: str | int) -> tuple[int, int] | None:
    """What tells a file from others, by its path or its descriptor; None where there is none."""
    try:
        status = os.lstat(place) if isinstance(place, str) else os.fstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
