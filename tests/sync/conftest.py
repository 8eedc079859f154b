"""Clients without a daemon: over a backend whose replies come from a function, and over a store in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness.fakes import FakeBackend, make_client
from harness.inprocess import DisturbedBackend

from xsffi import Client, XenStoreError
from xsffi.errors import closed_error, lost_error
from xsffi.protocol.requests import Request, Watch
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


@pytest.fixture(params=["lost", "closed"])
def gone(request: pytest.FixtureRequest, fake: FakeBackend) -> type[XenStoreError]:
    """What is raised by all but a watch, which brings its first event: the connection is gone then."""
    error = lost_error() if request.param == "lost" else closed_error()

    def answer(request: Request[Any], tx_id: int) -> Any:
        if not isinstance(request, Watch):
            return error
        fake.put_event("/", request.token.decode())
        return None

    fake.answer = answer
    return type(error)
