"""The suite runs over every client."""

from __future__ import annotations

import pytest
from harness.stores import CLIENTS


@pytest.fixture(params=CLIENTS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the backends, and the client for asyncio. What is of the sync client alone says so, by
    :func:`harness.stores.of_sync_alone`."""
    name: str = request.param
    return name
