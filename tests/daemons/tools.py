"""Xen's own command-line tools, such as xenstore-ls, run against a store."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from .packages import Packages


def run_tool(
    packages: Packages, environment: Mapping[str, str], name: str, *args: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end. The caller checks its exit code."""
    return subprocess.run(
        [str(packages.tool(name)), *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start_tool(packages: Packages, environment: Mapping[str, str], name: str, *args: str) -> subprocess.Popen[str]:
    """Starts a tool that keeps running, such as xenstore-watch, with pipes for its output."""
    return subprocess.Popen(
        [str(packages.tool(name)), *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
