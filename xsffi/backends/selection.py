"""Which backend to use: the one requested, or the best available."""

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
    """A description of each backend on this host: for ``"libxenstore"``, the library that is used or why none is; for
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

    `name`: ``"libxenstore"``, ``"wire"``, or ``"auto"``: libxenstore if it loads and opens `path`, otherwise the wire;
    ``XSFFI_BACKEND`` in the environment overrides ``"auto"``. `path`: a socket or device; by default
    :func:`xsffi.addresses.candidates` are tried, and libxenstore opens no others. `timeout`: how many seconds a request
    may take (None: no limit); only the wire supports it, so ``"auto"`` then means the wire. `connections`: the most
    connections to use for bulk work (None: ``XSFFI_CONNECTIONS``, or as many as pay off). `patience`: how many seconds
    the wire may take to connect, if not `timeout`.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which lists what was tried and why each failed, and
    :class:`~xsffi.errors.NotSupportedError` if libxenstore is requested by name together with a timeout, or opens a
    different place than `path`.
    """
    name = _check_name(name, "a backend")
    connections = connections_from(connections)
    if name == "auto":
        name = _check_name(os.environ.get("XSFFI_BACKEND") or "auto", "XSFFI_BACKEND")
    if timeout is not None and name == "libxenstore":
        raise NotSupportedError(errno.ENOSYS, "libxenstore does not support request timeouts; the wire backend does")
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
        f"{library} is installed but cannot be used: {extension.why_missing}; installing xsffi from its sources with"
        " XSFFI_BUILD_EXTENSION=yes in the environment shows what is missing"
    )


def _tell_of_missed() -> None:
    """Log once, at INFO, that the extension is missing: pip hides the output of its build."""
    global _missed_is_told
    if not _missed_is_told and log.is_enabled(log.INFO):
        _missed_is_told = True
        if text := _missed():
            log.info("%s", text)


def _check_name(name: str, what: str) -> str:
    if name not in NAMES:
        raise InvalidArgumentError(errno.EINVAL, f"{what} must be one of {', '.join(NAMES)}, not {name!r}")
    return name
