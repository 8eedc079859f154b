"""A client without a daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.fakes import FakeBackend, make_client

from xsffi import Client


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    """The backend of :func:`client`."""
    with FakeBackend() as backend:
        yield backend


@pytest.fixture
def client(fake: FakeBackend) -> Iterator[Client]:
    """A client over it."""
    with make_client(fake) as client:
        yield client
