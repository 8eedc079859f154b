"""Where the store is: the same places, in the same order, as libxenstore looks (xs.c, xs_lib.c)."""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["DEVICES", "SOCKET_PATH_MAX", "Kind", "absolute", "candidates", "default_socket", "kind_of"]

SOCKET_PATH_MAX = 107  # bytes (unix(7): 108 with the NUL)
DEVICES = ("/dev/xen/xenbus", "/proc/xen/xenbus")  # the kernel's door to the store, newer and older


class Kind:
    """What a client talks through: one of these."""

    SOCKET = "socket"  # the daemon's unix socket
    DEVICE = "device"  # the kernel's character device


def candidates(path: str | None = None) -> list[str]:
    """The places to try, best first: `path` alone if it is given, else what the environment says, else the usual ones.

    ``XENSTORED_PATH`` names the one place, socket or device. ``XENSTORED_RUNDIR`` names the daemon's folder, instead of
    ``/var/run/xenstored``; its ``socket`` is tried first and the kernel's device, the way of a guest, after it.
    """
    if path is not None:
        return [absolute(path)]
    named = os.environ.get("XENSTORED_PATH")
    if named:
        return [absolute(named)]
    return [absolute(default_socket()), *DEVICES]


def absolute(path: str) -> str:
    """The same place, also once the program has changed its folder.

    One whose name would be too long for a socket then is left relative, and is to be found from this folder alone.
    """
    try:
        place = os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        return path  # that folder was removed: there is no such place either
    return place if len(os.fsencode(place)) <= SOCKET_PATH_MAX else path


def default_socket() -> str:
    """The socket that libxenstore opens by itself, told no other."""
    return os.path.join(os.environ.get("XENSTORED_RUNDIR") or "/var/run/xenstored", "socket")


def kind_of(path: str) -> str:
    """Which :class:`Kind` `path` is; raises OSError, with `path` as its filename, where it is neither."""
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        return Kind.SOCKET
    if stat.S_ISCHR(mode):
        return Kind.DEVICE
    raise OSError(errno.EINVAL, "neither a unix socket nor a character device", path)
