"""Fixtures shared by all tests: the daemons, and clients of them."""

from __future__ import annotations

import gc
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import DAEMON_KINDS, Daemon, load_packages, require_packages, start_daemon
from daemons.packages import release
from harness.embedded import EmbeddedDaemon
from harness.stores import AIO, BACKENDS, client_of, prepare_libxenstore
from hypothesis import settings

import xsffi

pytest_plugins = ["pytester"]

# Hypothesis uses the same examples every time, so that a failure is due to the change under test;
# --hypothesis-profile=explore tries new ones.
settings.register_profile("repeat", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", settings.get_profile("default"), deadline=None, max_examples=1000)
settings.load_profile("repeat")

prepare_libxenstore()
# Background jobs of a shell ignore Ctrl-C, programs under nohup ignore SIGHUP, and what they start inherits that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Excluded by --quick, besides everything on oxenstored or uvloop and the conformance suite over asyncio: tests that
# take long and seldom fail. (--durations=50 lists the slowest.)
SLOW = (
    "aio/test_tasks.py",
    "aio/test_waiting.py",
    "backends/libxenstore/test_connection.py::test_a_handler",
    "backends/libxenstore/test_connection.py::test_an_interruption",
    "backends/libxenstore/test_connection.py::test_threads_and_close",
    "backends/libxenstore/test_events.py",
    "backends/wire/test_backend.py::test_memory_is_bounded",
    "backends/wire/test_ends.py",
    "backends/wire/test_events.py",
    "backends/wire/test_fuzz.py",
    "backends/wire/test_memory_short.py",
    "backends/wire/test_reentry.py",
    "backends/wire/test_several.py",
    "cli/test_completion.py",
    "cli/test_differences.py",
    "cli/test_differential.py",
    "cli/test_dumps.py",
    "cli/test_waiting.py",
    "cli/test_watching.py",
    "conformance/test_mirrors.py",
    "conformance/test_pipeline.py::test_20_000_requests_with_events_between",
    "conformance/test_pipeline.py::test_sixteen_threads",
    "conformance/test_several.py",
    "conformance/test_snapshots.py::test_a_dump_is_of_one_moment",
    "daemons/",
    "lowlevel/test_differential.py",
    "lowlevel/test_handles.py",
    "lowlevel/test_programs.py",
    "protocol/test_mirroring.py::test_each_update_is_of_one_moment",
    "protocol/test_snapshots.py::test_a_snapshot_is_of_one_moment",
    "protocol/test_snapshots.py::test_removed_and_made_anew",
    "robustness/",
    "server/test_clients.py::test_test_xenstore",
    "server/test_differential.py",
    "server/test_like_xenstored.py",
    "server/test_main.py",
    "server/test_pytest_plugin.py",
    "server/test_robustness.py",
    "sync/test_waiting.py",
    "test_build.py",
    "test_console.py",
    "test_docs.py",
    "test_examples.py",
    "test_pictures.py",
)

_tops = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what takes long, and its twins")


def pytest_report_header() -> str:
    packages = load_packages()
    return f"Xen {release()}" + (": not fetched" if packages is None else f", of {packages.source}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the reasons for skipped tests and expected failures, with counts; some releases of Xen skip many."""
    reasons = Counter(
        getattr(report, "wasxfail", "") or report.longrepr[2]
        for outcome in ("skipped", "xfailed")
        for report in terminalreporter.stats.get(outcome, ())
    )
    if reasons:
        terminalreporter.section(f"skipped on Xen {release()}, or known to fail")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} {reason.replace('Skipped: ', '', 1)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    packages = load_packages()
    if packages is not None and "oxenstored" not in packages.daemons:
        missing = pytest.mark.skip(f"there is no oxenstored in Xen {packages.version} as it was built")
        for item in items:
            if "oxenstored" in item.name or "oxenstored" in getattr(item, "fixturenames", ()):
                item.add_marker(missing)
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        items[:] = [item for item in items if item not in set(slow)]
        config.hook.pytest_deselected(items=slow)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    name = collection_path.relative_to(Path(__file__).parent).as_posix() + "/" * collection_path.is_dir()
    return True if config.getoption("--quick") and name.startswith(SLOW) else None


def _is_slow(item: pytest.Item) -> bool:
    name = item.nodeid.partition("tests/")[2]
    twins = ("oxenstored", "uvloop", AIO) if name.startswith("conformance/") else ("oxenstored", "uvloop")
    return name.startswith(SLOW) or any(twin in item.name for twin in twins)


@pytest.fixture(scope="session")
def xenstored() -> Iterator[Daemon]:
    """A C xenstored for the whole session; a test that stops or kills one starts its own."""
    require_packages()
    with start_daemon("xenstored") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def oxenstored() -> Iterator[Daemon]:
    """An oxenstored for the whole session."""
    require_packages()
    with start_daemon("oxenstored") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedDaemon]:
    """The embedded store, as a daemon."""
    require_packages()  # for Xen's command-line tools
    with EmbeddedDaemon() as daemon:
        yield daemon


@pytest.fixture(params=[*DAEMON_KINDS, "embedded"])
def daemon(request: pytest.FixtureRequest) -> Daemon:
    """Each of the daemons."""
    daemon: Daemon = request.getfixturevalue(request.param)  # the embedded store has the attributes that the tests use
    return daemon


@pytest.fixture(params=DAEMON_KINDS)
def own_daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Each of the daemons, used by one test only."""
    require_packages()
    with start_daemon(request.param) as daemon:
        yield daemon


@pytest.fixture
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that is not woken lasts an hour, so a missing wakeup is noticed."""
    monkeypatch.setattr("xsffi.backends.wire.polling._LONGEST", 3600.0)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No finalizer of earlier tests runs while the test counts what the interpreter does."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend."""
    name: str = request.param
    return name


@pytest.fixture
def xs(daemon: Daemon, backend: str) -> Iterator[xsffi.Client]:
    """A client of each daemon over each backend, as dom0."""
    with client_of(daemon, backend) as client:
        yield client


@pytest.fixture
def other(daemon: Daemon) -> Iterator[xsffi.Client]:
    """Another client of the same daemon."""
    with client_of(daemon, "wire") as client:
        yield client


@pytest.fixture
def top(daemon: Daemon) -> Iterator[str]:
    """The path of a node created for one test, and removed afterwards."""
    path = f"/test/{next(_tops)}"
    with client_of(daemon, "wire") as client:
        client.mkdir(path)
        yield path
        if daemon.is_running:
            client.rm(path)
