"""The backend over libxenstore by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from daemons import Daemon
from harness.stores import environment_of, require_libxenstore

from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.backends.libxenstore.opening import places

OpenLibrary = Callable[[str], LibraryBackend]


@pytest.fixture
def open_library() -> Iterator[OpenLibrary]:
    """Opens a socket or device over libxenstore. What was opened is closed at the end."""
    require_libxenstore()
    opened: list[LibraryBackend] = []

    def open_it(path: str) -> LibraryBackend:
        with environment_of(path):
            opened.append(LibraryBackend(places(path)[0]))
        return opened[-1]

    yield open_it
    for backend in opened:
        backend.close()


@pytest.fixture
def library(daemon: Daemon, open_library: OpenLibrary) -> LibraryBackend:
    """The backend, on each of the daemons."""
    return open_library(daemon.socket_path)
