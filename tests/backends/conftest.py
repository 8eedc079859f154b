"""Fixtures shared by the tests of all backends."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest
from harness.alarms import silence


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test that hangs prints a traceback and ends the run, even if C code hangs while holding the GIL."""
    faulthandler.dump_traceback_later(600, exit=True, file=2)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def alarms() -> Iterator[None]:
    """Cancels the alarms that the test has set."""
    yield
    silence()
