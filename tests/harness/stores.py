"""The stores that tests run against, and clients for them."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest
from daemons import Daemon, Packages, load_packages

import xsffi
from xsffi.backends.libxenstore.extension import load_libxenstore

from .awaited import AwaitedClient

BACKENDS = ("libxenstore", "wire")  # of the sync client
AIO = "aio"  # instead of a backend: the asyncio client, which uses the wire
CLIENTS = (*BACKENDS, AIO)


def of_sync_alone(difference: str) -> pytest.MarkDecorator:
    """Marks a test of something that the asyncio client does differently by design; `difference` says how."""
    assert difference
    return pytest.mark.parametrize("backend", BACKENDS)


def prepare_libxenstore() -> None:
    """Make this process find the libxenstore that comes with the daemons, if the system has none."""
    packages = load_packages()
    # The variable may already be set, by the process that started this one as a pytest-xdist worker.
    if packages is not None and os.environ.setdefault("XSFFI_LIBXENSTORE", place := str(packages.libxenstore)) == place:
        _load_what_it_needs(packages)


def require_libxenstore() -> None:
    """Skip the test if libxenstore is not available; under CI, where the extension must be used, fail it, unless the
    release of Xen under test is too new for this system."""
    reason = load_libxenstore()
    if reason is None:
        return
    packages = load_packages()
    if packages is not None and packages.has_own_libc:
        pytest.skip(f"libxenstore of Xen {packages.version} needs a newer C library than this system's")
    if os.environ.get("CI") and os.environ.get("XSFFI_EXTENSION") != "no":
        pytest.fail(f"libxenstore is not to be had: {reason}", pytrace=False)
    pytest.skip(f"libxenstore is not to be had: {reason}")


@contextmanager
def environment_of(path: str) -> Iterator[None]:
    """Set the environment so that libxenstore opens this socket or device and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XENSTORED_PATH", path)
        yield


def open_client(path: str, backend: str, **options: Any) -> xsffi.Client:
    """A client of the store at this socket or device, over one of the backends, with these options; or the asyncio one,
    which must be used in a ``with`` block."""
    if backend == AIO:
        awaited = AwaitedClient(path, **options)
        assert awaited.backend.name == "wire"
        return cast(xsffi.Client, awaited)
    if backend == "libxenstore":
        require_libxenstore()
    with environment_of(path):
        client = xsffi.Client(path, backend=backend, **options)
    assert client.backend.name == backend
    return client


@contextmanager
def client_of(daemon: Daemon, backend: str, **options: Any) -> Iterator[xsffi.Client]:
    """A client of a daemon, over one of the backends, or for asyncio."""
    with open_client(daemon.socket_path, backend, **options) as client:
        yield client


def connections_to(daemon: Daemon) -> int:
    """How many stream sockets the daemon has open, besides the one it listens on."""
    with open(f"/proc/{daemon.pid}/net/unix") as table:
        return sum(daemon.socket_path in line and line.split()[5] == "03" for line in table)


@contextmanager
def nobody_is_accepted(daemon: Daemon) -> Iterator[None]:
    """The daemon is paused, and its queue of connections to accept is full."""
    daemon.pause()
    with ExitStack() as waiting:
        try:
            while True:
                one = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                one.setblocking(False)
                one.connect(daemon.socket_path)
        except BlockingIOError:
            pass
        try:
            yield
        finally:
            daemon.resume()


def events_so_far(client: xsffi.Client) -> list[xsffi.WatchEvent]:
    """All events caused by what was done before this call, however slow the machine: the daemon sends events in order,
    and one at once for a new watch."""
    last = xsffi.WatchEvent("/so-far", "so far")
    with client.watch(*last):
        return list(iter(lambda: client.read_watch(10), last))


def _load_what_it_needs(packages: Packages) -> None:
    # The loader reads LD_LIBRARY_PATH only once, at process start; a library that is already loaded is found by its
    # name.
    for place in packages.library_path.split(":"):
        needed = os.path.join(place, "libxentoolcore.so.1")
        if os.path.exists(needed):
            ctypes.CDLL(needed)
