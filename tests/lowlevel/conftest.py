"""Connections through the drop-in, with the daemon and the backend of the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest
from daemons import Daemon
from harness.stores import require_libxenstore

from xsffi.lowlevel import xs as lowlevel

Connect = Callable[[], lowlevel.xs]


def use(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, backend: str) -> None:
    """Make xs() connect to this daemon, over this backend."""
    if backend == "libxenstore":
        require_libxenstore()
    monkeypatch.setenv("XENSTORED_PATH", daemon.socket_path)
    monkeypatch.setenv("XSFFI_BACKEND", backend)


@pytest.fixture
def connect(daemon: Daemon, backend: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes connections, which are closed at the end."""
    use(monkeypatch, daemon, backend)
    made: list[lowlevel.xs] = []

    def make() -> lowlevel.xs:
        made.append(lowlevel.xs())
        return made[-1]

    yield make
    for handle in made:
        try:
            handle.close()
        except lowlevel.Error:
            pass  # closed by the test


@pytest.fixture
def handle(connect: Connect) -> lowlevel.xs:
    """One connection."""
    return connect()
