"""The contents of a store in a file, a line of :meth:`~xsffi.records.Node.to_json` for each node."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..dump_files import line_error, numbered_nodes
from ..errors import XenStoreError
from .dump import contents, put
from .store import Store

__all__ = ["check_target", "load", "save"]


def load(store: Store, path: str) -> None:
    """Write the nodes of a file to a store.

    Raises InvalidArgumentError, which names the file and the line, if one is not a node, or cannot exist there; OSError
    if the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, node in numbered_nodes(file, path):
            try:
                put(store, node)
            except XenStoreError as error:
                raise line_error(path, number, error) from None


def save(store: Store, path: str) -> None:
    """Write all nodes of a store to a file, a line of :meth:`~xsffi.records.Node.to_json` for each.

    The file is replaced once the new one is complete and on disk; a new file is readable for the user only. On failure,
    OSError is raised, with `path` as its filename, the old file is kept, and no temporary file is left.
    """
    with _target(path) as target:
        folder = os.path.dirname(target)
        descriptor, unfinished = tempfile.mkstemp(prefix=".xsffi-dump-", dir=folder)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                if os.path.exists(target):
                    os.fchmod(descriptor, os.stat(target).st_mode & 0o777)
                file.writelines(f"{record.to_json()}\n" for record in contents("/", store.tree.root))
                file.flush()
                os.fsync(descriptor)
            os.replace(unfinished, target)
        except BaseException:
            os.unlink(unfinished)
            raise
        _sync(folder)


def check_target(path: str) -> None:
    """Raise what :func:`save` would, as far as that is known before: the directory is missing, or not writable."""
    with _target(path) as target:
        tempfile.TemporaryFile(dir=os.path.dirname(target)).close()


@contextmanager
def _target(path: str) -> Iterator[str]:
    """The file that a path refers to, possibly by a symbolic link; an OSError always names `path`."""
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not os.path.isfile(target):
            raise OSError(errno.EINVAL, "not a regular file")
        if _is_mounted(target):
            raise OSError(errno.EBUSY, "it is a mount point, and cannot be replaced; mount its directory instead")
        yield target
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _is_mounted(file: str) -> bool:
    """Whether a file is a mount point, as containers do with single files."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            return any(line.split(" ", 5)[4] == file.replace(" ", "\\040") for line in mounts)
    except OSError:
        return False


def _sync(folder: str) -> None:
    """Flush a rename in this directory to disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # writable but not readable
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # the file system does not support it
    finally:
        os.close(descriptor)
