"""Where libxenstore opens: it says so itself, from the environment as C sees it, and nothing here changes that."""

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
    """One of the places where libxenstore looks."""

    def __init__(self, path: str, is_last: bool) -> None:
        """`is_last`: it is tried where nothing else was there, which the kernel's device is."""
        self.path = path
        self.is_last = is_last


class Opened:
    """A handle, and of what."""

    def __init__(self, xs: LibXenStore, kind: str) -> None:
        self.xs = xs
        self.kind = kind
        #: What should be the descriptor of the handle's own connection.
        self.descriptor = int(ffi.cast("int *", xs.handle)[0])


def places(path: str | None = None) -> list[Place]:
    """Where libxenstore looks, best first; of these, only what is the same file as `path`, if that is given.

    Raises :class:`~xsffi.errors.NotSupportedError` where it does not look there.
    """
    socket = lib.xs_daemon_socket()
    first = os.fsdecode(ffi.string(socket)) if socket else ""
    found = [Place(absolute(first) if first else first, False)]
    if not lib.getenv(b"XENSTORED_PATH"):
        for device in DEVICES:
            found.append(Place(device, True))
            if os.path.exists(device):
                break  # libxenstore takes it, and no other
    if path is None:
        return found
    wanted = absolute(path)
    same = [place for place in found if _is_same(place.path, wanted)]
    if not same:
        raise _elsewhere_error(found[0].path, wanted)
    return same


def open_at(place: Place) -> Opened:
    """Have libxenstore open one of its places.

    Raises OSError where that fails; NotSupportedError where it does not come to this one, since it finds another
    before.
    """
    kind = kind_of(place.path)
    # Not XS_UNWATCH_FILTER: with it, xs_unwatch of 4.17 loses the text of each event that it drops.
    try:
        xs = LibXenStore(0 if place.is_last else lib.XS_OPEN_SOCKETONLY)
    except XenStoreError as error:
        if not place.is_last and kind == Kind.SOCKET and error.errno == errno.ENOENT:
            # It says what was wrong with the device, which it tried too, since it does not look at the flag.
            transports.connect(place.path, 0.0).close()
        raise
    opened = Opened(xs, kind)
    # With the flag it is the first place or none, without it the kernel's device may be taken too. A daemon may have
    # come just now, though, and many a libxenstore does not look at the flag.
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
        return False  # one of them is not there


def _is_device(descriptor: int) -> bool:
    """Whether that is one of the kernel's devices."""
    try:
        status = os.fstat(descriptor)
        return any(os.path.samestat(status, os.stat(device)) for device in DEVICES if os.path.exists(device))
    except (OSError, OverflowError):
        return False  # it is no descriptor


def _elsewhere_error(place: str, wanted: str) -> NotSupportedError:
    return NotSupportedError(
        errno.ENOSYS,
        f"libxenstore opens {place}, as the environment says, and not {wanted}: "
        f"set XENSTORED_PATH={wanted} before the program starts, or use the wire backend",
    )
