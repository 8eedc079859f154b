"""Where to find the store: the same places as libxenstore, in the same order (xs.c, xs_lib.c)."""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["DEVICES", "SOCKET_PATH_MAX", "Kind", "absolute", "candidates", "default_socket", "kind_of"]

SOCKET_PATH_MAX = 107  # bytes (unix(7): 108 with the NUL)
DEVICES = ("/dev/xen/xenbus", "/proc/xen/xenbus")  # the kernel's device, current path first


class Kind:
    """What a client connects to."""

    SOCKET = "socket"  # the daemon's unix socket
    DEVICE = "device"  # the kernel's character device


def candidates(path: str | None = None) -> list[str]:
    """The places to try, in order: `path` alone if given, otherwise what the environment names, otherwise the defaults.

    ``XENSTORED_PATH`` names the only place, a socket or device. ``XENSTORED_RUNDIR`` names the daemon's directory
    (default ``/var/run/xenstored``); its ``socket`` is tried first, then the kernel's device, which guests use.
    """
    if path is not None:
        return [absolute(path)]
    named = os.environ.get("XENSTORED_PATH")
    if named:
        return [absolute(named)]
    return [absolute(default_socket()), *DEVICES]


def absolute(path: str) -> str:
    """`path` made absolute, so that it stays valid when the program changes its working directory.

    If the absolute path would be too long for a socket, `path` is returned as it is.
    """
    try:
        place = os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        return path  # the working directory was removed, and `path` with it
    return place if len(os.fsencode(place)) <= SOCKET_PATH_MAX else path


def default_socket() -> str:
    """The socket that libxenstore opens by default."""
    return os.path.join(os.environ.get("XENSTORED_RUNDIR") or "/var/run/xenstored", "socket")


def kind_of(path: str) -> str:
    """The :class:`Kind` of `path`; raises OSError, with `path` as its filename, if it is neither."""
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        return Kind.SOCKET
    if stat.S_ISCHR(mode):
        return Kind.DEVICE
    raise OSError(errno.EINVAL, "neither a unix socket nor a character device", path)
