"""The suite runs with every client."""

from __future__ import annotations

import pytest
from harness.stores import CLIENTS


@pytest.fixture(params=CLIENTS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend, and the asyncio client. Tests for the sync client only are marked with
    :func:`harness.stores.of_sync_alone`."""
    name: str = request.param
    return name
