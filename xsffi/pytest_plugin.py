"""Fixtures for pytest: a store of one's own for every test. Nothing is started, or imported, until one is used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sync.client import Client
    from .testing import EmbeddedStore

__all__ = ["xenstore", "xenstore_server"]


@pytest.fixture
def xenstore_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStore]:
    """A fresh, empty :class:`xsffi.testing.EmbeddedStore`; code that asks the environment for the store finds it."""
    from .testing import EmbeddedStore

    with EmbeddedStore() as server:
        monkeypatch.setenv("XENSTORED_PATH", server.path)
        yield server


@pytest.fixture
def xenstore(xenstore_server: EmbeddedStore) -> Iterator[Client]:
    """A client of :func:`xenstore_server`, as dom0."""
    with xenstore_server.connect() as client:
        yield client
