"""Xen's own store daemons, run for a test: each in its own directory, any number at a time, as any user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

from .connection import TIMEOUT, SocketConnection
from .messages import MessageType, strings
from .packages import Packages, load_packages
from .tools import run_tool, start_tool

DAEMON_KINDS = ("xenstored", "oxenstored")

_START_TIMEOUT = 10.0
_LONGEST_DIRECTORY = 107 - len("/guest-65535")
"""A unix socket's path has at most 107 bytes; the longest one in a daemon's directory is that of a guest."""


class DaemonError(Exception):
    """A daemon did not start, died, or refused a request of the harness."""


@dataclass(frozen=True)
class GuestQuotas:
    """A guest's quotas. None means the daemon's default; by default a guest has 1000 nodes, and 128 (xenstored) or 100
    (oxenstored) watches."""

    nodes: int | None = None
    node_size: int | None = None
    watches: int | None = None
    transactions: int | None = None
    permissions: int | None = None
    """Entries in a node's list. oxenstored has no such quota."""
    path_length: int | None = None

    def named(self, names: Mapping[str, str]) -> dict[str, str]:
        """The quotas that are set, by the daemon's own names for them."""
        quotas = {field.name: getattr(self, field.name) for field in fields(self)}
        quotas = {name: value for name, value in quotas.items() if value is not None}
        unknown = quotas.keys() - names.keys()
        if unknown:
            raise ValueError(f"this daemon has no quota for {', '.join(sorted(unknown))}")
        return {names[name]: str(value) for name, value in quotas.items()}


