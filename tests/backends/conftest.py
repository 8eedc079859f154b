"""What the tests of each backend share."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest
from harness.alarms import silence


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test that hangs tells where, and ends the run; also where a thread in C does, and keeps the GIL."""
    faulthandler.dump_traceback_later(600, exit=True, file=2)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def alarms() -> Iterator[None]:
    """Ends the alarms that the test has set."""
    yield
    silence()
