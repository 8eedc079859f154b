"""The embedded store in place of a daemon, for tests that run against each."""

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
    """The embedded store's release closest to this version: the same, or the newest older one."""
    return max((name for name in RELEASES if order(name) <= order(version)), key=order)


def parse_use(answer: str) -> dict[str, int]:
    """A domain's use of each quota, from CONTROL's answer to ``quota <domid>``."""
    lines = [line.partition(":") for line in answer.splitlines()[1:]]
    return {name.strip(): int(text.split()[0]) for name, _, text in lines}


class EmbeddedDaemon:
    """The interface of :class:`daemons.Daemon` that tests use, served by an embedded store."""

    kind = "xenstored"

    def __init__(self, release: str | None = None) -> None:
        """`release`: the release of Xen whose xenstored it imitates; by default, the one installed for the tests."""
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
        """The complete environment for a program that uses this store and Xen's libraries."""
        return {**self.store.environment(), "LD_LIBRARY_PATH": self.packages.library_path}

    def tool(self, name: str, *args: str, timeout: float = 10.0) -> subprocess.CompletedProcess[str]:
        """Run one of Xen's command-line tools to its end. The caller checks its exit code."""
        return run_tool(self.packages, self.environment(), name, *args, timeout=timeout)

    def tool_process(self, name: str, *args: str) -> subprocess.Popen[str]:
        """Start a tool that keeps running, until `stop` at the latest."""
        process = start_tool(self.packages, self.environment(), name, *args)
        self._tools.append(process)
        return process

    def create_domain(self, domid: int) -> None:
        self.store.create_domain(domid)

    def release(self, domid: int) -> None:
        with self.store.connect(backend="wire") as client:
            client.release_domain(domid)
