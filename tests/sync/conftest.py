"""Clients without a daemon: over a backend whose replies come from a function, and over a store in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.fakes import FakeBackend, make_client
from harness.inprocess import DisturbedBackend

from xsffi import Client
from xsffi.server.store import Store


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    """The backend of :func:`client`."""
    with FakeBackend() as backend:
        yield backend


@pytest.fixture
def client(fake: FakeBackend) -> Iterator[Client]:
    """A client that uses it."""
    with make_client(fake) as client:
        yield client


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def backend(store: Store) -> DisturbedBackend:
    return DisturbedBackend(store)


@pytest.fixture
def xs(backend: DisturbedBackend) -> Iterator[Client]:
    """A client whose dumps and mirrors use its own connection, as over the wire."""
    with make_client(backend) as client:
        for path in ("/a/b/c", "/a/d"):
            client.write(path, "1")
        yield client
