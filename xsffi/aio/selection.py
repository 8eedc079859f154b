"""Where the store is found, for asyncio: as :mod:`xsffi.backends.selection`, with one backend to choose."""

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
    """Open a connection to the store, for the running event loop. `path`: a socket or a device, else the places that
    :func:`xsffi.addresses.candidates` tells. `timeout`: how many seconds a reply, and connecting, may take (None: any
    time). `patience`: how many seconds connecting may take, if not as many.

    Raises BackendUnavailableError, which says what was tried and why each failed.
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
