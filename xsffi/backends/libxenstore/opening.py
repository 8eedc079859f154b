"""Which place libxenstore opens: it decides by the environment as C sees it, and nothing here changes that."""

from __future__ import annotations

import errno
import os

from ...addresses import DEVICES, Kind, absolute, kind_of
from ...errors import NotSupportedError, XenStoreError, error_from_errno
from ...lazy import lazy_module
from .binding import LibXenStore
from .extension import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..wire import transports
else:
    transports = lazy_module("xsffi.backends.wire.transports")

__all__ = ["Opened", "Place", "open_at", "places"]


class Place:
    """One of the places that libxenstore tries."""

    def __init__(self, path: str, is_last: bool) -> None:
        """`is_last`: tried only if nothing else is found, as the kernel's device is."""
        self.path = path
        self.is_last = is_last


class Opened:
    """An open handle, and what it is connected to."""

    def __init__(self, xs: LibXenStore, kind: str) -> None:
        self.xs = xs
        self.kind = kind
        #: Presumably the descriptor of the handle's own connection.
        self.descriptor = int(ffi.cast("int *", xs.handle)[0])


def places(path: str | None = None) -> list[Place]:
    """The places that libxenstore tries, in order; if `path` is given, only those that are the same file.

    Raises :class:`~xsffi.errors.NotSupportedError` if there are none.
    """
    socket = lib.xs_daemon_socket()
    first = os.fsdecode(ffi.string(socket)) if socket else ""
    found = [Place(absolute(first) if first else first, False)]
    if not lib.getenv(b"XENSTORED_PATH"):
        for device in DEVICES:
            found.append(Place(device, True))
            if os.path.exists(device):
                break  # libxenstore takes this one and tries no other
    if path is None:
        return found
    wanted = absolute(path)
    same = [place for place in found if _is_same(place.path, wanted)]
    if not same:
        raise _elsewhere_error(found[0].path, wanted)
    return same


def open_at(place: Place) -> Opened:
    """Have libxenstore open one of the places it tries.

    Raises OSError on failure; NotSupportedError if it finds another place first.
    """
    kind = kind_of(place.path)
    # Without XS_UNWATCH_FILTER: with it, xs_unwatch of 4.17 leaks the text of each event that it drops.
    try:
        xs = LibXenStore(0 if place.is_last else lib.XS_OPEN_SOCKETONLY)
    except XenStoreError as error:
        if not place.is_last and kind == Kind.SOCKET and error.errno == errno.ENOENT:
            # libxenstore ignored the flag and tried the device too, so its errno is about that.
            transports.connect(place.path, 0.0).close()
        raise
    opened = Opened(xs, kind)
    # With the flag it opens the first place or fails; without it, it may open the kernel's device. But the daemon may
    # have started just now, and many versions of libxenstore ignore the flag.
    if place.is_last:
        first = lib.xs_daemon_socket()
        if first and lib.xsffi_is_connected_to(opened.descriptor, first):
            xs.xs_close()
            raise _elsewhere_error(os.fsdecode(ffi.string(first)), place.path)
    elif kind == Kind.SOCKET and _is_device(opened.descriptor):
        xs.xs_close()
        raise error_from_errno(errno.ECONNREFUSED, place.path)
    return opened


def _is_same(path: str, other: str) -> bool:
    try:
        return path == other or os.path.samefile(path, other)
    except OSError:
        return False  # one of them does not exist


def _is_device(descriptor: int) -> bool:
    """Whether it is one of the kernel's devices."""
    try:
        status = os.fstat(descriptor)
        return any(os.path.samestat(status, os.stat(device)) for device in DEVICES if os.path.exists(device))
    except (OSError, OverflowError):
        return False  # not a descriptor


def _elsewhere_error(place: str, wanted: str) -> NotSupportedError:
    return NotSupportedError(
        errno.ENOSYS,
        f"libxenstore opens {place}, chosen by the environment, not {wanted}: "
        f"set XENSTORED_PATH={wanted} before the program starts, or use the wire backend",
    )
