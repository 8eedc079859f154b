"""Which backend is opened, and the errors if none can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from daemons import Daemon, require_packages
from harness.children import output_of
from harness.stores import environment_of, require_libxenstore

import xsffi
from xsffi.backends.selection import describe


def test_auto_is_libxenstore(xenstored: Daemon) -> None:
    require_libxenstore()
    with environment_of(xenstored.socket_path):
        for path in (None, xenstored.socket_path):
            with xsffi.Client(path) as xs:
                assert xs.backend.name == "libxenstore"


def test_auto_is_the_wire_where_libxenstore_opens_elsewhere(xenstored: Daemon, tmp_path: Path) -> None:
    with environment_of(str(tmp_path / "nothing")), xsffi.Client(xenstored.socket_path) as xs:
        assert xs.backend.name == "wire"


def test_the_environment_decides_for_auto(xenstored: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", xenstored.socket_path)
    monkeypatch.setenv("XSFFI_BACKEND", "wire")
    with xsffi.Client() as xs:
        assert xs.backend.name == "wire"
    require_libxenstore()
    with xsffi.Client(backend="libxenstore") as xs:
        assert xs.backend.name == "libxenstore"
    monkeypatch.setenv("XSFFI_BACKEND", "libxenstore")
    with xsffi.Client() as xs:
        assert xs.backend.name == "libxenstore"
    with xsffi.Client(timeout=5, backend="wire") as xs:
        assert xs.backend.name == "wire"
    with pytest.raises(xsffi.NotSupportedError, match="timeout"):
        xsffi.Client(timeout=5)


def test_an_unknown_name(xenstored: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="auto, libxenstore, wire, not 'best'"):
        xsffi.Client(xenstored.socket_path, backend="best")
    monkeypatch.setenv("XSFFI_BACKEND", "fast")
    with pytest.raises(xsffi.InvalidArgumentError, match="XSFFI_BACKEND must be one of"):
        xsffi.Client(xenstored.socket_path)


@pytest.mark.parametrize("how", ["XENSTORED_PATH", "XENSTORED_RUNDIR"])
def test_the_places_that_the_environment_names(
    xenstored: Daemon, backend: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    path = Path(xenstored.socket_path)
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv(how, str(path if how == "XENSTORED_PATH" else path.parent))
    with xsffi.Client(backend=backend) as xs:
        assert xs.exists("/")


def test_an_explicit_path_wins_and_leaves_the_environment_alone(
    xenstored: Daemon, oxenstored: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", xenstored.socket_path)
    for backend in ("auto", "wire"):
        with xsffi.Client(oxenstored.socket_path, backend=backend) as xs:
            assert xs.control("help") == "OK"  # oxenstored's reply
    assert os.environ["XENSTORED_PATH"] == xenstored.socket_path
    printed = subprocess.run(["printenv", "XENSTORED_PATH"], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == xenstored.socket_path
    with xsffi.Client() as xs:
        assert xs.control("help") != "OK"


def test_every_attempt_is_told(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENSTORED_RUNDIR", str(tmp_path))
    with pytest.raises(xsffi.BackendUnavailableError) as caught:
        xsffi.Client(backend=backend)
    assert [what for what, why in caught.value.attempts] == [
        f"{backend} at {tmp_path}/socket",
        f"{backend} at /dev/xen/xenbus",
        f"{backend} at /proc/xen/xenbus",
    ]


def test_without_the_extension(xenstored: Daemon) -> None:
    program = (
        "import sys, xsffi\n"
        "with xsffi.Client(sys.argv[1]) as xs: print(xs.backend.name, xs.exists('/'))\n"
        "try: xsffi.Client(sys.argv[1], backend='libxenstore')\n"
        "except xsffi.BackendUnavailableError as error: print(error)\n"
        "import os\n"
        "os.environ['XSFFI_BACKEND'] = 'libxenstore'\n"
        "try: xsffi.Client(sys.argv[1])\n"
        "except xsffi.BackendUnavailableError as error: print(error)\n"
    )
    chosen, *errors = output_of(program, xenstored.socket_path, XSFFI_EXTENSION="no").splitlines()
    assert chosen == "wire True"
    assert ["XSFFI_EXTENSION=no" in error for error in errors] == [True, True]


@pytest.fixture
def without_extension(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python where pip installed xsffi without a compiler."""
    root = Path(xsffi.__file__).parent
    shutil.copytree(root, tmp_path / "xsffi", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    libraries = require_packages().library_path
    return {**os.environ, "PYTHONPATH": str(tmp_path), "LD_LIBRARY_PATH": libraries, "XSFFI_EXTENSION": ""}


def said(program: str, environment: dict[str, str], *arguments: str) -> list[str]:
    # Without the site module, since an editable installation would make the extension importable.
    command = [sys.executable, "-S", "-W", "error", "-c", program, *arguments]
    return subprocess.run(
        command,
        cwd=environment["PYTHONPATH"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout.splitlines()


OPEN_TWICE = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
import xsffi
for _ in range(2):
    xsffi.Client(sys.argv[1], backend=sys.argv[2]).close()
"""


@pytest.mark.parametrize("backend", ["auto", "wire"])
def test_a_missed_extension_is_told_once(xenstored: Daemon, backend: str, without_extension: dict[str, str]) -> None:
    require_libxenstore()
    lines = said(OPEN_TWICE, without_extension, xenstored.socket_path, backend)
    (line,) = [line for line in lines if "XSFFI_BUILD_EXTENSION=yes" in line]
    assert "libxenstore.so." in line
    assert "is installed but cannot be used: the extension xsffi._xenstore is not available" in line
    assert sum(line.startswith("the backend is the wire") for line in lines) == 2


@pytest.mark.parametrize("variable", ["XSFFI_LIBXENSTORE=/no/such.so", "XSFFI_EXTENSION=no"])
def test_nothing_is_missed_without_a_library_or_by_choice(
    xenstored: Daemon, variable: str, without_extension: dict[str, str]
) -> None:
    name, _, value = variable.partition("=")
    lines = said(OPEN_TWICE, {**without_extension, name: value}, xenstored.socket_path, "auto")
    assert len(lines) == 2
    assert all(line.startswith("the backend is the wire") for line in lines)


def test_what_the_backends_are(without_extension: dict[str, str]) -> None:
    require_libxenstore()
    assert describe()["libxenstore"] == os.environ["XSFFI_LIBXENSTORE"]
    program = "from xsffi.backends.selection import describe; print(*describe().items(), sep='\\n')"
    library, wire = said(program, without_extension)
    assert "is installed but cannot be used" in library
    assert "in Python, since the C module cannot be imported: No module named 'xsffi._wire'" in wire
    library, _ = said(program, {**without_extension, "XSFFI_EXTENSION": "no"})
    assert "XSFFI_EXTENSION=no" in library


def test_no_thread_is_ours(xenstored: Daemon) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    with xsffi.Client(xenstored.socket_path, backend="wire") as xs:
        xs.watch("/a")
        xs.fileno()
        xs.read_watch(5)
        xs.run(timeout=0)
        assert threads() == before
        assert threading.active_count() <= before
