"""Fixtures for the tests of the harness."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from daemons import DAEMON_KINDS, Daemon, Packages, require_packages, start_daemon


@pytest.fixture
def packages() -> Packages:
    return require_packages()


@pytest.fixture(params=DAEMON_KINDS)
def kind(request: pytest.FixtureRequest, packages: Packages) -> str:
    return str(request.param)


@pytest.fixture
def daemon(kind: str) -> Iterator[Daemon]:
    with start_daemon(kind) as daemon:
        yield daemon


class RunScript(Protocol):
    def __call__(self, script: str, *args: str, new_session: bool = False) -> subprocess.Popen[str]: ...


@pytest.fixture
def run_script() -> RunScript:
    """Starts a new Python that can import this package, with pipes for its output."""

    def run(script: str, *args: str, new_session: bool = False) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *args],
            env=dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[1])),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=new_session,
        )

    return run
