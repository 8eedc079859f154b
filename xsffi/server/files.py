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

    Raises InvalidArgumentError, which names the file and the line, where one is no node, or one that there cannot be;
    OSError where the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, node in numbered_nodes(file, path):
            try:
                put(store, node)
            except XenStoreError as error:
                raise line_error(path, number, error) from None


def save(store: Store, path: str) -> None:
    """Write all nodes of a store to a file, a line of :meth:`~xsffi.records.Node.to_json` for each.

    It takes the place of what is there once it is whole and on the disk, and is for the user alone where there was
    nothing. Where that fails, OSError is raised, with `path` as its filename; what is there stays then, and nothing is
    left beside it.
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
    """Raise what :func:`save` would, where it can be told before: there is no such folder, or none to write in."""
    with _target(path) as target:
        tempfile.TemporaryFile(dir=os.path.dirname(target)).close()


@contextmanager
def _target(path: str) -> Iterator[str]:
    """The file that a path stands for, be it by a symbolic link; an OSError names `path` whatever it was about."""
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not os.path.isfile(target):
            raise OSError(errno.EINVAL, "there is something else than a file")
        if _is_mounted(target):
            raise OSError(errno.EBUSY, "it is mounted there, and cannot be replaced; its folder may be")
        yield target
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _is_mounted(file: str) -> bool:
    """Whether something is mounted on a file, as containers do with single files."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            return any(line.split(" ", 5)[4] == file.replace(" ", "\\040") for line in mounts)
    except OSError:
        return False


def _sync(folder: str) -> None:
    """Have what was renamed there on the disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # it may be written to, and not read
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # a file system that has no such thing
    finally:
        os.close(descriptor)
