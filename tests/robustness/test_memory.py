"""Thousands of calls of all kinds leave nothing allocated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from daemons import Daemon
from harness.children import python_environment
from harness.stores import require_libxenstore

ROUNDS = int(os.environ.get("XSFFI_MEMORY_ROUNDS", "2000"))
SMALLEST = 16  # bytes: the smallest block that could leak in each round


def left_by_each_round(daemon: Daemon, backend: str, *arguments: str) -> float:
    if backend == "libxenstore":
        require_libxenstore()
    environment = python_environment(
        **daemon.environment(),
        PYTHONMALLOC="malloc",
        MALLOC_ARENA_MAX="1",
        GLIBC_TUNABLES="glibc.malloc.tcache_count=0",
    )
    command = [sys.executable, "-m", "robustness.memory", backend, str(ROUNDS), *arguments]
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def test_nothing_is_left(xenstored: Daemon, backend: str) -> None:
    assert left_by_each_round(xenstored, backend) < SMALLEST


def test_a_leak_would_be_noticed(xenstored: Daemon) -> None:
    assert left_by_each_round(xenstored, "wire", "leak") > SMALLEST


@pytest.mark.skipif(os.environ.get("XSFFI_EXTENSION") == "no", reason="that is what the test above has done")
def test_nothing_is_left_without_the_extension(xenstored: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSFFI_EXTENSION", "no")
    assert left_by_each_round(xenstored, "wire") < SMALLEST
