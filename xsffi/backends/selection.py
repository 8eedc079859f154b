"""Which backend: the one asked for, or the best that can be had."""

from __future__ import annotations

import errno
import os

from ..addresses import candidates
from ..errors import BackendUnavailableError, InvalidArgumentError, NotSupportedError
from .base import Backend
from .extension import load_libxenstore
from .library import LibraryBackend
from .wire import open_wire

__all__ = ["NAMES", "open_backend"]

NAMES = ("auto", "libxenstore", "wire")


def open_backend(name: str = "auto", path: str | None = None, timeout: float | None = None) -> Backend:
    """Open a connection to the store.

    `name`: ``"libxenstore"``, ``"wire"``, or ``"auto"``, which is libxenstore where it loads and the wire else; the
    environment's ``XSFFI_BACKEND`` says what ``"auto"`` is. `path`: a socket or a device, else the places that
    :func:`xsffi.addresses.candidates` tells. `timeout`: how many seconds a request may take (None: any time); only the
        wire can do that, so ``"auto"`` is the wire with it.

    Raises :class:`~xsffi.errors.BackendUnavailableError`, which says what was tried and why each failed.
    """
    name = _check_name(name, "a backend")
    if name == "auto":
        name = _check_name(os.environ.get("XSFFI_BACKEND") or "auto", "XSFFI_BACKEND")
    if timeout is not None and name == "libxenstore":
        raise NotSupportedError(errno.ENOSYS, "libxenstore knows no timeout of a request; the wire backend does")
    if name == "wire" or timeout is not None:
        return _open("wire", path, timeout, [])
    reason = load_libxenstore()
    if reason is None:
        return _open("libxenstore", path, None, [])
    if name == "libxenstore":
        raise _unavailable([("libxenstore", reason)], errno.ENOENT)
    return _open("wire", path, None, [("libxenstore", reason)])


def _open(name: str, path: str | None, timeout: float | None, attempts: list[tuple[str, str]]) -> Backend:
    first: int | None = None
    for place in candidates(path):
        try:
            if name == "libxenstore":
                return LibraryBackend(place)
            return open_wire(place, timeout)
        except OSError as error:
            attempts.append((f"{name} at {place}", error.strerror or str(error)))
            first = first or error.errno
    raise _unavailable(attempts, first or errno.ENOENT)


def _unavailable(attempts: list[tuple[str, str]], number: int) -> BackendUnavailableError:
    tried = "; ".join(f"{what}: {why}" for what, why in attempts)
    error = BackendUnavailableError(number, f"no way to the store was found. Tried {tried}")
    error.attempts = tuple(attempts)
    return error


def _check_name(name: str, what: str) -> str:
    if name not in NAMES:
        raise InvalidArgumentError(errno.EINVAL, f"{what} is one of {', '.join(NAMES)}, not {name!r}")
    return name