class Daemon:
    """A running store daemon. It ends with `stop`, with its ``with`` block, when it is garbage-collected, or with this
    process."""

    def __init__(
        self, kind: str, command: Sequence[str], directory: Path, packages: Packages, *, remove_directory: bool
    ) -> None:
        self.kind = kind
        self.directory = directory
        self.socket_path = str(directory / "socket")
        self.packages = packages
        self._command = command
        self._holdings = _Holdings(directory if remove_directory else None)
        self._finalizer = weakref.finalize(self, self._holdings.put_away)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def xen_release(self) -> str:
        """The release of Xen that it comes from, such as "4.17"."""
        return self.packages.version

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """All output of the daemon so far, on its terminal and in its log file."""
        texts = []
        for name in ("output.log", "xenstored.log"):
            path = self.directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace"))
        return "".join(texts)

    # Life cycle

    def kill(self) -> None:
        """Kills it at once. The file of its socket remains."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Starts it again at the same place, with an empty store; kills it first if it is still running."""
        self._holdings.end_processes()
        for ring in self.directory.glob("ring-*"):
            ring.unlink()
        self._start()

    def pause(self) -> None:
        """Stops it as if it were busy or hung: connections stay open, and nothing is answered."""
        if self.is_running:
            self._process.send_signal(signal.SIGSTOP)
            # os.waitid would do without polling, but PyPy lacks it.
            while self.is_running:
                if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                    return
                time.sleep(0.001)
        raise DaemonError(f"{self.kind} is dead and cannot be paused\n{self.log}")

    def resume(self) -> None:
        """Lets it continue after `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, and tools still running against it, and removes what it left behind. May be called more than
        once."""
        self._finalizer()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.pid} at {self.socket_path}>"

    # Programs that use it

    def environment(self) -> dict[str, str]:
        """The complete environment for a program that uses this daemon and Xen's libraries."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XENSTORED_")}
        environment.update(LD_LIBRARY_PATH=self.packages.library_path, XENSTORED_PATH=self.socket_path)
        return environment

    def tool(self, name: str, *args: str, timeout: float = 10.0) -> subprocess.CompletedProcess[str]:
        """Runs one of Xen's command-line tools, such as "xenstore-ls", to its end. The caller checks its exit code."""
        return run_tool(self.packages, self.environment(), name, *args, timeout=timeout)

    def tool_process(self, name: str, *args: str) -> subprocess.Popen[str]:
        """Starts a tool that keeps running, such as "xenstore-watch", with pipes for its output. `stop` ends it at the
        latest."""
        process = start_tool(self.packages, self.environment(), name, *args)
        self._holdings.tools.append(process)
        return process

    # The toolstack's side

    def connect(self) -> SocketConnection:
        """A plain connection, as dom0, over which a test can send anything."""
        return SocketConnection(self.socket_path)

    def introduce(self, domid: int) -> None:
        """Introduces a domain to the daemon, which it can then reach through its ring (see Guest)."""
        if not self.is_introduced(domid):
            # The page of an earlier domain with this id would be out of step with the daemon's state.
            self.ring_path(domid).unlink(missing_ok=True)
        self._request(MessageType.INTRODUCE, str(domid), "1", "1")

    def is_introduced(self, domid: int) -> bool:
        return self._request(MessageType.IS_DOMAIN_INTRODUCED, str(domid)).startswith(b"T")

    def create_domain(self, domid: int) -> None:
        """Introduces a domain and creates its home, /local/domain/N, which it owns and no other domain may read."""
        home = f"/local/domain/{domid}"
        self.introduce(domid)
        self._request(MessageType.MKDIR, home)
        self._request(MessageType.SET_PERMS, home, f"n{domid}")

    def release(self, domid: int) -> None:
        """Tells the daemon that a domain has gone."""
        self._request(MessageType.RELEASE, str(domid))
        self.ring_path(domid).unlink(missing_ok=True)

    def ring_path(self, domid: int) -> Path:
        """The file that is the page shared by this domain and the daemon."""
        return self.directory / f"ring-{domid}"

    def _request(self, type: MessageType, *parts: str) -> bytes:
        with self.connect() as connection:
            reply = connection.call(type, strings(*parts))
        if reply.type == MessageType.ERROR:
            error = reply.payload.rstrip(b"\0").decode()
            raise DaemonError(f"{self.kind} answered {type.name} {' '.join(parts)} with {error}")
        return reply.payload

    # Starting

    def _start(self) -> None:
        environment = dict(
            os.environ,
            LD_LIBRARY_PATH=self.packages.library_path,
            LD_PRELOAD=str(self.packages.hypervisor),
            XSFFI_HYPERVISOR_DIR=str(self.directory),
            XSFFI_HYPERVISOR_PACKAGES=str(self.packages.root),
            XENSTORED_RUNDIR=str(self.directory),
            XENSTORED_PATH=self.socket_path,
        )
        with open(self.directory / "output.log", "ab") as output:
            self._process = self._holdings.process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.PIPE,  # a lifeline: see hypervisor.c
                stdout=output,
                stderr=output,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the tests, which may need the daemon while they finish
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                with SocketConnection(self.socket_path) as connection:
                    connection.call(MessageType.GET_DOMAIN_PATH, strings("0"), timeout=TIMEOUT)
                return
            except OSError as error:  # not there yet, dead, or timed out
                trouble = error
            if not self.is_running:
                raise DaemonError(f"{self.kind} ended with {self._process.returncode} at its start\n{self.log}")
            if time.monotonic() > deadline:
                raise DaemonError(f"{self.kind} does not answer after {_START_TIMEOUT} s ({trouble})\n{self.log}")
            time.sleep(0.001)


class _Holdings:
    """Everything to clean up with a daemon, in a separate object so that this works when the daemon is already
    garbage."""

    def __init__(self, directory: Path | None) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.tools: list[subprocess.Popen[str]] = []
        self._directory = directory
        self._owner = os.getpid()

    def end_processes(self) -> None:
        for tool in self.tools:
            tool.kill()
            tool.wait()
            if tool.stdout is not None:
                tool.stdout.close()
        self.tools.clear()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()

    def put_away(self) -> None:
        if os.getpid() != self._owner:
            return  # the exit of a forked child must not end its parent's daemon
        self.end_processes()
        if self._directory is not None:
            shutil.rmtree(self._directory)


