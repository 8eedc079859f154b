"""How to open the store for asyncio: as :mod:`xsffi.backends.selection`, with only one backend."""

from __future__ import annotations

import asyncio

from .. import log
from ..addresses import candidates
from ..errors import unavailable_error
from .backend import Backend
from .connection import Connection
from .trace import TracedBackend
from .transport import open_transport

__all__ = ["open_backend"]


async def open_backend(path: str | None, timeout: float | None, patience: float | None = None) -> Backend:
    """Open a connection to the store, for the running event loop. `path`: a socket or device; by default
    :func:`xsffi.addresses.candidates` are tried. `timeout`: how many seconds connecting, and each reply, may take
    (None: no limit). `patience`: how many seconds connecting may take, if not `timeout`.

    Raises BackendUnavailableError, which lists what was tried and why each failed.
    """
    attempts: list[tuple[str, OSError]] = []
    for place in candidates(path):
        try:
            transport = await open_transport(place, timeout if patience is None else patience)
            connection = Connection(asyncio.get_running_loop(), transport, timeout)
        except OSError as error:
            attempts.append((f"wire at {place}", error))
            continue
        backend = Backend(connection, transport.kind, place)
        tell = log.tell_of_requests(backend.description, attempts)
        return backend if tell is None else TracedBackend(backend, tell)
    raise unavailable_error(attempts)
