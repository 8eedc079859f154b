"""The examples, run as processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemons import DAEMON_KINDS, Daemon, require_packages, start_daemon
from harness.embedded import EmbeddedDaemon
from harness.pages import Page
from harness.threads import PATIENCE

import xsffi
from xsffi.testing import EmbeddedStore

REPOSITORY = Path(__file__).resolve().parent.parent
INDEX = Page(REPOSITORY / "examples/README.md")
TOTAL = 2_000_000  # kB
MINIMUM = 100_000


class MemoryBalancer:
    """The running program, and its output so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.said = ""

    def wait_until_it_says(self, text: str) -> None:
        """Read its output up to a line that contains the text."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said += line
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}:\n{self.said}")

    def wait_until_it_ends(self) -> int:
        """Its exit status."""
        _, rest = self._process.communicate(timeout=PATIENCE)
        self.said += rest
        assert "Traceback" not in self.said
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send it a signal, as a user or the system would."""
        self._process.send_signal(number)


@contextmanager
def memory_balancer(environment: Mapping[str, str], total: int = TOTAL) -> Iterator[MemoryBalancer]:
    """Start it, and kill it at the end if it is still running."""
    command = [sys.executable, "examples/memory_balancer.py", f"--total={total}", f"--minimum={MINIMUM}"]
    environment = {**environment, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            yield MemoryBalancer(process)
        finally:
            watchdog.cancel()
            process.kill()


@pytest.fixture(params=[*DAEMON_KINDS, "embedded"])
def new_daemon(request: pytest.FixtureRequest) -> Iterator[Daemon | EmbeddedDaemon]:
    """Each of the daemons, with only this test's domains."""
    require_packages()
    with EmbeddedDaemon() if request.param == "embedded" else start_daemon(request.param) as daemon:
        yield daemon


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as store:
        yield store


@pytest.fixture
def xs(store: EmbeddedStore) -> Iterator[xsffi.Client]:
    with store.connect(backend="wire") as client:
        yield client


def create(daemon: Daemon | EmbeddedDaemon, xs: xsffi.Client, domid: int, used: int) -> None:
    """Create a domain as a toolstack does, its home first; then report its usage."""
    xs.mkdir(f"/local/domain/{domid}")
    daemon.create_domain(domid)
    report(xs, domid, used)


def report(xs: xsffi.Client, domid: int, used: object) -> None:
    xs.write(f"/local/domain/{domid}/memory/meminfo", str(used))


def target(xs: xsffi.Client, domid: int) -> bytes | None:
    return xs.get(f"/local/domain/{domid}/memory/target")


def test_domains_come_report_and_go(new_daemon: Daemon | EmbeddedDaemon) -> None:
    with (
        xsffi.Client(new_daemon.socket_path, backend="wire") as xs,
        memory_balancer(new_daemon.environment()) as balancer,
    ):
        create(new_daemon, xs, 41, 100_000)
        balancer.wait_until_it_says("/local/domain/41 uses 100000 kB, new target: 1983616 kB")
        create(new_daemon, xs, 42, 300_000)
        balancer.wait_until_it_says("/local/domain/42 uses 300000 kB, new target: 1425424 kB")
        assert target(xs, 41) == b"541808"
        assert target(xs, 42) == b"1425424"

        report(xs, 41, "a lot")
        balancer.wait_until_it_says("unknown use of memory in /local/domain/41")
        create(new_daemon, xs, 43, 400_000)
        balancer.wait_until_it_says("/local/domain/43 uses 400000 kB, new target: 925424 kB")
        assert [target(xs, domid) for domid in (41, 42, 43)] == [b"306356", b"719068", b"925424"]

        xs.rm("/local/domain/42")
        new_daemon.release(42)
        balancer.wait_until_it_says("/local/domain/43 uses 400000 kB, new target: 1513785 kB")
        assert target(xs, 41) == b"453446"
        assert not xs.exists("/local/domain/42")

        report(xs, 41, 400_000)
        balancer.wait_until_it_says("/local/domain/41 uses 400000 kB, new target: 983616 kB")
        balancer.signal(signal.SIGTERM)
        assert balancer.wait_until_it_ends() == 0


def test_the_daemon_dies(new_daemon: Daemon | EmbeddedDaemon) -> None:
    with (
        xsffi.Client(new_daemon.socket_path, backend="wire") as xs,
        memory_balancer(new_daemon.environment()) as balancer,
    ):
        create(new_daemon, xs, 41, 100_000)
        balancer.wait_until_it_says("new target")
        new_daemon.kill()
        assert balancer.wait_until_it_ends() == 1
        assert balancer.said.splitlines()[-1].startswith("memory_balancer: [Errno 104]")


def test_there_is_no_daemon(tmp_path: Path) -> None:
    with memory_balancer({**os.environ, "XENSTORED_PATH": str(tmp_path / "socket")}) as balancer:
        assert balancer.wait_until_it_ends() == 1
        assert balancer.said.startswith("memory_balancer: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(store: EmbeddedStore, number: int) -> None:
    with memory_balancer(store.environment()) as balancer:
        store.connect(41).close()
        with store.connect(42) as guest:
            guest.write("memory/meminfo", "100000")
            balancer.wait_until_it_says("/local/domain/42 uses 100000 kB")
        balancer.signal(number)
        assert balancer.wait_until_it_ends() == 0


@pytest.mark.parametrize(
    ("operation", "node", "says"),
    [
        ("WATCH", "memory/meminfo", "ignoring /local/domain/41: "),
        ("READ", "memory/meminfo", "unknown use of memory in /local/domain/41: "),
        ("WRITE", "memory/target", "cannot set the target of /local/domain/41: "),
    ],
)
def test_one_that_is_refused(store: EmbeddedStore, operation: str, node: str, says: str) -> None:
    store.fail("EACCES", operation, f"/local/domain/41/{node}", times=None)
    with store.connect(41) as one, store.connect(42) as other, memory_balancer(store.environment()) as balancer:
        one.write("memory/meminfo", "300000")
        balancer.wait_until_it_says(says)
        other.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/42 uses 100000 kB")


def test_a_domain_whose_nodes_vanish(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with store.connect(41) as one, store.connect(42) as other, memory_balancer(store.environment()) as balancer:
        one.write("memory/meminfo", "300000")
        balancer.wait_until_it_says("/local/domain/41 uses 300000 kB")
        xs.rm("/local/domain/41")  # while its release is still to come
        other.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("cannot set the target of /local/domain/41: ")
        balancer.wait_until_it_says("/local/domain/42 uses 100000 kB")
        assert not xs.exists("/local/domain/41")


@pytest.mark.parametrize(
    "nonsense",
    ["", "-100000", "1e9", pytest.param("9" * 1900, id="too much"), "\u0663", "100000 kB", b"\xff\0", "\n"],
)
def test_nonsense(store: EmbeddedStore, nonsense: str | bytes) -> None:
    """No domain gets less than the minimum because of it, and all together no more than the total."""
    with store.connect(41) as one, store.connect(42) as other, memory_balancer(store.environment()) as balancer:
        one.write("memory/meminfo", nonsense)
        one.write("memory/meminfo/below", "1")
        other.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/42 uses 100000 kB")
        one.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/41 uses 100000 kB, new target: 983616 kB")
        other.write("memory/meminfo", "100001")
        one.write("memory/meminfo", "1000000")
        balancer.wait_until_it_says("/local/domain/41 uses 1000000 kB")
        assert sum(int(guest.read("memory/target")) for guest in (one, other)) <= TOTAL


def test_a_small_change_writes_nothing(store: EmbeddedStore) -> None:
    with store.connect(41) as one, store.connect(42) as other, memory_balancer(store.environment()) as balancer:
        one.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/41 uses 100000 kB")
        other.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/42 uses 100000 kB, new target: 983616 kB")
        one.write("memory/meminfo", "101000")
        other.write("memory/meminfo", "none")
        balancer.wait_until_it_says("unknown use of memory in /local/domain/42")
        assert "uses 101000 kB" not in balancer.said
        assert one.read("memory/target") == b"983616"


def test_a_total_that_is_too_little(store: EmbeddedStore) -> None:
    with (
        store.connect(41) as one,
        store.connect(42) as other,
        memory_balancer(store.environment(), 200_000) as balancer,
    ):
        one.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("/local/domain/41 uses 100000 kB")
        other.write("memory/meminfo", "100000")
        balancer.wait_until_it_says("200000 kB are not enough for 2 domains")
        assert other.get("memory/target") is None


def test_the_index_has_each_example() -> None:
    """With the command that runs it, if it is a program."""
    files = [path.name for path in (REPOSITORY / "examples").iterdir() if path.suffix in (".jsonl", ".py")]
    rows = INDEX.rows(r"`([\w.]+)` \| [^|]+ \| `([^`]+)`[^|]*")
    assert sorted(row[1] for row in rows) == sorted(files)
    for name, command in (row.groups() for row in rows if row[1].endswith(".py")):
        assert shlex.split(command)[:2] == ["python", f"examples/{name}"]


def test_a_device_is_attached(new_daemon: Daemon | EmbeddedDaemon) -> None:
    """By a toolstack, with a driver running at the same time."""
    environment = {**new_daemon.environment(), "PYTHONPATH": str(REPOSITORY), "XSFFI_BACKEND": "wire"}

    def start(*command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
        )

    backend = "/local/domain/0/backend/vif/9/0"
    with start("examples/driver.py") as driver, start("examples/attach_device.py", "9") as toolstack:
        assert driver.communicate(timeout=PATIENCE)[0] == f"driver: connecting {backend}\n"
        printed = toolstack.communicate(timeout=PATIENCE)[0].splitlines()
    assert (driver.returncode, toolstack.returncode) == (0, 0)
    assert printed[0] == "attach_device: the backend is wire"
    assert f"attach_device: /local/domain/9/device/vif/0/backend = {backend}" in printed
    assert printed[-2:] == [f"attach_device: {backend}/state is 4", "attach_device: the driver has connected"]
    with xsffi.Client(new_daemon.socket_path, backend="wire") as xs:
        assert [str(each) for each in xs.get_permissions(backend)] == ["n0", "r9"]


class TestWaitForDevice:
    """A toolstack that waits for a handshake, on an embedded store."""

    FRONTEND = "/local/domain/5/device/vif/0"
    BACKEND = "/local/domain/0/backend/vif/5/0"

    @pytest.fixture
    def store(self) -> Iterator[EmbeddedStore]:
        with EmbeddedStore() as store:
            yield store

    @contextmanager
    def waiting(self, store: EmbeddedStore, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "examples/wait_for_device.py", "5", *arguments]
        environment = {**store.environment(), "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def test_a_handshake(self, store: EmbeddedStore) -> None:
        with self.waiting(store) as process, store.connect() as xs:
            xs.write(f"{self.FRONTEND}/backend", self.BACKEND)
            for state in ("1", "2", "4"):
                xs.write(f"{self.BACKEND}/state", state)
                xs.write(f"{self.FRONTEND}/state", state)
            printed, said = process.communicate(timeout=PATIENCE)
            assert (process.returncode, said) == (0, "")
            assert printed == f"{self.FRONTEND} is connected with {self.BACKEND}\n"
            assert store._loop.call(lambda: store._store.dom0.watches) == 0

    def test_one_end_gives_up(self, store: EmbeddedStore) -> None:
        with self.waiting(store) as process, store.connect() as xs:
            xs.write(f"{self.FRONTEND}/backend", self.BACKEND)
            xs.write(f"{self.BACKEND}/state", "6")
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert said == f"wait_for_device: {self.FRONTEND}: closed before it was connected\n"

    def test_the_time_is_up(self, store: EmbeddedStore) -> None:
        with self.waiting(store, "--timeout=0.05") as process:
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert "did not become true within 0.05 seconds" in said


class TestExporter:
    """The metrics computed from a mirror, as scraped by Prometheus."""

    @pytest.fixture
    def store(self) -> Iterator[EmbeddedStore]:
        with EmbeddedStore() as store:
            yield store

    def test_what_it_serves(self, store: EmbeddedStore) -> None:
        command = [sys.executable, "examples/exporter.py", "--port=0"]
        environment = {**store.environment(), "PYTHONPATH": str(REPOSITORY)}
        with (
            subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process,
            store.connect() as xs,
        ):
            try:
                assert process.stdout is not None
                place = process.stdout.readline().split()[1]

                def served() -> list[str]:
                    with urllib.request.urlopen(place, timeout=PATIENCE) as response:
                        text: str = response.read().decode()
                    return text.splitlines()

                assert served() == ["xenstore_connected 1", "xenstore_domains 0"]
                for domid in (5, 6):
                    store.create_domain(domid)
                    xs.write(f"/local/domain/{domid}/device/vif/0/state", "4")
                xs.write("/local/domain/6/device/vbd/768/state", "6")
                xs.write("/local/domain/6/device/vbd/769/state", "nonsense")
                assert served() == [
                    "xenstore_connected 1",
                    "xenstore_domains 2",
                    'xenstore_devices{kind="vbd",state="closed"} 1',
                    'xenstore_devices{kind="vbd",state="unknown"} 1',
                    'xenstore_devices{kind="vif",state="connected"} 2',
                ]
                store.stop()
                assert served()[0] == "xenstore_connected 0"
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
