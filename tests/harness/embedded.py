"""The embedded store in the place of a daemon, for tests that run against each."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType

from daemons import Packages, require_packages
from daemons.releases import order
from daemons.tools import run_tool, start_tool

from xsffi.server.releases import RELEASES
from xsffi.testing import EmbeddedStore

__all__ = ["EmbeddedDaemon", "parse_use", "release_like"]


def release_like(version: str) -> str:
    """The release as which the embedded store comes nearest to a daemon of this one: itself, or the last before it."""
    return max((name for name in RELEASES if order(name) <= order(version)), key=order)


def parse_use(answer: str) -> dict[str, int]:
    """How much a domain uses of each quota, from the answer of CONTROL to ``quota <domid>``."""
    lines = [line.partition(":") for line in answer.splitlines()[1:]]
    return {name.strip(): int(text.split()[0]) for name, _, text in lines}


class EmbeddedDaemon:
    """What tests use of :class:`daemons.Daemon`, served by an embedded store."""

    kind = "xenstored"

    def __init__(self, release: str | None = None) -> None:
        """`release`: as xenstored of which Xen it behaves; by default, the one at hand."""
        self.xen_release = release or release_like(require_packages().version)
        self.store = EmbeddedStore(release=self.xen_release)
        self.socket_path = self.store.path
        self.pid = os.getpid()
        self.is_running = True
        self._tools: list[subprocess.Popen[str]] = []

    @property
    def packages(self) -> Packages:
        return require_packages()

    def stop(self) -> None:
        for tool in self._tools:
            tool.kill()
            tool.wait()
            if tool.stdout is not None:
                tool.stdout.close()
        self._tools.clear()
        self.is_running = False
        self.store.stop()

    kill = stop

    def __enter__(self) -> EmbeddedDaemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """The whole environment for a program that is to find this store and Xen's libraries."""
        return {**self.store.environment(), "LD_LIBRARY_PATH": self.packages.library_path}

    def tool(self, name: str, *args: str, timeout: float = 10.0) -> subprocess.CompletedProcess[str]:
        """Run one of Xen's command line tools to its end. Its exit code is for the caller."""
        return run_tool(self.packages, self.environment(), name, *args, timeout=timeout)

    def tool_process(self, name: str, *args: str) -> subprocess.Popen[str]:
        """Start a tool that runs on. `stop` ends it, if need be."""
        process = start_tool(self.packages, self.environment(), name, *args)
        self._tools.append(process)
        return process

    def create_domain(self, domid: int) -> None:
        self.store.create_domain(domid)

    def release(self, domid: int) -> None:
        with self.store.connect(backend="wire") as client:
            client.release_domain(domid)
