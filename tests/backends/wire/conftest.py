"""Fixtures for both implementations of the wire's connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from xsffi.backends.wire import native
from xsffi.backends.wire.native import Connection, open_connection

Connect = Callable[..., Connection]


@pytest.fixture(params=["C", "Python"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of each implementation, which is then used for new connections."""
    if request.param == "Python":
        monkeypatch.setattr(native, "open_in_c", None)
    elif native.open_in_c is None:
        if os.environ.get("CI") and os.environ.get("XSFFI_EXTENSION") != "no":
            pytest.fail("the extension was not built", pytrace=False)
        pytest.skip("the extension was not built")
    name: str = request.param
    return name


@pytest.fixture
def connect(implementation: str) -> Iterator[Connect]:
    """Opens connections, as ``connect(path, timeout=None)``, and closes them at the end."""
    opened: list[Connection] = []

    def connect(path: str, timeout: float | None = None) -> Connection:
        connection = open_connection(path, timeout).connection
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()
