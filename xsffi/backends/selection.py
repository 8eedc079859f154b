"""Which backend: the one asked for, or the best that can be had."""

from __future__ import annotations

import errno
import os

from .. import log
from ..addresses import candidates
from ..errors import InvalidArgumentError, NotSupportedError, unavailable_error
from ..lazy import lazy_module
from ..options import connections_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import trace
    from .base import Backend
    from .libxenstore import backend as libxenstore
    from .libxenstore import extension, opening
    from .wire import backend as wire
    from .wire import native

    Attempts = list[tuple[str, OSError]]  # what was tried, and why it failed
else:
    libxenstore = lazy_module("xsffi.backends.libxenstore.backend")
    extension = lazy_module("xsffi.backends.libxenstore.extension")
    opening = lazy_module("xsffi.backends.libxenstore.opening")
    trace = lazy_module("xsffi.backends.trace")
    native = lazy_module("xsffi.backends.wire.native")
    wire = lazy_module("xsffi.backends.wire.backend")

__all__ = ["NAMES", "describe", "open_backend"]

NAMES = ("auto", "libxenstore", "wire")

_missed_is_told = False


def describe() -> dict[str, str]:
    """What each backend is here, for people: ``"libxenstore"``, the library that is used or why none can be; and
    ``"wire"``, whether its connection is in C, or why not. No connection is made."""
    reason = extension.load_libxenstore()
    library = _missed() or reason or extension.ffi.string(extension.lib.xsffi_library()).decode("utf-8", "replace")
    return {"libxenstore": library, "wire": native.made()}


def open_backend(
    name: str = "auto",
    path: str | None = None,
    timeout: float | None = None,
    connections: int | None = None,
    patience: float | None = None,
) -> Backend:
    """Open a connection to the store.

    `name`: ``"libxenstore"``, ``"wire"``, or ``"auto"``, which is libxenstore where it loads and opens `path`, and the
    wire else; the environment's ``XSFFI_BACKEND`` says what ``"auto"`` is. `path`: a socket or a device, else the
    places that :func:`xsffi.addresses.candidates` tells; libxenstore opens these alone. `timeout`: how many seconds a
    request may take (None: any time); only the wire can do that, so ``"auto"`` is the wire with it. `connections`: how
    many there may be for bulk work (None: what ``XSFFI_CONNECTIONS`` says, or as many as are worth it). `patience`: how
    many seconds the wire may take to connect, if not as many as a request.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried and why each failed, and
    :class:`~xsffi.errors.NotSupportedError` where libxenstore is asked for by name, and can do no timeout, or opens
    another place than `path`.
    """
    name = _check_name(name, "a backend")
    connections = connections_from(connections)
    if name == "auto":
        name = _check_name(os.environ.get("XSFFI_BACKEND") or "auto", "XSFFI_BACKEND")
    if timeout is not None and name == "libxenstore":
        raise NotSupportedError(errno.ENOSYS, "libxenstore knows no timeout of a request; the wire backend does")
    attempts: Attempts = []
    if name == "wire" or timeout is not None:
        backend = _open_wire(path, timeout, connections, attempts, patience)
    else:
        backend = _open(name, path, connections, attempts)
    tell = log.tell_of_requests(backend.description, attempts)
    return backend if tell is None else trace.TracedBackend(backend, tell)


def _open(name: str, path: str | None, connections: int | None, attempts: Attempts) -> Backend:
    reason = extension.load_libxenstore()
    if reason is not None:
        attempts.append(("libxenstore", FileNotFoundError(errno.ENOENT, reason)))
        if name == "libxenstore":
            raise unavailable_error(attempts)
        return _open_wire(path, None, connections, attempts)
    try:
        return _open_libxenstore(path, connections, attempts)
    except NotSupportedError as error:
        if name == "libxenstore":
            raise
        attempts.append(("libxenstore", error))
        return _open_wire(path, None, connections, attempts)


def _open_libxenstore(path: str | None, connections: int | None, attempts: Attempts) -> Backend:
    for place in opening.places(path):
        try:
            return libxenstore.LibraryBackend(place, connections)
        except NotSupportedError:
            raise
        except OSError as error:
            attempts.append((f"libxenstore at {place.path}", error))
    raise unavailable_error(attempts)


def _open_wire(
    path: str | None,
    timeout: float | None,
    connections: int | None,
    attempts: Attempts,
    patience: float | None = None,
) -> Backend:
    _tell_of_missed()
    for place in candidates(path):
        try:
            return wire.open_wire(place, timeout, connections, patience)
        except OSError as error:
            attempts.append((f"wire at {place}", error))
    raise unavailable_error(attempts)


def _missed() -> str | None:
    library = extension.missed_library()
    if library is None:
        return None
    return (
        f"{library} is here and cannot be used: {extension.why_missing}; to install xsffi from its sources with"
        " XSFFI_BUILD_EXTENSION=yes in the environment says what is missing"
    )


def _tell_of_missed() -> None:
    """Say once, at INFO, that the extension is missed: pip hides what its build has said."""
    global _missed_is_told
    if not _missed_is_told and log.is_enabled(log.INFO):
        _missed_is_told = True
        if text := _missed():
            log.info("%s", text)


def _check_name(name: str, what: str) -> str:
    if name not in NAMES:
        raise InvalidArgumentError(errno.EINVAL, f"{what} is one of {', '.join(NAMES)}, not {name!r}")
    return name
