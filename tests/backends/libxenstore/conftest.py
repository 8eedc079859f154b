"""The libxenstore backend, without the rest of a client."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Daemon
from harness.children import output_of
from harness.compiled import compile_library
from harness.stores import environment_of, require_libxenstore

from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.backends.libxenstore.extension import lib
from xsffi.backends.libxenstore.opening import places

OpenLibrary = Callable[[str], LibraryBackend]
RunProgram = Callable[..., str]


@pytest.fixture
def open_library() -> Iterator[OpenLibrary]:
    """Opens a socket or device through libxenstore; closed at the end of the test."""
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


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake of Xen 4.22's libxenstore, compiled."""
    if lib is None:
        pytest.skip("the extension is not built")
    return compile_library("libxenstore_4_22", tmp_path_factory.mktemp("library"))


@pytest.fixture
def run_over_4_22(stand_in: Path, tmp_path: Path) -> Iterator[RunProgram]:
    """Runs a program in its own process, since a process has only one libxenstore, and returns its output; in it, `xs`
    is a client of the fake. To be called as run(program, **environment)."""

    def run(program: str, **environment: str) -> str:
        prelude = "import xsffi; xs = xsffi.Client(backend='libxenstore')\n"
        variables = {"XENSTORED_PATH": address, "XSFFI_LIBXENSTORE": str(stand_in), **environment}
        return output_of(f"{prelude}{program}\nxs.close()", **variables)

    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:  # a socket that the client can find
        listener.bind(address)
        listener.listen()
        yield run
