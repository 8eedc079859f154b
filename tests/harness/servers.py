"""The embedded store as a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["started"]


@contextmanager
def started(environment: Mapping[str, str], module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module that is a server. Yields once clients can connect; the process is killed at the end if it is still
    running."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", module, *arguments, "--ready-fd", str(write_end)],
        env=environment,
        pass_fds=[write_end],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    with process:
        try:
            assert os.read(read_end, 1) == b""
            yield process
        finally:
            os.close(read_end)
            process.kill()
