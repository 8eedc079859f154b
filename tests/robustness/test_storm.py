"""Everything that can interfere, all at once: see storm.py. ci/soak runs it for longer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from daemons import Daemon
from harness.children import python_environment
from harness.stores import require_libxenstore

from xsffi.backends.wire import native

SECONDS = os.environ.get("XSFFI_STORM_SECONDS", "2")
SEED = os.environ.get("XSFFI_STORM_SEED", "1")


@pytest.mark.parametrize("store", ["xenstored", "embedded"])
@pytest.mark.parametrize("way", ["wire in C", "wire in Python", "libxenstore"])
def test_storm(request: pytest.FixtureRequest, store: str, way: str) -> None:
    daemon: Daemon = request.getfixturevalue(store)
    backend = way.split()[0]
    connection = "python" if way == "wire in Python" else "c"
    environment = python_environment(**{**daemon.environment(), "XSFFI_CONNECTION": connection})
    if way == "libxenstore":
        require_libxenstore()
    elif way == "wire in C" and native.open_in_c is None:
        pytest.skip("the extension was not built")
    command = [sys.executable, "-m", "robustness.storm", backend, daemon.socket_path, SECONDS, SEED]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith(" steps\n")
