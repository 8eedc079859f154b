"""Which backend: the one asked for, or the best that can be had."""

from __future__ import annotations

import errno
import os

from ..addresses import candidates
from ..errors import BackendUnavailableError, InvalidArgumentError, NotSupportedError
from .base import Backend
from .libxenstore.backend import LibraryBackend
from .libxenstore.extension import load_libxenstore
from .libxenstore.opening import places
from .wire.backend import open_wire

__all__ = ["NAMES", "open_backend"]

NAMES = ("auto", "libxenstore", "wire")

Attempts = list[tuple[str, OSError]]  # what was tried, and why it failed


def open_backend(name: str = "auto", path: str | None = None, timeout: float | None = None) -> Backend:
    """Open a connection to the store.

    `name`: ``"libxenstore"``, ``"wire"``, or ``"auto"``, which is libxenstore where it loads and opens `path`, and the
    wire else; the environment's ``XSFFI_BACKEND`` says what ``"auto"`` is. `path`: a socket or a device, else the
    places that :func:`xsffi.addresses.candidates` tells; libxenstore opens these alone. `timeout`: how many seconds a
    request may take (None: any time); only the wire can do that, so ``"auto"`` is the wire with it.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried and why each failed, and
    :class:`~xsffi.errors.NotSupportedError` where libxenstore is asked for by name, and can do no timeout, or opens
    another place than `path`.
    """
    name = _check_name(name, "a backend")
    if name == "auto":
        name = _check_name(os.environ.get("XSFFI_BACKEND") or "auto", "XSFFI_BACKEND")
    if timeout is not None and name == "libxenstore":
        raise NotSupportedError(errno.ENOSYS, "libxenstore knows no timeout of a request; the wire backend does")
    if name == "wire" or timeout is not None:
        return _open_wire(path, timeout, [])
    reason = load_libxenstore()
    if reason is not None:
        attempts: Attempts = [("libxenstore", FileNotFoundError(errno.ENOENT, reason))]
        if name == "libxenstore":
            raise _unavailable(attempts)
        return _open_wire(path, None, attempts)
    try:
        return _open_libxenstore(path)
    except NotSupportedError as error:
        if name == "libxenstore":
            raise
        return _open_wire(path, None, [("libxenstore", error)])


def _open_libxenstore(path: str | None) -> Backend:
    attempts: Attempts = []
    for place in places(path):
        try:
            return LibraryBackend(place)
        except NotSupportedError:
            raise
        except OSError as error:
            attempts.append((f"libxenstore at {place.path}", error))
    raise _unavailable(attempts)


def _open_wire(path: str | None, timeout: float | None, attempts: Attempts) -> Backend:
    for place in candidates(path):
        try:
            return open_wire(place, timeout)
        except OSError as error:
            attempts.append((f"wire at {place}", error))
    raise _unavailable(attempts)


def _unavailable(attempts: Attempts) -> BackendUnavailableError:
    reasons = tuple((what, error.strerror or str(error)) for what, error in attempts)
    # The first of libxenstore's reasons says nothing of the places.
    number = next((error.errno for what, error in attempts if " at " in what and error.errno), errno.ENOENT)
    tried = "; ".join(f"{what}: {why}" for what, why in reasons)
    unavailable = BackendUnavailableError(number, f"no way to the store was found. Tried {tried}")
    unavailable.attempts = reasons
    return unavailable


def _check_name(name: str, what: str) -> str:
    if name not in NAMES:
        raise InvalidArgumentError(errno.EINVAL, f"{what} is one of {', '.join(NAMES)}, not {name!r}")
    return name
