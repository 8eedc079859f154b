"""Runs async tests: each in a new event loop of each kind, in which nothing may be left behind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from daemons import Daemon
from harness.loops import LOOPS, run_alone

from xsffi import Client, aio


@pytest.fixture(params=LOOPS, autouse=True)
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of event loop."""
    kind: str = request.param
    return kind


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test function."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    run_alone(pyfuncitem.obj(**arguments), str(pyfuncitem.funcargs["loop_kind"]))
    return True


@pytest.fixture
def path(xenstored: Daemon) -> str:
    """The socket of a real daemon."""
    return xenstored.socket_path


@pytest.fixture
def daemon(xenstored: Daemon) -> Daemon:
    """The daemon of these tests; the conformance suite runs on each daemon."""
    return xenstored


@pytest.fixture
def client(path: str) -> aio.Client:
    """A client that is not open yet."""
    return aio.Client(path)


@pytest.fixture
def sync(path: str) -> Iterator[Client]:
    """Another client, which makes changes independently of the first."""
    with Client(path, backend="wire") as client:
        yield client
