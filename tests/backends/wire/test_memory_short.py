"""Memory runs out at each of the allocations of a wire connection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness.children import python_environment
from harness.compiled import compile_library


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="another interpreter has a memory of its own")
def test_one_failing_allocation_at_a_time(implementation: str, tmp_path: Path) -> None:
    library = str(compile_library("failing_malloc", tmp_path))
    environment = python_environment(PYTHONMALLOC="malloc", PYTHONFAULTHANDLER="1", LD_PRELOAD=library)
    command = [sys.executable, "-m", "backends.wire.memory_short", implementation]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    failed = dict(line.rsplit(" ", 1) for line in told.splitlines())
    assert len(failed) == 16
    assert int(failed["a big reply"]) > 3
