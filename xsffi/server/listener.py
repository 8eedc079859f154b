"""The unix socket that clients connect to: made for this user alone, never in the place of one that lives."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat

__all__ = ["Listener"]

_BACKLOG = 128


class Listener:
    """A listening unix socket, from its making until :meth:`close`, which removes it."""

    def __init__(self, path: str) -> None:
        """Listen at `path`, readable and writable for the user alone.

        A socket that nobody listens on any more is replaced. Raises OSError with `path` as its filename: EADDRINUSE
        where somebody listens there, EEXIST where there is something else than a socket, ENAMETOOLONG where the path is
        too long for a socket.
        """
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._bind(path)
            self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """Stop listening and remove the socket, unless another has taken its place. Again does nothing."""
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        with _Lock(self.path):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)

    def _bind(self, path: str) -> None:
        # Before the socket has a name, so that nobody can connect in between; the umask may take away, not add.
        os.fchmod(self.socket.fileno(), 0o600)
        with _Lock(path):
            _remove_dead(path)
            try:
                self.socket.bind(path)
            except OSError as error:
                # Python refuses what is too long by itself, without an errno.
                raise OSError(error.errno or errno.ENAMETOOLONG, error.strerror or str(error), path) from None
            os.chmod(path, 0o600)  # where the above had no effect
            self._identity = _identity(path)


class _Lock:
    """Between the look at who is there and the change, no other server acts: a lock on the folder, which leaves no
    file behind."""

    def __init__(self, path: str) -> None:
        self._folder = os.path.dirname(path) or "."

    def __enter__(self) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except FileNotFoundError:
            pass  # what is done inside will find that too
        except OSError:
            pass  # a file system without locks

    def __exit__(self, *exception: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


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


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
