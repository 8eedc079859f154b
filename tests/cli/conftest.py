"""Fixtures for tests of the command: a store with the documentation's sample, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import xsffi
from xsffi.testing import EmbeddedStore

SAMPLE = Path(__file__).resolve().parents[2] / "examples/store.jsonl"


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    """An embedded store with the sample."""
    with EmbeddedStore(map(xsffi.Node.from_json, SAMPLE.read_text().splitlines())) as store:
        yield store


@pytest.fixture
def xs(store: EmbeddedStore) -> Iterator[xsffi.Client]:
    """A client of that store, as dom0."""
    with store.connect() as xs:
        yield xs