def start_daemon(kind: str, directory: Path | None = None, *, quotas: GuestQuotas | None = None) -> Daemon:
    """Starts "xenstored" or "oxenstored"."""
    if kind == "xenstored":
        return start_xenstored(directory, quotas=quotas)
    if kind == "oxenstored":
        return start_oxenstored(directory, quotas=quotas)
    raise ValueError(f"there is no store daemon {kind!r}: {' and '.join(DAEMON_KINDS)} are known")


def start_xenstored(
    directory: Path | None = None, *, quotas: GuestQuotas | None = None, options: Sequence[str] = ()
) -> Daemon:
    """Starts the C daemon, with additional command-line options if given.

    Its quotas only apply to guests, and always do; `quotas` changes them. Without a directory it gets a temporary one.
    """
    names = {
        "nodes": "--entry-nb",
        "node_size": "--entry-size",
        "watches": "--watch-nb",
        "transactions": "--transaction",
        "permissions": "--perm-nb",
        "path_length": "--path-max",
    }
    limits = [f"{name}={value}" for name, value in (quotas or GuestQuotas()).named(names).items()]
    packages = _packages()
    place = _Place(directory)
    command = [str(packages.xenstored), "--no-fork", *limits, *options]
    return Daemon("xenstored", command, place.directory, packages, remove_directory=place.is_ours)


def start_oxenstored(
    directory: Path | None = None,
    *,
    quotas: GuestQuotas | None = None,
    settings: Mapping[str, str] | None = None,
) -> Daemon:
    """Starts the OCaml daemon, with additional settings in its configuration file if given.

    Its quota on the size of a value also applies to dom0, so its quotas are off unless `quotas` is given;
    `GuestQuotas()` means the daemon's own defaults. Without a directory it gets a temporary one.
    """
    names = {
        "nodes": "quota-maxentity",
        "node_size": "quota-maxsize",
        "watches": "quota-maxwatch",
        "transactions": "quota-transaction",
        "path_length": "quota-path-max",
    }
    limits = (quotas or GuestQuotas()).named(names)
    packages = _packages()
    place = _Place(directory)
    configuration = {
        "pid-file": str(place.directory / "oxenstored.pid"),
        "xenstored-log-file": str(place.directory / "xenstored.log"),
        "access-log-file": str(place.directory / "access.log"),
        "access-log-nb-files": "0",  # no access log: it would slow down each request
        "xenstored-kva": "/proc/xen/xsd_kva",
        "xenstored-port": "/proc/xen/xsd_port",
        "persistent": "false",
        "quota-activate": "false" if quotas is None else "true",
        **limits,
        **(settings or {}),
    }
    file = place.directory / "oxenstored.conf"
    file.write_text("".join(f"{name} = {value}\n" for name, value in configuration.items()))
    command = [str(packages.oxenstored), "--no-fork", "--config-file", str(file)]
    return Daemon("oxenstored", command, place.directory, packages, remove_directory=place.is_ours)


class _Place:
    """The directory for a daemon: the given one, or a new one that is removed with the daemon."""

    def __init__(self, directory: Path | None) -> None:
        self.is_ours = directory is None
        if directory is None:
            parent = tempfile.gettempdir()
            if len(os.fsencode(parent)) > _LONGEST_DIRECTORY - len("/xs-12345678"):
                parent = "/tmp"
            self.directory = Path(tempfile.mkdtemp(prefix="xs-", dir=parent))
            return
        self.directory = directory.absolute()
        if len(os.fsencode(self.directory)) > _LONGEST_DIRECTORY:
            raise ValueError(f"{self.directory} is too long for the path of a unix socket in it")
        self.directory.mkdir(parents=True, exist_ok=True)


def _packages() -> Packages:
    packages = load_packages()
    if packages is None:
        raise DaemonError("Xen's store daemons are not unpacked: run ci/fetch-xen")
    return packages
